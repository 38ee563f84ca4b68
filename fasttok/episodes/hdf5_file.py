"""Opens an HDF5 file without a lock, and lists its contents without leaving the file.

It never follows links to other files, virtual datasets over other files or external storage, but names them and says why.
"""

import math
import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.urls import is_url
from fasttok.episodes.hdf5_stream import CheckedStream
from fasttok.errors import InputError

Node = Any
"""An h5py File, Group or Dataset."""
FAULTS = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)
"""What h5py raises if a file is damaged."""
CHUNK_CACHE = 32 << 20  # bytes of decompressed chunks that a dataset caches
MOST_NODES = 20_000  # datasets of one episode
DEEPEST = 16  # groups within groups, and links to links
MOST_ATTRIBUTE = 1 << 24  # bytes; a larger attribute is not read
VARIABLE = 9  # HDF5's number of the class of variable-length types
KEPT_OPEN = 4  # files per thread

_kept = threading.local()


def h5py() -> Any:
    """Returns the module h5py.

    Raises:
        InputError: h5py is not installed.
    """
    try:
        import h5py as module
    except ImportError:
        raise InputError("reading HDF5 needs h5py: pip install 'fasttok-vla[hdf5]'") from None
    return module


def brief(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).split("\n")[0]
    return text or type(error).__name__


@contextmanager
def opened(path: str) -> Iterator[Node]:
    """Opens a file for reading, by path or URL. A remote file is read in pieces, as needed.

    Raises:
        OSError: the file is missing, or is not HDF5.
        InputError: the file is a Git LFS pointer.
    """
    with stores.open_file(path) as stream, _file(path, stream) as file:
        yield file


def kept_open(path: str) -> Node:
    """Opens a file as `opened` does, but keeps it open until this thread has opened a few others.

    Do not use the file after a `yield`: it may be closed by then.

    Raises:
        OSError: the file is missing, or is not HDF5.
        InputError: the file is a Git LFS pointer.
    """
    version = _version(path)
    if not hasattr(_kept, "files"):
        _kept.files = OrderedDict()
    files: OrderedDict[str, tuple[Node, Node, object]] = _kept.files
    if path in files and files[path][2] != version:
        _close(files.pop(path))
    if path not in files:
        stream = stores.opened(path)
        try:
            files[path] = (_file(path, stream), stream, version)
        except BaseException:
            stream.close()
            raise
    files.move_to_end(path)
    while len(files) > KEPT_OPEN:
        _close(files.popitem(last=False)[1])
    return files[path][0]


def _file(path: str, stream: Node) -> Node:
    try:
        return h5py().File(CheckedStream(stream), "r", rdcc_nbytes=CHUNK_CACHE)
    except OSError:
        refuse_pointer_at(path)
        raise


def close_kept() -> None:
    """Closes the files that this thread keeps open."""
    while getattr(_kept, "files", None):
        _close(_kept.files.popitem()[1])


def _close(held: tuple[Node, Node, object]) -> None:
    held[0].close()
    held[1].close()


def _version(path: str) -> object:
    filesystem, root = stores.filesystem(path)
    if is_url(path):
        return ""  # remote files do not change during a job
    info = filesystem.info(root)
    return info["size"], info["mtime"], info["ino"]


@dataclass(frozen=True)
class HdfTree:
    """The datasets below a group.

    Attributes:
        datasets: flat name, such as "obs/qpos", -> dataset, for those that are in this file.
        refused: flat name -> why it is not read, for links and datasets that leave the file or are damaged.
    """

    datasets: dict[str, Node] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def tree(group: Node) -> HdfTree:
    """Returns all datasets below a group, in the order of their names.

    Raises:
        ValueError: there are too many datasets, or groups are nested too deep or without end.
    """
    found = HdfTree()
    _visit(group, "", found, ())
    return found


def _visit(group: Node, prefix: str, found: HdfTree, above: tuple[Node, ...]) -> None:
    if len(above) > DEEPEST or any(group == other for other in above):
        raise ValueError(f"{group.name} contains itself, or groups are nested deeper than {DEEPEST}")
    for key in group:
        if len(found.datasets) + len(found.refused) > MOST_NODES:
            raise ValueError(f"{group.name}: more than {MOST_NODES} datasets")
        node, why = member(group, key)
        if why:
            found.refused[prefix + key] = why
        elif isinstance(node, h5py().Group):
            _visit(node, f"{prefix}{key}/", found, (*above, group))
        elif isinstance(node, h5py().Dataset):
            found.datasets[prefix + key] = node


def member(group: Node, key: str, hops: int = 0) -> tuple[Node | None, str]:
    """Returns (group or dataset, "") for a direct member of a group, or (None, why it is not read).

    Args:
        group: a group of the file.
        key: name of the member, without slashes.
        hops: number of links that led here.
    """
    module = h5py()
    link = group.get(key, getlink=True)
    if isinstance(link, module.ExternalLink):
        return None, f"a link to another file ({link.filename}), which is not followed; copy the data into this file"
    if isinstance(link, module.SoftLink):
        if hops > DEEPEST:
            return None, "a link to a link to a link, which leads nowhere"
        return at_path(group.file if link.path.startswith("/") else group, link.path, hops + 1)
    if not isinstance(link, module.HardLink):
        return None, "a link of an unknown kind"
    node = group[key]
    return (node, "") if not isinstance(node, module.Dataset) else _inside(node, hops)


def at_path(group: Node, path: str, hops: int = 0) -> tuple[Node | None, str]:
    """Returns what `member` does, for a path of several names below a group; "" is the group itself."""
    node, why = group, ""
    for key in [part for part in posixpath.normpath(path).split("/") if part not in ("", ".")]:
        if key == ".." or not isinstance(node, h5py().Group) or key not in node:
            return None, f"a link to {path}, which is not there" if hops else f"{path} is not there"
        node, why = member(node, key, hops)
        if node is None:
            break
    return node, why


def _inside(dataset: Node, hops: int) -> tuple[Node | None, str]:
    """Returns (dataset, "") if all of its values are in this file, else (None, why it is not read)."""
    if dataset.external:
        return (
            None,
            f"stored in another file ({dataset.external[0][0]}), which is not read; copy the data into this file",
        )
    chunks = dataset.chunks
    if chunks is not None and (
        len(chunks) != dataset.ndim or min(chunks) < 1
    ):  # the library would never stop looking for these chunks
        return None, f"damaged: its shape is {dataset.shape}, that of its chunks {chunks}"
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        if source.file_name != ".":
            return (
                None,
                f"a virtual dataset over another file ({source.file_name}), which is not followed; copy the data",
            )
        node, _ = at_path(dataset.file, source.dset_name, hops + 1) if hops <= DEEPEST else (None, "")
        if node is None or "%" in source.dset_name:
            return None, f"a virtual dataset over {source.dset_name}, which is not in this file"
    return dataset, ""


def attribute(node: Node, key: str) -> object:
    """Returns an attribute that is text or numbers; None if it is missing, too large, damaged or something else.

    It reads no other types, because the library reads past the end of memory for a ragged attribute of a damaged type.
    """
    module = h5py()
    try:
        if key not in node.attrs:
            return None
        found = node.attrs.get_id(key)
        kind = found.get_type()
        plain = (module.h5t.TypeStringID, module.h5t.TypeIntegerID, module.h5t.TypeFloatID, module.h5t.TypeEnumID)
        if not isinstance(kind, plain) or math.prod(found.shape) * kind.get_size() > MOST_ATTRIBUTE:
            return None
        value: object = node.attrs[key]
    except FAULTS:
        return None
    return value


def is_text(dataset: Node) -> bool:
    """Returns whether a dataset contains texts, or bytes of one length."""
    return dataset.dtype.kind == "S" or h5py().check_string_dtype(dataset.dtype) is not None


def is_ragged(dataset: Node) -> bool:
    """Returns whether the rows of a dataset are arrays of different lengths, and their type is not damaged."""
    module = h5py()
    kind = dataset.id.get_type()
    if not isinstance(kind, module.h5t.TypeVlenID) or module.check_vlen_dtype(dataset.dtype) is None:
        return False
    stored = kind.encode()  # two bytes for the library itself, one with the class, one with the kind of variable length
    return bool(stored[2] & 15 == VARIABLE and stored[3] & 15 == 0)


def text(value: object) -> str:
    """Returns the value of an attribute or a dataset as text, "" if it is not text.

    >>> text(np.bytes_(b"pick")), text(np.array(["pick"], object)), text(3)
    ('pick', 'pick', '')
    """
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "OSU":
        value = value.ravel()[0]
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:
            return ""
    return str(value).strip() if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """Returns the value of an attribute as a finite number, None if it is not one.

    >>> number(np.float32(20)), number(np.array([5])), number("fast"), number(True)
    (20.0, 5.0, None, None)
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        return None
    found = float(array.ravel()[0])
    return found if np.isfinite(found) else None
