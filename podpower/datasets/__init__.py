"""Tables of the pipeline: schemas, labels joined to specs, and the training set.

No files are located and nothing is fitted here.
"""
