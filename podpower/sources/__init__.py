"""The edges: where cluster objects and metric samples come from. One protocol for each; a recording is both."""
