"""Writes demonstrations as RLDS datasets with TFDS itself: nested steps, JPEG images, several shard files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.rlds_writer import DatasetKind, Demonstration, step_fields, write_rlds
from examples.tabletop.embodiments import Embodiment
from examples.tabletop.expert import Expert
from examples.tabletop.manner import HUMAN, Manner
from examples.tabletop.players import act_all, acts
from examples.tabletop.vector import Seen, make_vector
from fasttok.episodes.tfds import tfds as tensorflow_datasets

EXPERT_SEED = 1 << 32  # makes the expert's random numbers independent of those of the scene
FEATURES = {
    "image/primary": "image",
    "image/wrist": "wrist_image",
    "state": "state",
}  # the dataset's feature of each part of an observation


def demonstrate(
    embodiment: str,
    seeds: Sequence[int],
    split: str = "seen",
    correlation: float | None = None,
    task: str = "",
    manner: Manner = HUMAN,
) -> list[Demonstration | None]:
    """Records episodes of the expert, all at once: an episode is the same to the last bit, whichever others there are.

    Args:
        embodiment: planar or arm.
        seeds: seed of the scene and of the expert in each episode.
        split: one of `scenes.SPLITS`.
        correlation: share of seeds for which the named block is the nearest one; None: 0.9.
        task: kinds of tasks, such as "reach+push"; "": all kinds.
        manner: how the expert moves.

    Returns:
        For each seed {"steps": T dicts, "episode_metadata": dict}, as the features of the dataset describe them; None if the
        expert failed.
    """
    env = make_vector(embodiment, split, len(seeds), task, correlation)
    env.reset(seeds)
    acting = [
        acts(Expert(env.world(row), env.tasks[row], env.robot, np.random.default_rng([EXPERT_SEED, seed]), manner))
        for row, seed in enumerate(seeds)
    ]
    steps: list[list[dict[str, Any]]] = [[] for _ in seeds]
    active, actions = np.ones(len(env), bool), np.zeros((len(env), env.action_dim), np.float32)
    while True:
        act_all(acting, active, actions)
        rows = np.flatnonzero(active)
        if not rows.size:
            break
        seen = Seen(env.tables.take(rows), env.robot)  # all pictures of a moment at once: faster than one by one
        for place, row in enumerate(rows.tolist()):
            observation = {FEATURES[name]: seen[name][place] for name in seen}
            steps[row].append({"observation": observation, "action": actions[row].copy()})
        env.step(actions, active)
    info, succeeded = env.info(), env.success()
    return [
        {
            "steps": [
                {**step, "language_instruction": env.tasks[row].instruction, **step_fields(t, len(steps[row]) - 1)}
                for t, step in enumerate(steps[row])
            ],
            "episode_metadata": {
                "episode_id": f"{embodiment}-{seed}",
                "seed": seed,
                "task": env.tasks[row].kind,
                "success": True,
                "named_is_nearest": bool(info["named"][row] == info["nearest"][row]),
            },
        }
        if succeeded[row]
        else None
        for row, seed in enumerate(seeds)
    ]


def write(
    folder: Path, embodiment: Embodiment, episodes: Mapping[str, Callable[[], Iterator[Demonstration]]], smallest: int
) -> Path:
    """Writes `folder`/tabletop_<embodiment>/1.0.0, complete or not at all.

    Args:
        folder: parent of the dataset's folder.
        embodiment: the robot of the demonstrations.
        episodes: for each split, a function that yields its demonstrations.
        smallest: number of demonstrations in the smallest split; TFDS does not allow more shard files than that.

    Returns:
        The version folder.

    Raises:
        InputError: TFDS is not installed.
    """
    f = tensorflow_datasets().features
    images = {
        FEATURES[f"image/{slot}"]: f.Image(shape=(64, 64, 3), encoding_format="jpeg") for slot in embodiment.cameras
    }
    kind = DatasetKind(
        name=f"tabletop_{embodiment.name}",
        description="Demonstrations of the tabletop world's scripted expert.",
        observation={**images, "state": f.Tensor(shape=(len(embodiment.state_names),), dtype=np.float32)},
        action_dim=embodiment.action_dim,
        metadata={
            "episode_id": f.Text(),
            "seed": f.Scalar(dtype=np.int64),
            "task": f.Text(),
            "success": f.Scalar(dtype=np.bool_),
            "named_is_nearest": f.Scalar(dtype=np.bool_),
        },
    )
    return write_rlds(folder, kind, episodes, smallest)


def entry(embodiment: Embodiment) -> str:
    """Returns the dataset.yaml of a dataset that `write` made."""
    action = _parts("action", embodiment.action_names, embodiment.action_units)
    units = dict(zip(embodiment.action_names, embodiment.action_units, strict=True))
    proprio = _parts("observation/state", embodiment.state_names, [units.get(n, "m") for n in embodiment.state_names])
    cameras = ", ".join(f"{slot}: observation/{FEATURES[f'image/{slot}']}" for slot in embodiment.cameras)
    return (
        f"name: tabletop_{embodiment.name}\nkind: robot\nembodiment: {embodiment.name}\n"
        f"robot: tabletop {embodiment.name} (simulated)\ncontrol_hz: {embodiment.control_hz:g}\n"
        f"cameras: {{{cameras}}}\nlanguage: language_instruction\naction:\n{action}proprio:\n{proprio}"
        "license: Apache-2.0\n"
    )


def _parts(feature: str, names: Sequence[str], units: Sequence[str]) -> str:
    """Returns the lines of the entry, one for each run of neighbouring dims of the same kind."""
    lines, start = [], 0
    kinds = [_kind(name) for name in names]
    for stop in range(1, len(names) + 1):
        if stop < len(names) and kinds[stop] == kinds[start]:
            continue
        more = "encoding: " + kinds[start] if kinds[start] != "euler_xyz" else "rotation: euler_xyz"
        listed = ", ".join(names[start:stop])
        lines.append(
            f"  - {{from: {feature}, slice: [{start}, {stop}], {more}, unit: '{units[start]}', names: [{listed}]}}\n"
        )
        start = stop
    return "".join(lines)


def _kind(name: str) -> str:
    if name in ("roll", "pitch", "yaw"):
        return "euler_xyz"
    return "gripper" if name == "gripper" else "delta" if name.startswith("d") else "absolute"
