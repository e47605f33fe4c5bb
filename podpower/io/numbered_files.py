"""Files of a folder that are numbered and each created once: of several writers at once one gets the next number."""

import re
from typing import Final

from upath import UPath

from podpower.io.object_storage import ObjectStorage

# Promotions of earlier versions have a time in nanoseconds as number, and random digits behind it.
_NAME: Final = re.compile(r"(?P<number>\d{20})(?:-[0-9a-f]{8})?\.json")


class NumberedFiles:
    """The files `FOLDER/<number>.json` of a storage. A reader that acts on number n creates n + 1, or finds that it has
    been created meanwhile, and reads again.
    """

    def __init__(self, storage: ObjectStorage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def all(self) -> dict[int, UPath]:
        """Return the files by number, in ascending order."""
        names = ((_NAME.fullmatch(path.name), path) for path in self._storage.children(self._folder))
        return dict(sorted((int(found["number"]), path) for found, path in names if found))

    def path(self, number: int) -> UPath:
        """Return where the file of this number is created."""
        return self._storage.root / self._folder / f"{number:020d}.json"

    def create(self, number: int, data: bytes) -> bool:
        """Create the file of this number; False when another writer was quicker. `data` is unique to its writer: a
        request that was repeated after a lost answer has succeeded if the file holds the same bytes.
        """
        path = self.path(number)
        return self._storage.create(path, data) or self._storage.read(path) == data
