"""The fleet summary: tables of all clusters into one small file that the service and dashboards show.

`summary` has the types of the file, reads and writes it, and imports nothing heavy: the service uses it. `hours` makes
the contribution of one hour, `folding` adds the hours up, `budgets` and `words` are what they show beside watts.
"""
