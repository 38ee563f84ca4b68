"""Random feature trees, written by TFDS into whole directories: what the raw reader is held to."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fasttok.episodes.tfds import tfds

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "float32", "float64", "bfloat16"]  # fmt: skip
TEMPLATES = [
    "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    "{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}-of-{NUM_SHARDS}",
    "{SPLIT}/part-{SHARD_INDEX}.{FILEFORMAT}",
]


class Maker:
    """One random tree and values for it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.features = tfds().features

    def tree(self, depth: int = 0, levels: int = 0) -> Any:
        """A feature: `depth` dictionaries and sequences deep, in `levels` sequences."""
        kinds = ["tensor", "tensor", "tensor", "text", "image", "label", "box", "scalar"]
        if depth < 3:
            kinds += ["dict", "sequence"] if levels < 3 else ["dict"]
        kind = self.rng.choice(kinds)
        f = self.features
        if kind == "dict":
            return {name: self.tree(depth + 1, levels) for name in self.names()}
        if kind == "sequence":
            inner = self.tree(depth + 1, levels + 1)
            fixed = (
                not levels and "Sequence" not in repr(inner) and self.rng.random() < 0.5
            )  # TFDS reads no others back
            return f.Sequence(inner, length=int(self.rng.integers(1, 4)) if fixed else None)
        return self.leaf(kind, levels)

    def names(self) -> list[str]:
        letters = self.rng.permutation(list("abcdef"))
        return [f"{letter}_x" for letter in letters[: self.rng.integers(1, 4)]]

    def leaf(self, kind: str, levels: int) -> Any:
        f, rng = self.features, self.rng
        if kind == "text":
            return f.Text()
        if kind == "image":
            return f.Image(encoding_format=str(rng.choice(["jpeg", "png"])), shape=(None, None, 3))
        if kind == "label":
            return f.ClassLabel(num_classes=7)
        if kind == "box":
            return f.BBoxFeature()
        dtype = str(rng.choice([*DTYPES, "string"]))
        if kind == "scalar":
            return f.Scalar(np.object_ if dtype == "string" else _dtype(dtype.replace("bfloat16", "float32")))
        shape = [int(n) for n in rng.integers(1, 4, rng.integers(0, 4))]
        encoding = "none" if dtype == "string" or rng.random() < 0.5 else str(rng.choice(["bytes", "zlib"]))
        if dtype == "bfloat16" and encoding == "none":  # TFDS cannot write it so,
            encoding = "bytes"
        if dtype == "uint32":  # nor read this back otherwise
            encoding = "none"
        if shape and not levels:
            unknown = rng.integers(0, len(shape) + 1) if encoding != "none" else rng.integers(0, 2)
            for place in rng.permutation(len(shape))[:unknown]:
                shape[place] = None  # type: ignore[call-overload]
        return f.Tensor(shape=shape, dtype=np.object_ if dtype == "string" else _dtype(dtype), encoding=encoding)

    def value(self, feature: Any) -> Any:
        """A random value that `feature` encodes."""
        f, rng = self.features, self.rng
        if isinstance(feature, dict):
            return {name: self.value(inner) for name, inner in feature.items()}
        if isinstance(feature, f.Dataset | f.Sequence):
            length = feature._length if feature._length is not None else int(rng.integers(0, 4))
            if isinstance(feature, f.Dataset):
                length = int(rng.integers(1, 6))
            return [self.value(feature.feature) for _ in range(length)]
        if isinstance(feature, f.FeaturesDict):
            return {name: self.value(inner) for name, inner in feature.items()}
        if isinstance(feature, f.Text):
            return str(rng.choice(["", "pick up the cup", "größer → 机器人", "x" * 300]))
        if isinstance(feature, f.Image):
            pixels = rng.integers(0, 256, (*rng.integers(1, 20, 2), 3), dtype=np.uint8)
            stream = BytesIO()
            Image.fromarray(pixels).save(stream, feature._image_encoder.encoding_format or "png")
            return BytesIO(stream.getvalue())
        if isinstance(feature, f.ClassLabel):
            return int(rng.integers(0, 7))
        if isinstance(feature, f.BBoxFeature):
            low, high = np.sort(rng.random((2, 2)), axis=0)
            return f.BBox(low[0], low[1], high[0], high[1])
        return self.tensor(feature)

    def tensor(self, feature: Any) -> Any:
        rng = self.rng
        shape = tuple(int(rng.integers(0, 4)) if d is None else d for d in feature.shape)
        dtype = feature.np_dtype
        if dtype == np.object_ or np.dtype(dtype).kind in "SU":
            texts = np.empty(shape, object)
            for place in np.ndindex(shape):
                texts[place] = rng.bytes(int(rng.integers(0, 9)))
            return texts if shape else texts[()]
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return rng.random(shape) < 0.5 if shape else bool(rng.random() < 0.5)
        if dtype.kind in "iu":
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            values = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
        else:
            values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4)).astype(dtype)
        return values if shape else dtype.type(values)


def _dtype(name: str) -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)


def write(seed: int, folder: Path, episodes: bool) -> Path:
    """Writes a random dataset of a few records in one or two splits.

    Raises:
        Exception: whatever TFDS says of a tree that it cannot write.
    """
    module, maker = tfds(), Maker(seed)
    tree = {name: maker.tree(1) for name in maker.names()}
    if episodes:
        inside = {name: maker.tree(1, levels=1) for name in maker.names()}
        tree["steps"] = module.features.Dataset(inside)
    features = module.features.FeaturesDict(tree)
    return write_directory(maker, features, folder / "random" / "1.0.0")


def write_directory(maker: Maker, features: Any, folder: Path) -> Path:
    """Random records of these features, as TFDS lays them out."""
    module = tfds()
    from tensorflow import io
    from tensorflow_datasets.core import dataset_info, file_adapters, naming

    folder.mkdir(parents=True)
    template = str(maker.rng.choice(TEMPLATES))
    splits = []
    for split in ["train", "val"][: int(maker.rng.integers(1, 3))]:
        names = naming.ShardedFileTemplate(
            data_dir=folder, template=template, dataset_name="random", split=split, filetype_suffix="tfrecord"
        )
        lengths = [int(n) for n in maker.rng.integers(1, 4, maker.rng.integers(1, 4))]
        size = 0
        for path, length in zip(names.sharded_filepaths(len(lengths)), lengths, strict=True):
            Path(path).parent.mkdir(exist_ok=True)
            with io.TFRecordWriter(str(path)) as file:
                for _ in range(length):
                    record = features.serialize_example(maker.value(features))
                    size += len(record)
                    file.write(record)
        splits.append(
            module.core.splits.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=names)
        )
    identity = dataset_info.DatasetIdentity(
        name="random", version=module.core.Version("1.0.0"), data_dir=str(folder), module_name="random"
    )
    info = module.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format(file_adapters.FileFormat.TFRECORD)
    info.set_splits(module.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
    return folder
