"""Reads image files below a dataset's directory, and refuses those that are not what their names say."""

from collections.abc import Callable

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.common.image_headers import check_extension, check_header
from pipelines.vlm.confined_folder import ConfinedFolder, check_name
from pipelines.vlm.record import RecordError, shown

ReadImage = Callable[[str, int, int], tuple[bytes, str]]
"""(path, offset, length) -> (encoded bytes, "") or (b"", what is wrong)."""


class ImageFiles:
    """Reads whole image files and checks them. It keeps the last one, as one image often has several records in a row."""

    def __init__(self, directory: str, folder: str = "") -> None:
        self.directory = ConfinedFolder(directory)
        self._folder = folder.strip("/")
        self._last: tuple[str, bytes | RecordError] | None = None

    def read(self, name: str) -> tuple[str, bytes]:
        """Returns (path below the dataset's directory, encoded bytes) of an image by its name in the images folder.

        Raises:
            RecordError: the file may not be read, is not a sound JPEG or PNG, or is not what its extension says.
        """
        problem = check_name(name)
        if problem:
            raise RecordError("image", f"{shown(name)}: {problem}")
        path = f"{self._folder}/{name}" if self._folder not in ("", ".") else name
        if self._last is None or self._last[0] != path:
            self._last = None
            try:
                self._last = path, check_image(self.directory.read(path), name)
            except RecordError as error:
                self._last = path, error
        found = self._last[1]
        if isinstance(found, RecordError):
            raise found
        return path, found


def check_image(data: bytes, name: str) -> bytes:
    """Returns an encoded image, after checking that it is an image and what its name says.

    Raises:
        RecordError: it is not.
    """
    problem = check_header(data)
    if problem:
        raise RecordError("image", f"{shown(name)}: {problem}")
    problem = check_extension(data, name)
    if problem:
        raise RecordError("extension", f"{shown(name)}: {problem}")
    return data


def open_images(_entry: DatasetEntry, directory: str) -> ReadImage:
    """Returns a function (path, offset, length) -> (encoded bytes, "") or (b"", what is wrong), for image files."""
    images = ImageFiles(directory)

    def read(path: str, _offset: int, length: int) -> tuple[bytes, str]:
        try:
            return unchanged(images.read(path)[1], length), ""
        except RecordError as error:
            return b"", str(error)

    return read


def unchanged(data: bytes, length: int) -> bytes:
    """Returns the bytes, after checking that they are as many as were indexed.

    Raises:
        RecordError: they are not.
    """
    if len(data) != length:
        raise RecordError("image", f"{len(data)} bytes, the INDEX says {length}: changed since the index")
    return data
