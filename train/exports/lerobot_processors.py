"""lerobot's two processors as the files that it loads: policy_preprocessor.json, policy_postprocessor.json and their states.

Source: lerobot 0.6.1, processor/pipeline.py (`DataProcessorPipeline.save_pretrained`), policies/pi05/processor_pi05.py. A step is
its registered name and the arguments that it is made with.
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
"""How each kind of feature is normalised."""


@dataclass(frozen=True)
class LerobotPolicyFeature:
    """A feature, as lerobot's configuration and its processors have it.

    Attributes:
        type: "VISUAL", "STATE" or "ACTION".
        shape: of a value without its batch.
    """

    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LerobotStep:
    """A step of a processor.

    Attributes:
        name: under which lerobot has registered it.
        config: the arguments that it is made with.
        state: bytes of its safetensors file; b"" if it has none.
    """

    name: str
    config: Mapping[str, Json]
    state: bytes = b""


def processor_files(name: str, steps: Sequence[LerobotStep]) -> dict[str, bytes]:
    """A processor's JSON file and the states of its steps, by name of the file.

    Args:
        name: `PRE` or `POST`.
        steps: in order.
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
    """(q01, q99) by name of what is normalised of a robot: its action, and its state where the prompts have one."""
    found = {ACTION: action_quantiles(source.tok.stats[robot.embodiment])}
    if reads_state(source, robot):
        found[STATE] = state_quantiles(source.tok.state_stats[robot.embodiment])
    return found


def normalizer(
    name: str, features: Mapping[str, LerobotPolicyFeature], quantiles: Mapping[str, Sequence[NDArray[np.float32]]]
) -> LerobotStep:
    """The step that normalises, or brings actions back.

    Args:
        name: "normalizer_processor" or "unnormalizer_processor".
        features: by name.
        quantiles: (q01, q99) of the features that are normalised; the others stay as they are.
    """
    listed: dict[str, Json] = {key: {"type": one.type, "shape": list(one.shape)} for key, one in features.items()}
    return LerobotStep(name, {"eps": 1e-8, "features": listed, "norm_map": NORM_MAP}, stats_file(quantiles))


def tokenizer(folder: str, length: int) -> LerobotStep:
    """The step that makes tokens of the prompt.

    Args:
        folder: of a tokenizer of transformers; absolute, as it is looked for from where the robot's program was started.
        length: tokens of a prompt; longer ones are cut.
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
"""Writes the prompt of pi0.5, with the state in it."""
