"""A first entry for somebody's data, and how sure it is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import yaml

from fasttok.common.kinds import CAMERA_SLOTS, CameraSlot

WRIST = re.compile(r"wrist|hand|gripper")
NOT_CAMERAS = re.compile(r"depth|segment|mask")


@dataclass(frozen=True)
class Draft:
    """A proposed entry.

    Attributes:
        entry_yaml: the entry as people write it; it parses if there is no question.
        assumed: what the files do not say and was taken from names, or measured; the entry has it under `guesses`.
        questions: what somebody must answer before the entry can be trusted.
    """

    entry_yaml: str
    assumed: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def camera_slots(names: Iterable[str]) -> tuple[dict[CameraSlot, str], list[str]]:
    """(slot -> camera, cameras without a slot), by their names.

    >>> camera_slots(["obs/eye_in_hand_rgb", "obs/agentview_rgb"])[0]
    {'primary': 'obs/agentview_rgb', 'wrist': 'obs/eye_in_hand_rgb'}
    """
    cameras = [name for name in sorted(names) if not NOT_CAMERAS.search(name)]
    outer = [name for name in cameras if not WRIST.search(name)]
    inner = [name for name in cameras if WRIST.search(name)]
    chosen = dict(zip(CAMERA_SLOTS[:2], outer, strict=False)) | dict(zip(CAMERA_SLOTS[2:], inner, strict=False))
    return chosen, [name for name in cameras if name not in chosen.values()]


def flow(key: str, value: object) -> str:
    """A line of YAML.

    >>> flow("cameras", {"primary": "obs/image"}), flow("license", "")
    ('cameras: {primary: obs/image}', "license: ''")
    """
    return (
        f"{key}: "
        + yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").strip()
    )


def listed(key: str, values: Sequence[object]) -> list[str]:
    """Lines of YAML: a list, an item a line."""
    return [f"{key}:", *(f"  - {flow('', value)[2:]}" for value in values)] if values else [f"{key}: []"]
