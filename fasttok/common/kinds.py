"""Words of which entries, an INDEX, mixtures and shards know only a few: each closed set is defined here, once."""

from typing import Literal, get_args

RecordKind = Literal["robot", "vqa", "caption"]
"""What a record, or a dataset's records, are for."""
KINDS: tuple[RecordKind, ...] = get_args(RecordKind)

CameraSlot = Literal["primary", "secondary", "wrist", "wrist_secondary"]
"""Where a camera's images go, whatever a dataset calls it."""
CAMERA_SLOTS: tuple[CameraSlot, ...] = get_args(CameraSlot)

Encoding = Literal["absolute", "delta", "gripper"]
"""What a dimension of an action contains, which also says how it is padded past an episode's end."""
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
