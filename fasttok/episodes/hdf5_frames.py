"""Describes a camera in an HDF5 file: one image per row, as pixels or encoded, which are read in pieces when needed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import has_end
from fasttok.episodes.frames import BadFrame, Frame
from fasttok.episodes.hdf5_file import FAULTS, Node, at_path, brief, is_ragged, is_text, kept_open

PIECE = 16 << 20  # bytes of pixels that are read at once
WHOLE_CHUNK = 256 << 20  # bytes: a larger chunk is read in parts
USUAL_SHARE = 10  # pixels take about so many times the bytes of a good JPEG
JPEG, RIFF = b"\xff\xd8\xff", b"RIFF"
MAGIC = (JPEG, b"\x89PNG", RIFF)
SHORTEST = 32  # smallest size of an encoded image in bytes
Stored = Literal["pixels", "planes", "encoded", "fault"]


@dataclass(frozen=True, eq=False)
class HdfFrames:
    """The images in some rows of a dataset.

    Attributes:
        file: path or URL.
        name: path of the dataset in the file.
        steps: (T,) numbers of the rows.
        stored: how a row is stored: (H, W, 3) `pixels`, (3, H, W) `planes`, or an `encoded` image; `fault` if it is no image.
        row_bytes: bytes of a row.
        fault: why the dataset is no camera, "" if it is one.
    """

    file: str
    name: str
    steps: NDArray[np.int64]
    stored: Stored
    row_bytes: int
    fault: str = ""

    def __len__(self) -> int:
        return len(self.steps)

    def check(self) -> str:
        """Returns what is wrong with the images according to the dataset's type and shape, "" for nothing."""
        return self.fault and f"{self.file}: {self.name}: {self.fault}"

    def take(self, steps: NDArray[np.integer[Any]]) -> "HdfFrames":
        """Returns the frames of some steps."""
        return replace(self, steps=self.steps[steps])

    def size(self) -> int:
        """Returns the bytes of all images; for pixels, an estimate of their size as JPEG."""
        return len(self) * (self.row_bytes if self.stored == "encoded" else self.row_bytes // USUAL_SHARE)

    def read(self) -> Iterator[Frame]:
        """Yields the images of all steps, in order. Neighbouring rows are read together."""
        at = 0
        while at < len(self.steps):
            rows: list[Frame]
            try:
                rows = self._piece(at)
            except FAULTS as error:
                rows = [BadFrame(f"{self.file}: {self.name}, step {self.steps[at]}: {brief(error)}")]
            yield from rows
            at += len(rows)

    def _piece(self, at: int) -> list[Frame]:
        """Reads the images of neighbouring rows from `steps[at]` on. It keeps no reference to the open file."""
        if self.fault:
            return [BadFrame(self.check())]
        dataset, why = at_path(kept_open(self.file), self.name)
        if dataset is None:
            return [BadFrame(f"{self.file}: {self.name}: {why}")]
        first = int(self.steps[at])
        most = _rows_at_once(dataset, self.row_bytes, first)
        run = self.steps[at : at + most]
        count = int((run == first + np.arange(len(run))).sum())  # as rows ascend, none matches after the first gap
        try:
            rows = dataset[first : first + count]
        except FAULTS:
            if count == 1:
                raise
            rows = dataset[first : first + 1]  # one bad row must not take others with it
        if self.stored == "pixels":
            return list(rows)
        if self.stored == "planes":
            return list(np.ascontiguousarray(rows.transpose(0, 2, 3, 1)))
        return [self._encoded(row, first + i) for i, row in enumerate(rows)]

    def _encoded(self, row: Any, step: int) -> Frame:
        data = unpadded(row)
        fault = "" if data else "the row is empty"
        if data and not data.startswith(MAGIC):
            fault = "the row is no JPEG, PNG or WebP"
        elif data.startswith(JPEG) and not has_end(data):
            fault = "the JPEG is cut off"
        return BadFrame(f"{self.file}: {self.name}, step {step}: {fault}") if fault else data


def unpadded(row: Any) -> bytes:
    r"""Returns the encoded image of a row, without the zeros that fill the row; JPEG and PNG do not end in zeros.

    >>> unpadded(np.array([255, 216, 255, 217, 0, 0], np.uint8))
    b'\xff\xd8\xff\xd9'
    """
    data = row if isinstance(row, bytes) else np.asarray(row).tobytes()
    if data.startswith(RIFF):  # WebP, which stores its length and may end in a zero
        length = 8 + int.from_bytes(data[4:8], "little")
        return data[: length + length % 2]
    return data.rstrip(b"\0")


def _rows_at_once(dataset: Node, row_bytes: int, first: int) -> int:
    """Returns how many rows from `first` on are read together: up to the end of a chunk, so that none is decompressed twice."""
    rows = max(1, PIECE // max(1, row_bytes))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    if chunk <= 1 or chunk * row_bytes > WHOLE_CHUNK:
        return rows
    return -(-(first % chunk + rows) // chunk) * chunk - first % chunk


def is_encoded(dataset: Node) -> bool:
    """Returns whether the rows of a dataset are encoded images, by the first bytes of the first row.

    The rows may all have one length, or each its own.
    """
    kind = dataset.dtype.kind
    padded = dataset.dtype == np.uint8 and dataset.ndim == 2 and dataset.shape[1] >= SHORTEST
    texts = kind == "S" and dataset.dtype.itemsize >= SHORTEST
    strings = dataset.ndim == 1 and (texts or (kind == "O" and (is_text(dataset) or is_ragged(dataset))))
    if not (padded or strings) or not dataset.shape[0]:
        return False
    row = dataset[0]
    if kind == "O" and not isinstance(row, bytes) and getattr(row, "dtype", None) != np.uint8:
        return False
    return unpadded(row).startswith(MAGIC)


def camera(file: str, name: str, dataset: Node, steps: NDArray[np.int64]) -> HdfFrames:
    """Returns the frames of a dataset, with a `fault` if it contains no images.

    The caller has checked that the dataset is as long as the episode.

    Args:
        file: path or URL.
        name: path of the dataset in the file.
        dataset: a dataset with more than two axes, or of encoded images.
        steps: (T,) rows of the episode.
    """
    shape, dtype = dataset.shape, dataset.dtype
    if dataset.ndim < 3:
        width = shape[1] if dataset.ndim == 2 else dtype.itemsize
        return HdfFrames(file, name, steps, "encoded", int(width))
    row_bytes = int(np.prod(shape[1:], dtype=object)) * dtype.itemsize
    what = f"contains {dtype} of shape {shape}"
    last, second = shape[-1] == 3, len(shape) == 4 and shape[1] == 3
    stored: Stored = "fault"
    if len(shape) == 3 or (len(shape) == 4 and 1 in (shape[1], shape[3])):
        fault = f"{what}, one channel: depth, a mask or grey is no camera; choose one of three colours"
    elif len(shape) != 4 or not (last or second):
        fault = f"{what}, expected (T, H, W, 3) pixels of uint8, or encoded images"
    elif dtype != np.uint8:
        fault = f"{what}, expected uint8; write pixels as whole numbers from 0 to 255"
    elif last and second:
        fault = f"{what}: is the first or the last 3 the colours? write (T, H, W, 3) of more than 3 rows"
    else:
        fault, stored = "", "pixels" if last else "planes"
    return HdfFrames(file, name, steps, stored, row_bytes, fault)
