"""From a window of training rows to a model, and from a model that holds to the one that is served."""
