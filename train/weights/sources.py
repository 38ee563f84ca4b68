"""Reads weights from disk, one tensor at a time: safetensors, numpy archives, orbax folders. Nothing is ever unpickled.

`StoredWeights` reads names, shapes and dtypes from headers alone, and a tensor only when a caller asks for it. So a caller can
refuse a checkpoint before it reads any tensor, and never needs memory for more than its own copy and one tensor.
"""

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from fasttok.common.archive_damage import DAMAGE
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.next_command import command
from fasttok.errors import InputError, require
from train.given_paths import WEIGHTS_EXPECTED, check_weights
from train.weights.layouts import Family, flatten, unflatten

FLOATS = ("float32", "float16", "bfloat16", "float64")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
CONVERT = "it may hold code; load it where you trust it and save it with safetensors.torch.save_file or save_pretrained"


@dataclass(frozen=True)
class TensorHeader:
    """Shape and dtype of a tensor that has not been read.

    Attributes:
        shape: shape of the tensor.
        dtype: name of its dtype, as numpy spells it.
    """

    shape: tuple[int, ...]
    dtype: str


class StoredWeights(Protocol):
    """A checkpoint on disk.

    Attributes:
        where: path, for messages.
        family: family of the tensors' names.
        headers: name, as in the file -> shape and dtype.
        metadata: strings that the writer stored beside the tensors.
    """

    where: str
    family: Family
    headers: dict[str, TensorHeader]
    metadata: dict[str, str]

    def read(self, name: str) -> NDArray[Any]:
        """Returns one tensor, as stored."""


def open_weights(path: Path) -> StoredWeights:
    """Opens a checkpoint, whose format it finds out.

    Raises:
        InputError: `path` is no checkpoint, is truncated, needs unpickling, or has an index that names files outside its folder.
    """
    check_weights(path)
    if path.is_file():
        if path.suffix == ".safetensors":
            return SafetensorsWeights(str(path), [path])
        if path.suffix == ".npz":
            return NpzWeights(str(path), path)
        if path.name == INDEX:
            return SafetensorsWeights(str(path), _sharded(path))
        if path.suffix in PICKLES:
            raise InputError(f"{path} is not read: {CONVERT}. Expected {WEIGHTS_EXPECTED}")
        raise InputError(f"{path} is no checkpoint; expected {WEIGHTS_EXPECTED}")
    if (path / INDEX).is_file():
        return SafetensorsWeights(str(path), _sharded(path / INDEX))
    if (path / SINGLE).is_file():
        return SafetensorsWeights(str(path), [path / SINGLE])
    for folder in (path / "params", path):
        if (folder / "_METADATA").is_file():
            return OrbaxWeights(str(folder), folder)
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return SafetensorsWeights(str(files[0]), files)
    if files:
        raise InputError(
            f"{path} contains {len(files)} safetensors files and no {INDEX}; name one of them, or add the index"
        )
    if (path / "checkpoints").is_dir() and (path / "config.json").is_file():
        raise InputError(
            f"{path} is a run; start from it with --init-from, or write its weights with: "
            f"{command('fasttok-export', '--run', path, '--out', 'DIR')}"
        )
    pickles = [p.name for p in sorted(path.iterdir()) if p.suffix in PICKLES]
    if pickles:
        raise InputError(f"{path} contains {pickles[0]}, which is not read: {CONVERT}. Expected {WEIGHTS_EXPECTED}")
    raise InputError(f"{path} contains no checkpoint; expected {WEIGHTS_EXPECTED}")


def _sharded(index: Path) -> list[Path]:
    """Returns the files that an index names, which must all be beside it."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()), key=str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        refuse_pointer_at(str(index))
        raise InputError(
            f"{index} is not an index of safetensors ({error!r}); expected {{'weight_map': {{tensor: file}}}}"
        ) from None
    for name in names:
        # A plain file name only: an index is data from elsewhere and must not point at other files of this machine.
        if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(f"{index} names the file {name!r}; expected .safetensors files in the same folder")
    files = [index.parent / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{index} names {len(missing)} files that are not there, first {missing[0]}; copy them beside it"
        )
    return files


@dataclass
class SafetensorsWeights:
    """One or several safetensors files. Each is mapped into memory, and never read as a whole.

    Attributes:
        where: path, for messages.
        files: files of the checkpoint.
        family: ours if the metadata says so, else PyTorch's.
        headers: headers of all files.
        metadata: metadata of all files.
    """

    where: str
    files: list[Path]
    family: Family = "torch"
    headers: dict[str, TensorHeader] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        safetensors = require("safetensors", "train", "reading safetensors")
        self._open: dict[str, Any] = {}
        for file in self.files:
            try:
                handle = safetensors.safe_open(str(file), framework="numpy")
            except (safetensors.SafetensorError, OSError) as error:
                refuse_pointer_at(str(file))
                raise InputError(
                    f"{file} is not a whole safetensors file: {error}; copy or download it again"
                ) from None
            self.metadata |= handle.metadata() or {}
            for name in handle.keys():  # noqa: SIM118  a handle is no dict
                if name in self.headers:
                    raise InputError(f"{self.where}: the tensor {name} is in two files; expected it once")
                tensor = handle.get_slice(name)
                self.headers[name] = TensorHeader(
                    tuple(tensor.get_shape()), _DTYPES.get(tensor.get_dtype(), tensor.get_dtype())
                )
                self._open[name] = handle
        if self.metadata.get("format") == "fasttok":
            self.family = "fasttok"

    def read(self, name: str) -> NDArray[Any]:
        """Returns one tensor, as stored."""
        tensor: NDArray[Any] = self._open[name].get_tensor(name)
        return tensor


_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
assert ml_dtypes.bfloat16  # importing it teaches numpy, and so safetensors, the name bfloat16


UNNAMED = np.dtype("V2")  # how numpy stores bfloat16, which it has no name for (big_vision saves such archives)


@dataclass
class NpzWeights:
    """An .npz archive with openpi's names. Object arrays are refused, because they are pickles.

    Attributes:
        where: path, for messages.
        file: the archive.
        family: openpi's.
        headers: headers of its arrays.
        metadata: none.
    """

    where: str
    file: Path
    family: Family = "jax"
    headers: dict[str, TensorHeader] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            with zipfile.ZipFile(self.file) as archive:
                for info in archive.infolist():
                    with archive.open(info) as stream:
                        version = np.lib.format.read_magic(stream)
                        read = (
                            np.lib.format.read_array_header_1_0
                            if version == (1, 0)
                            else np.lib.format.read_array_header_2_0
                        )
                        shape, _, dtype = read(stream)
                    if info.file_size < math.prod(shape) * dtype.itemsize:
                        raise ValueError(
                            f"{info.filename} contains {info.file_size} bytes, too few for its shape {shape}"
                        )
                    kind = "bfloat16" if dtype == UNNAMED else dtype.name
                    self.headers[info.filename.removesuffix(".npy")] = TensorHeader(shape, kind)
        except DAMAGE as error:
            refuse_pointer_at(str(self.file))
            raise InputError(
                f"{self.where} is not a whole .npz of arrays: {error}; copy or download it again"
            ) from None

    def read(self, name: str) -> NDArray[Any]:
        """Returns one array, as stored."""
        try:
            with np.load(self.file, allow_pickle=False) as archive:
                array: NDArray[Any] = archive[name]
                return array.view(ml_dtypes.bfloat16) if array.dtype == UNNAMED else array
        except DAMAGE as error:
            raise InputError(f"{self.where}: {name} cannot be read: {error}; copy or download it again") from None


@dataclass
class OrbaxWeights:
    """The `params` folder of an openpi checkpoint.

    Attributes:
        where: path, for messages.
        folder: the folder `params`.
        family: openpi's.
        headers: headers of its arrays.
        metadata: none.
    """

    where: str
    folder: Path
    family: Family = "jax"
    headers: dict[str, TensorHeader] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ocp = require("orbax.checkpoint", "train", "reading an openpi checkpoint")
        try:
            with self._ocp.PyTreeCheckpointer() as reader:
                about = reader.metadata(self.folder.resolve())
            tree = getattr(about, "item_metadata", about)
            self._leaves = flatten(getattr(tree, "tree", tree))
            self.headers = {
                name: TensorHeader(tuple(leaf.shape), np.dtype(leaf.dtype).name) for name, leaf in self._leaves.items()
            }
        except (
            Exception
        ) as error:  # orbax raises what its formats happen to raise: ValueError, KeyError, FileNotFoundError, ...
            raise InputError(
                f"{self.where} is not a checkpoint that orbax reads: {_first_line(error)}; copy it again"
            ) from None

    def read(self, name: str) -> NDArray[Any]:
        """Returns one array, as stored."""
        item = unflatten({name: self._leaves[name]})
        args = unflatten({name: self._ocp.ArrayRestoreArgs(restore_type=np.ndarray)})
        try:
            with self._ocp.PyTreeCheckpointer() as reader:
                restored = reader.restore(
                    self.folder.resolve(),
                    self._ocp.args.PyTreeRestore(item=item, restore_args=args, partial_restore=True),
                )
        except Exception as error:  # as above
            raise InputError(f"{self.where}: {name} cannot be read: {_first_line(error)}; copy it again") from None
        array: NDArray[Any] = flatten(restored)[name]
        return array


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
