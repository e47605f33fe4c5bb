"""Effects that know nothing of the domain: HTTP with retries, atomic files, Parquet, object storage."""
