"""The parts of a layout: its check of the run, its tensors, and the files beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from numpy.typing import ArrayLike

from fasttok.errors import InputError
from train.acting.observations import JPEG_QUALITY
from train.acting.robots import Robot
from train.exports.source import ExportSource
from train.exports.tensor_file import TensorToWrite
from train.recipe import recipe_of
from train.weights.matching import WeightsReport

Json: TypeAlias = "str | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""A value of a JSON file."""
Flat = Mapping[str, ArrayLike]
"""Our arrays by path."""


@dataclass(frozen=True)
class LayoutFiles:
    """The files that a layout writes beside the weights, and what they cannot express.

    Attributes:
        files: bytes of each file, by path in DIR.
        limits: what the layout cannot express about this run, with the consequences.
        hint: how to load the files; "" if there is nothing to say.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Layout:
    """How a project stores a policy.

    Attributes:
        check: raises InputError if the layout cannot express the run; called before the parameters are read.
        files: returns the files beside the weights; raises InputError as `check` does.
        tensors: returns the tensors of the weights' file, and the report on them.
        trained_rows: returns how many rows of the file's embedding, from the first on, mean the same as in training;
            `--weights` reads only these.
    """

    check: Callable[[ExportSource], None]
    files: Callable[[ExportSource], LayoutFiles]
    tensors: Callable[[Flat, ExportSource], tuple[list[TensorToWrite], WeightsReport]]
    trained_rows: Callable[[ExportSource], int] = lambda source: source.config.model.vocab_size


def check_acts(source: ExportSource) -> None:
    """Refuses a run without a policy.

    Raises:
        InputError: the run was trained without robot rows.
    """
    if "robot" not in source.config.data.kinds:
        raise InputError(f"{source.where} was trained without robot rows, so it has no policy; use --layout fasttok")


def check_pi05(source: ExportSource, layout: str) -> None:
    """Checks that a run computes what pi0.5 does, and reads the state as pi0.5 does.

    Args:
        source: the run.
        layout: name of the layout, for messages.

    Raises:
        InputError: the run was trained without robot rows, or has no action expert, another recipe, or another form of the state.
    """
    check_acts(source)
    model, instead = source.config.model, "use --layout fasttok"
    if not model.flow:
        raise InputError(f"{source.where} has no action expert (flow off), which {layout} needs; {instead}")
    if not recipe_of(model).pi05:
        raise InputError(
            f"{source.where} was trained with recipe {model.recipe}, which {layout} does not run: it computes pi0.5; {instead}"
        )
    if model.state != "text":
        raise InputError(
            f"{source.where} reads the state as {model.state} (--model.state), {layout}'s pi0.5 as text of the prompt, so it "
            f"would act without a state; {instead}, or train with --model.state text"
        )


def image_steps(source: ExportSource, robot: Robot) -> str:
    """Says how the training images of a robot were made, as the beginning of a text on what a layout cannot express."""
    side, resize, encode = source.config.model.image_size, robot.resize, robot.encode
    quality = encode.quality if encode is not None else resize.quality if resize is not None else JPEG_QUALITY
    kind = encode.format if encode is not None else robot.image_format
    steps = [f"resized to {resize.width} x {resize.height}"] if resize is not None else []
    steps.append(f"{kind.upper()}" if kind == "png" else f"{kind.upper()} of quality {quality}")
    how = "stretched" if source.config.data.resize == "stretch" else "with black edges if they are not square"
    return f"what the training images went through: {', '.join(steps)}, then {side} x {side} by Pillow's bilinear filter, {how}"
