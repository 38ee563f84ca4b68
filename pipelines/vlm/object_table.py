"""Finds objects of an array in a large JSON file by their ids. Only their places are kept in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.common.files import filesystem
from pipelines.vlm.record import RecordError
from pipelines.vlm.values import JsonObject


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """The objects of an array, found by an integer id and read again from their place: 24 bytes of memory each.

    Attributes:
        file: path or URL.
        ids: (n,) ascending.
        offsets: (n,) first byte of each object.
        lengths: (n,) bytes of each object.
        stream: the open file.
    """

    file: str
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    stream: BinaryIO

    def find(self, key: object, says: Sequence[str]) -> JsonObject | None:
        """Returns the first object with this id, None if there is none.

        Args:
            key: the id.
            says: keys in which all objects with this id must agree.

        Raises:
            RecordError: they do not, as in files that were joined without new ids.
        """
        if type(key) is not int or not -(2**63) <= key < 2**63:
            return None
        first, stop = (int(np.searchsorted(self.ids, key, side)) for side in ("left", "right"))
        found = [self._read(at) for at in range(first, stop)]
        if any(other.get(name) != found[0].get(name) for other in found[1:] for name in says):
            raise RecordError("id", f"{len(found)} different objects have the id {key}")
        return found[0] if found else None

    def _read(self, at: int) -> JsonObject:
        self.stream.seek(int(self.offsets[at]))
        found: JsonObject = json.loads(self.stream.read(int(self.lengths[at])))
        return found


def object_table(file: str, rows: list[tuple[int, int, int]] | NDArray[np.int64]) -> ObjectTable:
    """Makes a table from (id, offset, length) rows in the order of the file."""
    columns = np.array(rows, np.int64).reshape(-1, 3)
    columns = columns[np.argsort(columns[:, 0], kind="stable")]
    ids, offsets, lengths = columns.T.copy()
    fs, path = filesystem(file)
    return ObjectTable(file, ids, offsets, lengths, fs.open(path, "rb"))
