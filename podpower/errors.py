"""Errors, typed by the decision they call for. HTTP statuses and exit codes are given at the edges."""


class PodpowerError(Exception):
    """An error whose message is one line for people: what is wrong and what would be right."""


class InvalidInput(PodpowerError):
    """The input is wrong: reject it, repeating will not help."""


class Damaged(InvalidInput):
    """A stored file is not what was written: leave it out, or make it again."""


class OtherSource(InvalidInput):
    """A cursor is of another source: begin this one from its beginning."""


class Refused(PodpowerError):
    """An artifact or store cannot be trusted or does not fit: refuse to start from it, keep what runs."""


class Unavailable(PodpowerError):
    """Something outside does not answer, or is not there yet: try again later."""
