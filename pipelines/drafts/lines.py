"""Helpers for drafts: camera slots by the names of cameras, and lines of YAML."""

import re
from collections.abc import Iterable, Sequence
from typing import TypedDict

import yaml

from fasttok.common.kinds import CAMERA_SLOTS, CameraSlot, Encoding

EntryPart = TypedDict(
    "EntryPart",
    {"from": str, "slice": list[int], "encoding": Encoding, "closed": float, "open": float, "rotation": str, "unit": str,
     "names": list[str]},
    total=False,
)  # fmt: skip
"""An item of `action` or `proprio` in an entry's YAML, in the order in which it is printed."""
WRIST = re.compile(r"wrist|hand|gripper")
NOT_CAMERAS = re.compile(r"depth|segment|mask")


def camera_slots(names: Iterable[str]) -> tuple[dict[CameraSlot, str], list[str]]:
    """Assigns cameras to slots by their names. Returns (slot -> camera, cameras without a slot).

    >>> camera_slots(["obs/eye_in_hand_rgb", "obs/agentview_rgb"])[0]
    {'primary': 'obs/agentview_rgb', 'wrist': 'obs/eye_in_hand_rgb'}
    >>> camera_slots(["observation.images.Wrist", "observation.images.Top", "observation.images.Depth"])[0]
    {'primary': 'observation.images.Top', 'wrist': 'observation.images.Wrist'}
    """
    cameras = [name for name in sorted(names) if not NOT_CAMERAS.search(name.lower())]
    outer = [name for name in cameras if not WRIST.search(name.lower())]
    inner = [name for name in cameras if WRIST.search(name.lower())]
    chosen = dict(zip(CAMERA_SLOTS[:2], outer, strict=False)) | dict(zip(CAMERA_SLOTS[2:], inner, strict=False))
    return chosen, [name for name in cameras if name not in chosen.values()]


def flow(key: str, value: object) -> str:
    """Returns a key and its value as one line of YAML.

    >>> flow("cameras", {"primary": "obs/image"}), flow("license", "")
    ('cameras: {primary: obs/image}', "license: ''")
    """
    return (
        f"{key}: "
        + yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").strip()
    )


def listed(key: str, values: Sequence[object]) -> list[str]:
    """Returns a key and its list as lines of YAML, one line per item."""
    return [f"{key}:", *(f"  - {flow('', value)[2:]}" for value in values)] if values else [f"{key}: []"]
