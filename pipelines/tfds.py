"""The one place that imports TensorFlow: reading through TFDS what the raw reader does not cover.

`rlds` 0.1.8 imports `reverb`, which cannot load beside current TensorFlow; `rlds_constants` provides the missing import for
the moment of importing, and hands out the step names.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from fasttok.episodes import BadRecord, Episode, Where
from fasttok.errors import InputError, require


class _Absent(ModuleType):
    """A module whose every attribute exists: enough for the type annotations of code that is never called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name)


def rlds_constants() -> Any:
    """rlds's step field names (`rlds.ACTION`, `rlds.OBSERVATION`, ...)."""
    missing = "reverb" not in sys.modules
    if missing:
        sys.modules["reverb"] = _Absent("reverb")
    try:
        return require("rlds", "pipelines", "reading RLDS through TFDS")
    finally:
        if missing:
            del sys.modules["reverb"]


def tfds() -> Any:
    """tensorflow_datasets, with GPUs left to whoever needs them."""
    purpose = "reading or writing RLDS through TFDS"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silent_stderr():
        require("tensorflow", "pipelines", purpose).config.set_visible_devices([], "GPU")
    module = require("tensorflow_datasets", "pipelines", purpose)
    module.disable_progress_bar()
    return module


@contextmanager
def silent_stderr() -> Iterator[None]:
    """What native code says while it loads is dropped: TensorFlow's import reports on CPU features and absent GPUs."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def splits(directory: str) -> dict[str, int]:
    """Split -> episodes, as TFDS sees them.

    Raises:
        InputError: TFDS cannot open the directory either.
    """
    try:
        builder = tfds().builder_from_directory(directory)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{directory}: TFDS cannot open it either: {error}") from None
    return {name: info.num_examples for name, info in builder.info.splits.items()}


def read_split(directory: str, split: str, start: int = 0, stop: int | None = None) -> Iterator[Episode | BadRecord]:
    """Episodes `start`..`stop` of a split through TFDS, images left encoded; `where.number` is the place in the split."""
    module = tfds()
    builder = module.builder_from_directory(directory)
    names = rlds_constants()
    part = f"{split}[{start}:{'' if stop is None else stop}]"
    data = builder.as_dataset(split=part, decoders=_keep_images(module, builder.info.features), shuffle_files=False)
    for number, record in enumerate(data, start):
        where = Where(f"{directory}#{split}", number=number)
        steps = list(module.as_numpy(record[names.STEPS]))
        if not steps:
            yield BadRecord(where, "empty", "an episode of 0 steps")
            continue
        flat = [dict(_flatten(step)) for step in steps]
        metadata = dict(_flatten({k: module.as_numpy(v) for k, v in record.items() if k != names.STEPS}))
        columns = {name: _column([step[name] for step in flat]) for name in flat[0]}
        yield Episode(columns, metadata, where)


def _keep_images(module: Any, features: Any) -> Any:
    """A decoder tree that leaves every image encoded."""
    if isinstance(features, module.features.Image):
        return module.decode.SkipDecoding()
    inner = getattr(features, "feature", None)
    if inner is not None:
        return _keep_images(module, inner)
    if hasattr(features, "items"):
        tree = {key: _keep_images(module, child) for key, child in features.items()}
        return {key: value for key, value in tree.items() if value} or None
    return None


def _flatten(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flatten(value, f"{name}/{key}" if name else key)
    else:
        yield name, tree


def _column(values: list[Any]) -> Any:
    return values if isinstance(values[0], bytes) else np.stack([np.asarray(value) for value in values])
