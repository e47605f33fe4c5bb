"""Impact: watts into what people count in. Units, usage, scope, price and carbon. No I/O but reading their files."""
