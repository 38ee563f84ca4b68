"""The runs of a study: its base VLM, the tries of its search, and every arm with every seed. Imports no JAX."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from train.study.arm_config import parse, training
from train.study.data_digests import questions_digest, shards_digest, world_digest
from train.study.run_spec import MODEL, RunSpec, started_from
from train.study.spec import HELD_OUT, Arm, Study
from train.study.study_data import VQA, StudyInputs


@dataclass(frozen=True)
class StudyRun:
    """A run that a study needs.

    Attributes:
        name: first part of its folder's name.
        title: name for people.
        spec: what is trained and how it is measured.
    """

    name: str
    title: str
    spec: RunSpec


@dataclass(frozen=True)
class RunGrid:
    """Makes the runs of a study.

    Attributes:
        study: says which runs there are.
        inputs: data and world of the study.
    """

    study: Study
    inputs: StudyInputs

    @property
    def vqa(self) -> str:
        """Folder of the VQA dataset; "" if there is none."""
        return self._folder(VQA)

    @property
    def held_out(self) -> str:
        """Folder of the held-out shards; "" if there are none."""
        return self._folder(HELD_OUT)

    def _folder(self, name: str) -> str:
        path = self.inputs.data / name
        return str(path) if path.exists() else ""

    def base(self) -> StudyRun:
        """Returns the run of the VLM that all other runs start from."""
        study = self.study
        config = parse(study.base.flags, self.inputs.data / study.base.shards, Path(MODEL))
        spec = RunSpec(config, study.evaluate, vqa=self.vqa, measure="vqa", contents=self._contents(config.shards))
        return StudyRun("base", "base VLM", spec)

    def tries(self, start: Path) -> list[tuple[Arm, str, StudyRun]]:
        """Returns the runs of the search, each with its arm and the value that it tries; none if the study has no search.

        Args:
            start: folder of the base VLM's run.
        """
        tune = self.study.tune
        if tune is None:
            return []
        out = []
        for arm in self.study.arms:
            few = round(tune.share * self._samples(arm))
            for value in tune.values:
                spec = self._spec(arm, tune.seed, start, (tune.flag, value))
                spec = dataclasses.replace(spec, robot_samples=few, measure="actions")
                out.append((arm, value, StudyRun(f"{arm.name}_search", f"{arm.name}, {value}", spec)))
        return out

    def run(self, arm: Arm, seed: int, start: Path, chosen: tuple[str, ...], tflop: float | None = None) -> StudyRun:
        """Returns the run of an arm with a seed.

        Args:
            arm: the arm to train.
            seed: seed of the run.
            start: folder of the run that it starts from: the base VLM's, or that of another arm.
            chosen: flags that the search found best for the arm.
            tflop: TFLOP to spend; None: the number of robot samples decides the steps.
        """
        spec = self._spec(arm, seed, start, chosen)
        if tflop is not None:
            spec = dataclasses.replace(spec, robot_samples=None, tflop=tflop)
        return StudyRun(f"{arm.name}_seed_{seed}", f"{arm.name}, seed {seed}", spec)

    def _samples(self, arm: Arm) -> int:
        """Returns the number of robot rows that an arm learns from."""
        return self.study.robot_samples if arm.robot_samples is None else arm.robot_samples

    def _spec(self, arm: Arm, seed: int, start: Path, extra: tuple[str, ...]) -> RunSpec:
        study, inputs = self.study, self.inputs
        config = training(study, arm, inputs.data, Path(MODEL), seed, ("--init-from", str(start), *extra))
        held_out, samples = self._folder(arm.held_out), self._samples(arm)
        return RunSpec(
            config, study.evaluate, inputs.env, study.world, held_out, self.vqa, robot_samples=samples, start=started_from(start),
            contents=self._contents(config.shards, held_out) | {"world": self._world},
        )  # fmt: skip

    def _contents(self, shards: Path, held_out: str = "") -> dict[str, str]:
        """Returns the digests of what a run learns from and of what it is measured on, "" for what does not exist."""
        return {
            "shards": shards_digest(shards),
            "held_out": shards_digest(Path(held_out)) if held_out else "",
            "vqa": self._questions,
        }

    @cached_property
    def _questions(self) -> str:
        return questions_digest(Path(self.vqa)) if self.vqa else ""

    @cached_property
    def _world(self) -> str:
        return world_digest(self.inputs.env)
