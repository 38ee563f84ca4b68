"""Makes the files of lerobot's two processors: policy_preprocessor.json, policy_postprocessor.json and their states.

Source: lerobot 0.6.1, processor/pipeline.py (`DataProcessorPipeline.save_pretrained`), policies/pi05/processor_pi05.py. A file
lists the steps of a processor: for each, its registered name and the arguments to construct it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.acting.robots import Robot
from train.exports.layout import Json
from train.exports.lerobot_stats import action_quantiles, reads_state, state_quantiles, stats_file
from train.exports.source import ExportSource

PRE, POST = "policy_preprocessor", "policy_postprocessor"
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
NORM_MAP = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILES"}
"""Kind of feature -> how lerobot normalises it."""


@dataclass(frozen=True)
class LerobotPolicyFeature:
    """A feature in lerobot's configuration and processors.

    Attributes:
        type: "VISUAL", "STATE" or "ACTION".
        shape: shape of one value, without the batch.
    """

    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LerobotStep:
    """A step of a processor.

    Attributes:
        name: name under which lerobot has registered the step.
        config: arguments to construct it.
        state: bytes of its safetensors file; b"" if it has none.
    """

    name: str
    config: Mapping[str, Json]
    state: bytes = b""


def processor_files(name: str, steps: Sequence[LerobotStep]) -> dict[str, bytes]:
    """Returns a processor's JSON file and the states of its steps, by file name.

    Args:
        name: `PRE` or `POST`.
        steps: steps of the processor, in order.
    """
    files, listed = {}, []
    for number, step in enumerate(steps):
        entry: dict[str, Json] = {"registry_name": step.name, "config": dict(step.config)}
        if step.state:
            entry["state_file"] = f"{name}_step_{number}_{step.name}.safetensors"
            files[f"{name}_step_{number}_{step.name}.safetensors"] = step.state
        listed.append(entry)
    text = json.dumps({"name": name, "steps": listed}, indent=2) + "\n"
    return files | {f"{name}.json": text.encode()}


def robot_quantiles(source: ExportSource, robot: Robot) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Returns (q01, q99) by feature name: for the action of a robot, and for its state if the prompts contain it."""
    found = {ACTION: action_quantiles(source.tok.stats[robot.embodiment])}
    if reads_state(source, robot):
        found[STATE] = state_quantiles(source.tok.state_stats[robot.embodiment])
    return found


def normalizer(
    name: str, features: Mapping[str, LerobotPolicyFeature], quantiles: Mapping[str, Sequence[NDArray[np.float32]]]
) -> LerobotStep:
    """Returns the step that normalises features, or the one that brings actions back to raw units.

    Args:
        name: "normalizer_processor" or "unnormalizer_processor".
        features: features by name.
        quantiles: (q01, q99) by name, for the features that are normalised; other features do not change.
    """
    listed: dict[str, Json] = {key: {"type": one.type, "shape": list(one.shape)} for key, one in features.items()}
    return LerobotStep(name, {"eps": 1e-8, "features": listed, "norm_map": NORM_MAP}, stats_file(quantiles))


def tokenizer(folder: str, length: int) -> LerobotStep:
    """Returns the step that turns the prompt into tokens.

    Args:
        folder: folder of a transformers tokenizer. It must be absolute, because lerobot looks for it from the folder in which
            the robot's program was started.
        length: maximum tokens of a prompt; longer prompts are cut.
    """
    said: dict[str, Json] = {
        "max_length": length,
        "task_key": "task",
        "padding_side": "right",
        "padding": "max_length",
        "truncation": True,
    }
    return LerobotStep("tokenizer_processor", {**said, "tokenizer_name": folder})


RENAME = LerobotStep("rename_observations_processor", {"rename_map": {}})
BATCH = LerobotStep("to_batch_processor", {})
DEVICE = LerobotStep("device_processor", {"device": "cpu", "float_dtype": None})
"""On the CPU, as config.json says; lerobot's commands move both with --policy.device."""
STATE_PROMPT = LerobotStep("pi05_prepare_state_tokenizer_processor_step", {})
"""Writes the prompt of pi0.5, which contains the state."""
