"""`podpower collect watch`: a cluster's workloads as NDJSON that goes on where it stopped."""
