"""Writes demonstrations as an RLDS dataset with TFDS itself: nested steps, encoded images, several shard files."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fasttok.episodes.tfds import tfds as tensorflow_datasets

VERSION = "1.0.0"
MOST_SHARDS = 4
Demonstration = dict[str, Any]
"""{"steps": T dicts, "episode_metadata": dict with an "episode_id"}, as the features of the dataset describe them."""


@dataclass(frozen=True)
class DatasetKind:
    """What differs between datasets. All have actions, an instruction and RLDS's own fields in each step.

    Attributes:
        name: name of the dataset.
        description: description of the dataset.
        observation: TFDS features of a step's observation, by name.
        action_dim: number of dims of an action.
        metadata: TFDS features of an episode, by name; "episode_id" is one of them.
    """

    name: str
    description: str
    observation: Mapping[str, Any]
    action_dim: int
    metadata: Mapping[str, Any]


@dataclass
class DemonstrationCount:
    """Number of demonstrations that were written, and of those that failed and were left out."""

    written: int = 0
    failed: int = 0


def step_fields(t: int, last: int) -> dict[str, Any]:
    """Returns RLDS's own fields of step t, in [0, last], of an episode that ends with success."""
    return {
        "is_first": t == 0,
        "is_last": t == last,
        "is_terminal": t == last,
        "reward": np.float32(t == last),
        "discount": np.float32(t != last),
    }


def write_rlds(
    folder: Path, kind: DatasetKind, episodes: Mapping[str, Callable[[], Iterator[Demonstration]]], smallest: int
) -> Path:
    """Writes `folder`/<name>/1.0.0, complete or not at all.

    Args:
        folder: parent of the dataset's folder.
        kind: name and features of the dataset.
        episodes: for each split, a function that yields its demonstrations.
        smallest: number of demonstrations in the smallest split; TFDS does not allow more shard files than that.

    Returns:
        The version folder.

    Raises:
        InputError: TFDS is not installed.
    """
    tfds = tensorflow_datasets()
    f = tfds.features
    features = f.FeaturesDict(
        {
            "steps": f.Dataset(
                {
                    "observation": dict(kind.observation),
                    "action": f.Tensor(shape=(kind.action_dim,), dtype=np.float32),
                    "language_instruction": f.Text(),
                    "is_first": f.Scalar(dtype=np.bool_),
                    "is_last": f.Scalar(dtype=np.bool_),
                    "is_terminal": f.Scalar(dtype=np.bool_),
                    "reward": f.Scalar(dtype=np.float32),
                    "discount": f.Scalar(dtype=np.float32),
                }
            ),
            "episode_metadata": dict(kind.metadata),
        }
    )

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[name-defined, call-arg]
        """Writes the demonstrations of `episodes`."""

        name = kind.name
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=features, description=kind.description)

        def _split_generators(self, _dl_manager: Any) -> dict[str, Any]:
            return {split: self._generate_examples(split) for split in episodes}

        def _generate_examples(self, split: str) -> Iterator[tuple[str, Demonstration]]:
            for demonstration in episodes[split]():
                yield demonstration["episode_metadata"]["episode_id"], demonstration

    builder = Builder(data_dir=str(folder))
    config = tfds.download.DownloadConfig(num_shards=min(MOST_SHARDS, smallest))
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download that never happens
        builder.download_and_prepare(download_config=config)
    return Path(builder.data_dir)
