"""result-DIGEST.json: the measurements of one run of a study. Imports no JAX."""

from dataclasses import dataclass

from train.judging.measurements import ActionErrors, VqaResult, WorldResult
from train.study.run_spec import RunSpec


@dataclass(frozen=True)
class CurvePoint:
    """The measurements at one checkpoint.

    Attributes:
        step: step of the checkpoint.
        world: successes in the world, one entry per split and embodiment; empty if the run did not act.
        actions: held-out action errors, one entry per embodiment and way to decode; empty if there are no held-out shards.
        vqa: answers to questions; None if none were asked.
        robot_samples: robot rows that training had used.
        tflop: TFLOP that training had spent.
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
        train: seconds for all steps, from the run's own log.
        measure: seconds for measuring at all checkpoints.
    """

    train: float
    measure: float


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        spec: what was trained and how it was measured.
        device: accelerators, or the processor.
        steps: number of training steps.
        robot_samples_per_step: robot rows per step, on average.
        tflop_per_step: TFLOP per step.
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
        """Held-out action error at the end of training, as the mean over all entries of `actions`."""
        errors = [a.nrmse for a in self.curve[-1].actions]
        return sum(errors) / len(errors)

    @property
    def tflop(self) -> float:
        """TFLOP that the training took."""
        return self.steps * self.tflop_per_step
