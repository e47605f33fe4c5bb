"""Training rows of a window into a candidate, its checks, and its promotion."""
