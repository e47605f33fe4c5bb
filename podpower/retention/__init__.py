"""Removal of data from the stores of a home: by age, and by namespace.

A module enters when it removes something from a store that another package writes. Each file is replaced or removed
whole, so that a removal that was killed is finished by the next one.
"""
