"""The settings that the definitions are made with.

Dagster loads definitions by importing them: partitions and sensors are fixed from then on. This import is the start of
that program, so its settings are read here, once. Runs read theirs when they start, see `resources`.
"""

from typing import Final

from podpower import settings

LOADED: Final = settings.read()
