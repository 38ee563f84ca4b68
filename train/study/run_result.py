"""result-DIGEST.json: what came of one run of a study. Imports no JAX."""

from dataclasses import dataclass

from train.judging.measurements import ActionErrors, VqaResult, WorldResult
from train.study.run_spec import RunSpec


@dataclass(frozen=True)
class CurvePoint:
    """What was measured at one checkpoint.

    Attributes:
        step: of the checkpoint.
        world: one entry per split and embodiment; empty if nothing acted.
        actions: held-out action errors, one entry per embodiment and way to decode; empty if there are no held-out shards.
        vqa: None where no questions were asked.
        robot_samples: rows of robots that training had used.
        tflop: what training had spent.
    """

    step: int
    world: tuple[WorldResult, ...]
    actions: tuple[ActionErrors, ...]
    vqa: VqaResult | None
    robot_samples: float
    tflop: float


@dataclass(frozen=True)
class RunSeconds:
    """Wall time of a run.

    Attributes:
        train: seconds of all steps, by the run's own log.
        measure: seconds of measuring at all checkpoints.
    """

    train: float
    measure: float


@dataclass(frozen=True)
class RunResult:
    """A run that is done.

    Attributes:
        spec: what was asked for.
        device: accelerators, or the processor.
        steps: of training.
        robot_samples_per_step: rows of robots in a step, on average.
        tflop_per_step: TFLOP of a step.
        curve: one point per measured checkpoint; the last is the end of training.
        seconds: wall time.
    """

    spec: RunSpec
    device: str
    steps: int
    robot_samples_per_step: float
    tflop_per_step: float
    curve: tuple[CurvePoint, ...]
    seconds: RunSeconds

    @property
    def action_error(self) -> float:
        """Mean over embodiments of the held-out action error at the end."""
        errors = [a.nrmse for a in self.curve[-1].actions]
        return sum(errors) / len(errors)

    @property
    def tflop(self) -> float:
        """What the training took."""
        return self.steps * self.tflop_per_step
