"""How good models are: held-out workloads, times and clusters, beside baselines; and whether one may be served."""
