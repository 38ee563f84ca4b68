"""Defines the closed sets of words that entries, an INDEX, mixtures and shards use, each once."""

from typing import Literal, get_args

RecordKind = Literal["robot", "vqa", "caption"]
"""What kind of training data a record is, or the records of a dataset are."""
KINDS: tuple[RecordKind, ...] = get_args(RecordKind)

CameraSlot = Literal["primary", "secondary", "wrist", "wrist_secondary"]
"""Name of a camera in all datasets, whatever the dataset itself calls it."""
CAMERA_SLOTS: tuple[CameraSlot, ...] = get_args(CameraSlot)

Encoding = Literal["absolute", "delta", "gripper"]
"""What a dimension of an action contains. This also decides how it is padded past the end of an episode."""
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
