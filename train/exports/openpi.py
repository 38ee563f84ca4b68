"""openpi's layout: the files that its PI0Pytorch and its `create_trained_policy` read (pi0.5).

    config.json                          as openpi's converter writes it; nothing reads it
    model.safetensors                    the weights
    assets/<embodiment>/norm_stats.json  our statistics; the asset id of openpi's data configuration is the embodiment's name

Source: Physical-Intelligence/openpi@15a9616a, src/openpi/models_pytorch/pi0_pytorch.py, policies/policy_config.py,
shared/normalize.py, transforms.py (Normalize), examples/convert_jax_model_to_pytorch.py.
"""

import json
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok import NormStats
from fasttok.common import json_files
from fasttok.errors import InputError
from train.exports.layout import Flat, Layout, LayoutFiles, check_pi05, image_steps
from train.exports.lerobot_limits import of_grippers, of_prompts
from train.exports.lerobot_stats import WIDE
from train.exports.robot_columns import own_columns
from train.exports.source import ExportSource
from train.exports.tensor_file import ExportDtype, TensorToWrite
from train.exports.tensors import THEIR_VOCAB, differences, tensors
from train.weights.matching import WeightsReport

ASSETS = "assets"
CAMERAS = 3
"""Cameras of openpi's model: base_0_rgb, left_wrist_0_rgb and right_wrist_0_rgb (models_pytorch/preprocessing_pytorch.py)."""
TOKENS = 200
"""Maximum tokens of a pi0.5 prompt, unless openpi's configuration sets another number (models/pi0_config.py)."""
EPSILON = 1e-6
"""openpi adds this to the range, so we write an upper end that is lower by as much."""


@dataclass(frozen=True)
class OpenpiConfig:
    """The content of config.json, as openpi's converter writes it.

    Attributes:
        action_dim: dimensions of an action.
        action_horizon: steps of a chunk.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert.
        precision: dtype of the weights.
    """

    action_dim: int
    action_horizon: int
    paligemma_variant: str
    action_expert_variant: str
    precision: ExportDtype


@dataclass(frozen=True)
class OpenpiStats:
    """Statistics in openpi's norm_stats.json: lists with one number per dimension, in raw units.

    Attributes:
        mean: mean.
        std: standard deviation.
        q01: the value that becomes -1.
        q99: the value that becomes 1, minus `EPSILON`, which openpi adds to the range.
    """

    mean: list[float]
    std: list[float]
    q01: list[float]
    q99: list[float]


def openpi_stats(stats: NormStats, acts: bool) -> OpenpiStats:
    """Returns statistics with which openpi's quantile normalisation equals ours, in float64.

    Args:
        stats: our statistics.
        acts: True for actions: constant dims come back as their value. False for a state: constant dims become 0 (or -1).
    """
    low, high = (end.copy() for end in stats.bounds)
    still = stats.unnormalize(np.zeros(stats.dim))
    for dim, by in enumerate(stats.normalized_by):
        if not by.startswith("constant"):
            continue
        if acts:
            low[dim] = high[dim] = still[dim]
        else:
            low[dim], high[dim] = (-WIDE, WIDE) if by == "constant" else (0.0, WIDE)
    return OpenpiStats(*(_list(one) for one in (stats.mean, stats.std, low, high - EPSILON)))


def asset_id(embodiment: str) -> str:
    """Returns the folder name for an embodiment's statistics: its name without characters that are unsafe in a folder name.

    >>> asset_id("franka"), asset_id("../ur5/left")
    ('franka', '_ur5_left')
    """
    return re.sub(r"[^\w.-]", "_", embodiment).strip(".") or "_"


def check(source: ExportSource) -> None:
    """Checks that openpi can act as the run does, and that each embodiment gets a folder of its own.

    Raises:
        InputError: pi0.5 does not compute what the run does, or two embodiments would share a folder.
    """
    check_pi05(source, "openpi")
    names = source.embodiments
    if len({asset_id(name) for name in names}) < len(names):
        raise InputError(
            f"two embodiments of {source.where} would share a folder of {ASSETS}/: {', '.join(names)}; export one of them with "
            "--embodiment"
        )


def files(source: ExportSource) -> LayoutFiles:
    """Returns config.json and the statistics of each embodiment."""
    model, tok = source.config.model, source.tok
    config = OpenpiConfig(model.action_dim, model.horizon, "gemma_2b", "gemma_300m", source.dtype)
    written = {"config.json": _json(json_files.encode(config))}
    for name in source.embodiments:
        both = {"actions": openpi_stats(tok.stats[name], acts=True)}
        if name in tok.state_stats:
            both["state"] = openpi_stats(tok.state_stats[name], acts=False)
        plain = {key: json_files.encode(stats) for key, stats in both.items()}
        written[f"{ASSETS}/{asset_id(name)}/norm_stats.json"] = _json({"norm_stats": plain})
    ids = ", ".join(asset_id(name) for name in source.embodiments)
    return LayoutFiles(
        written, tuple(limits(source)), f"openpi finds the statistics by the asset id of its data configuration: {ids}"
    )


def limits(source: ExportSource) -> list[str]:
    """Lists what openpi's files cannot express about the run, and the consequences."""
    model, said = source.config.model, []
    wrong = differences(model, source.rows(THEIR_VOCAB))
    if wrong:
        sizes = "; ".join(f"{name} {note}" for name, note in wrong.items())
        said.append(f"a model of other sizes than PaliGemma's ({sizes}). openpi refuses to load these weights")
    if source.encoder.text.size != THEIR_VOCAB:
        said.append(
            "the text tokenizer: openpi always fetches PaliGemma's, whose ids mean other words than this run's; give the policy "
            "tokens of text_tokenizer.json"
        )
    said.append(
        f"cameras, and names of the action's columns: the configuration in openpi's code says them. It needs pi05=True, "
        f"action_dim={model.action_dim}, action_horizon={model.horizon}, quantile normalisation, and the cameras in the order "
        f"{', '.join(source.encoder.slots) or '(none)'}"
    )
    if len(source.encoder.slots) > CAMERAS:
        said.append(
            f"{len(source.encoder.slots)} cameras: openpi's model reads {CAMERAS}, so it acts without the others, as if they "
            "were missing"
        )
    if source.config.data.text_length > TOKENS:
        said.append(
            f"rows of up to {source.config.data.text_length} tokens: openpi cuts prompts of more than {TOKENS}, unless its "
            f"configuration says max_token_len={source.config.data.text_length}"
        )
    if source.config.rtc_delay:
        said.append(f"real-time chunking as it was trained (--rtc-delay {source.config.rtc_delay})")
    for name in source.embodiments:
        said += _of_robot(source, name)
    return said


def _of_robot(source: ExportSource, name: str) -> list[str]:
    """Lists what openpi's files cannot express about one robot."""
    model, robot, said = source.config.model, source.robot(name), []
    if robot.horizon < model.horizon or robot.action_dim < model.action_dim:
        alone = len(source.embodiments) == 1
        said.append(
            f"that chunks of {name} have {robot.horizon} of {model.horizon} steps and {robot.action_dim} of "
            f"{model.action_dim} columns: openpi computes all of them, so its chunks differ from ours"
            + ("" if alone else "; --embodiment at least takes the other columns out of action_in_proj")
        )
    if robot.representation is not None and not robot.representation.stored:
        said.append(
            f"the form of {name}'s actions ({robot.representation.name}): openpi returns them so; its DeltaActions and "
            "AbsoluteActions are for joints that are relative to the state"
        )
    if name not in source.tok.state_stats or not robot.state_dim:
        said.append(f"that {name} acts without a state: openpi writes one into the prompt")
    elif source.tok.state_stats[name].clip:
        said.append(f"that states of {name} beyond their range are cut to it")
    if source.encoder.control.get(name):
        said.append(f'the control mode in the prompt of {name} ("Control: {source.encoder.control[name]}")')
    if robot.subtask and source.config.data.subtasks < 1:
        said.append(f"subtasks in the prompts of {name}: openpi's policy acts on the task alone")
    said += [*of_prompts(robot, "openpi"), *of_grippers(robot, "openpi")]
    if robot.cameras:
        said.append(
            f"{image_steps(source, robot)} ({name}). openpi resizes what its client sends to 224 x 224 with black edges"
        )
    return said


def policy_tensors(flat: Flat, source: ExportSource) -> tuple[list[TensorToWrite], WeightsReport]:
    """Returns the tensors. If only one robot is exported, they ignore the action columns that it does not have."""
    model, rows = source.config.model, source.rows(THEIR_VOCAB)
    if len(source.embodiments) > 1:
        return tensors(flat, model, "openpi", rows)
    own, more = own_columns(flat, model, source.robot(source.embodiments[0]))
    listed, report = tensors(own, model, "openpi", rows)
    return listed, WeightsReport(report.title, (*report.rows, *more))


def _list(array: NDArray[np.float64]) -> list[float]:
    plain: list[float] = array.tolist()
    return plain


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


LAYOUT = Layout(check=check, files=files, tensors=policy_tensors)
