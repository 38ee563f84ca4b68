"""Fake episodes of Open X-Embodiment datasets, written by TFDS from the features that their catalogue states (oxe_features.json).

Leaf keys may hold a slash of their own; what a catalogue leaves open (the length of a state, a sequence) is made up.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fasttok.episodes.tfds import tfds

SPECS: dict[str, dict[str, list[Any]]] = json.loads(Path(__file__).with_name("oxe_features.json").read_text())
OPEN_LENGTH = 9  # of a dimension that the catalogue leaves open
INSTRUCTION = "put the red block into the bowl"


def feature(spec: list[Any]) -> Any:
    """A TFDS feature of one leaf."""
    f = tfds().features
    kind, shape, dtype, encoding = spec
    if kind == "text" or dtype == "string":
        return f.Sequence(f.Text()) if kind == "sequence" else f.Text()
    if kind == "image":
        shape = tuple(shape or (None, None, 3))
        form = encoding or ("png" if shape[-1] == 1 or dtype == "uint16" else "jpeg")
        return f.Image(shape=shape, dtype=np.dtype(dtype or "uint8"), encoding_format=form)
    length = [OPEN_LENGTH if n is None else n for n in shape or []]
    return f.Tensor(shape=length, dtype=np.dtype(dtype), encoding=encoding or "none")


def tree(spec: dict[str, list[Any]]) -> Any:
    """The features of a dataset."""
    f = tfds().features
    outside: dict[str, Any] = {}
    inside: dict[str, Any] = {}
    for path, leaf in spec.items():
        if leaf[0] == "unknown" or leaf[0] == "sequence":
            continue  # given flattened by the catalogue, and used by no entry
        into, name = (inside, path.removeprefix("steps/")) if path.startswith("steps/") else (outside, path)
        *folders, last = name.split("/")
        for folder in folders:
            into = into.setdefault(folder, {})
        into[last] = feature(leaf)
    return f.FeaturesDict(outside | {"steps": f.Dataset(inside)})


def jpeg(shape: tuple[int, ...], form: str, cache: dict[Any, bytes], shade: int) -> BytesIO:
    """An image of one shade; TFDS stores the bytes as they are."""
    key = (shape, form, shade)
    if key not in cache:
        stream = BytesIO()
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape[-1]]
        size = (shape[1] or 8, shape[0] or 8)
        Image.new(mode, size, shade if mode == "L" else (shade, 0, 255 - shade)).save(stream, form)
        cache[key] = stream.getvalue()
    return BytesIO(cache[key])


def value(made: Any, rng: np.random.Generator, cache: dict[Any, bytes], name: str) -> Any:
    """A random value of a feature, in [-1, 1] where it is a number."""
    f = tfds().features
    if isinstance(made, f.FeaturesDict | dict):
        return {key: value(inner, rng, cache, key) for key, inner in made.items()}
    if isinstance(made, f.Text):
        return INSTRUCTION
    if isinstance(made, f.Image):
        if made.np_dtype != np.uint8:
            return np.full([n or 8 for n in made.shape], 7, made.np_dtype)
        return jpeg(tuple(made.shape), made._image_encoder.encoding_format or "png", cache, int(rng.integers(4)) * 60)
    shape, dtype = tuple(made.shape), np.dtype(made.np_dtype)
    if name == "instruction" and shape == (512,):
        return np.array([*map(ord, INSTRUCTION), *[0] * (512 - len(INSTRUCTION))], dtype)
    if dtype.kind == "b":
        return np.array(rng.random(shape) < 0.7)
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.uniform(-1, 1, shape).astype(dtype)


def write(dataset: str, folder: Path, episodes: int = 3, steps: int = 6, name: str | None = None) -> Path:
    """A directory with fake episodes of a dataset; `success` and the like are true in the first."""
    module, rng, cache = tfds(), np.random.default_rng(0), {}  # type: ignore[var-annotated]
    from tensorflow_datasets.core import dataset_info

    features = tree(SPECS[dataset])
    path = folder / (name or dataset) / "1.0.0"
    path.mkdir(parents=True)
    identity = dataset_info.DatasetIdentity(name or dataset, module.core.Version("1.0.0"), str(path), "fake")
    writer = module.core.SequentialWriter(module.core.DatasetInfo(builder=identity, features=features), episodes)
    writer.initialize_splits(["train"])
    outside = {key: inner for key, inner in features.items() if key != "steps"}
    for number in range(episodes):
        record = value(outside, rng, cache, "")
        if "success" in record:
            record["success"] = number == 0
        record["steps"] = [value(features["steps"].feature, rng, cache, "") for _ in range(steps)]
        writer.add_examples({"train": [record]})
    writer.close_all()
    return path
