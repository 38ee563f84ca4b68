"""spec-DIGEST.json: what one run of a study trains and measures, and the files in its folder. Imports no JAX."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fasttok.common import json_files
from train.config import TrainConfig
from train.study.spec import Evaluation

MODEL, LOG = "model", "log.txt"
Measure = Literal["all", "actions", "vqa"]
"""What is measured: everything, only the held-out action error (for a search), or only answers (for a VLM)."""


@dataclass(frozen=True)
class RunSpec:
    """What a run trains and measures. A result is valid only for the exact spec that it was made from.

    Attributes:
        train: configuration of the training.
        evaluate: how it is measured.
        env: module:factory of the environment; "" if the run does not act.
        world: options of the factory.
        held_out: folder of held-out shards; "" if there are none.
        vqa: folder of a VQA dataset; "" if there is none.
        measure: what is measured.
        robot_samples: number of robot rows to learn from, which decides the number of steps; None: `tflop` decides.
        tflop: TFLOP to spend, which decides the number of steps and wins over `robot_samples`; None, and no `robot_samples`: as
            many steps as `train` says.
        start: digest of the training of the run that it starts from, whose folder `train.init_from` names; "" if `train` alone
            says how it starts.
        contents: digests of what it reads (`train.study.data_digests`): "shards", "held_out", "vqa" and "world".
    """

    train: TrainConfig
    evaluate: Evaluation
    env: str = ""
    world: dict[str, Any] = field(default_factory=dict)
    held_out: str = ""
    vqa: str = ""
    measure: Measure = "all"
    robot_samples: int | None = None
    tflop: float | None = None
    start: str = ""
    contents: dict[str, str] = field(default_factory=dict)

    @property
    def training_digest(self) -> str:
        """Digest of everything that decides what is trained; it names the run's folder.

        The shards and the run that it starts from count by what they contain, wherever they are.
        """
        moves = {"out", "preset", "shards", *(["init_from"] if self.start else [])}
        training = {name: value for name, value in self.train.to_json().items() if name not in moves}
        read = [self.contents.get("shards", ""), self.start]
        return _digest([training, read, self.robot_samples, self.tflop, self.evaluate.checkpoints])

    @property
    def digest(self) -> str:
        """Digest of the whole spec, including how the run is measured and on what; it names the result."""
        measured = [json_files.encode(self.evaluate), self.env, self.world, self.measure, self.contents]
        return _digest([self.training_digest, measured])


@dataclass(frozen=True)
class RunFiles:
    """Files in a run's folder besides MODEL (written by `fasttok-train`) and LOG. Several studies may measure one run.

    Attributes:
        folder: folder of the run.
        digest: digest of the spec.
    """

    folder: Path
    digest: str

    @property
    def spec(self) -> Path:
        """File of the spec."""
        return self.folder / f"spec-{self.digest}.json"

    @property
    def result(self) -> Path:
        """File of the result; it exists only when everything is done."""
        return self.folder / f"result-{self.digest}.json"

    @property
    def film_file(self) -> Path:
        """File with the frames of some episodes (`train.judging.rollout_videos`)."""
        return self.folder / f"films-{self.digest}.npz"


def started_from(model: Path) -> str:
    """Returns the digest in the name of a run's folder.

    >>> started_from(Path("studies/runs/base-0123456789/model"))
    '0123456789'

    Args:
        model: folder NAME-DIGEST/model.
    """
    return model.parent.name.rpartition("-")[2]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
