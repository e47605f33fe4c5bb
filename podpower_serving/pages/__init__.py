"""Pages for people: `/` predicts what they paste, `/fleet` shows what clusters draw. Forms in, HTML and CSV out.

Templates escape every text. Nothing is stored, nothing is loaded from other hosts, and no script or style is inline.
"""
