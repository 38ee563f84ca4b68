"""A camera in an HDF5 file: pixels, or encoded images, one per row, read in pieces when somebody asks for them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import BadFrame, Frame
from fasttok.episodes.hdf5_file import FAULTS, Node, at_path, brief, is_ragged, is_text, kept_open

PIECE = 16 << 20  # bytes of pixels that are read at once
WHOLE_CHUNK = 256 << 20  # of a larger chunk a part is read at once
USUAL_SHARE = 10  # pixels take so many times the bytes of a good JPEG
JPEG, RIFF = b"\xff\xd8\xff", b"RIFF"
MAGIC = (JPEG, b"\x89PNG", RIFF)
JPEG_END, AFTER_END = b"\xff\xd9", 1024  # bytes that cameras may write behind it
SHORTEST = 32  # bytes of an encoded image, at least
Stored = Literal["pixels", "planes", "encoded", "fault"]


@dataclass(frozen=True, eq=False)
class HdfFrames:
    """Images of a dataset's rows.

    Attributes:
        file: path or URL.
        name: path of the dataset in it.
        steps: (T,) rows.
        stored: (H, W, 3) `pixels`, (3, H, W) `planes`, `encoded` images, or none of it: a `fault`.
        row_bytes: of a row.
        fault: why it is no camera, "" if it is one.
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
        """What is wrong with the images as far as the dataset's type and shape tell."""
        return self.fault and f"{self.file}: {self.name}: {self.fault}"

    def take(self, steps: NDArray[np.integer[Any]]) -> "HdfFrames":
        """The images of some steps."""
        return replace(self, steps=self.steps[steps])

    def size(self) -> int:
        """Bytes of all images; of pixels, about what JPEG makes of them."""
        return len(self) * (self.row_bytes if self.stored == "encoded" else self.row_bytes // USUAL_SHARE)

    def read(self) -> Iterator[Frame]:
        """The images of all steps, in order; neighbouring rows are read together."""
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
        """Images of neighbouring rows from `steps[at]` on; no file is held open by it."""
        if self.fault:
            return [BadFrame(self.check())]
        dataset, why = at_path(kept_open(self.file), self.name)
        if dataset is None:
            return [BadFrame(f"{self.file}: {self.name}: {why}")]
        first = int(self.steps[at])
        most = _rows_at_once(dataset, self.row_bytes, first)
        run = self.steps[at : at + most]
        count = int((run == first + np.arange(len(run))).sum())  # ascending: once a step is left out, none fits again
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
        elif data.startswith(JPEG) and JPEG_END not in data[-AFTER_END:]:
            fault = "the JPEG is cut off"
        return BadFrame(f"{self.file}: {self.name}, step {step}: {fault}") if fault else data


def unpadded(row: Any) -> bytes:
    r"""The encoded image of a row, without the zeros that fill it up; JPEG and PNG do not end in zeros.

    >>> unpadded(np.array([255, 216, 255, 217, 0, 0], np.uint8))
    b'\xff\xd8\xff\xd9'
    """
    data = row if isinstance(row, bytes) else np.asarray(row).tobytes()
    if data.startswith(RIFF):  # WebP, which says its length and may end in a zero
        length = 8 + int.from_bytes(data[4:8], "little")
        return data[: length + length % 2]
    return data.rstrip(b"\0")


def _rows_at_once(dataset: Node, row_bytes: int, first: int) -> int:
    """How many rows from `first` on are read together: up to the end of a chunk, so that none is decompressed twice."""
    rows = max(1, PIECE // max(1, row_bytes))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    if chunk <= 1 or chunk * row_bytes > WHOLE_CHUNK:
        return rows
    return -(-(first % chunk + rows) // chunk) * chunk - first % chunk


def is_encoded(dataset: Node) -> bool:
    """Whether the rows of a dataset are encoded images: bytes, in rows of one length or of their own, that begin as such."""
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
    """The images of a dataset, or why it contains none; the caller knows that it is as long as the episode.

    Args:
        file: path or URL.
        name: path of the dataset in it.
        dataset: with more than two axes, or of encoded images.
        steps: rows of the episode.
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
