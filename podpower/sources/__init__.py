"""The places that cluster objects and metric samples come from, behind two protocols; a recording implements both.

A module enters when it reads or writes such a place, and uses nothing of what is made of the data.
"""
