"""Finds objects of an array in a large JSON file by their ids. Only their places are kept in memory."""

import json
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.common.files import filesystem
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

    def find(self, key: object) -> JsonObject | None:
        """Returns the first object with this id, None if there is none."""
        if type(key) is not int or not -(2**63) <= key < 2**63:
            return None
        at = int(np.searchsorted(self.ids, key))
        if at == len(self.ids) or self.ids[at] != key:
            return None
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
