"""The shard record: one Arrow schema for robot, VQA and caption rows.

    row
    ├── kind            string   "robot" | "vqa" | "caption"
    ├── source          string   the mixture's source that asked for this row
    ├── sample_id       string   unique in the shards: source/file/episode/step/repeat
    ├── image           encoded: as the source stored it, or as the build encoded pixels (JPEG, PNG or WebP); null if absent
    │   ├── image/primary          binary
    │   ├── image/secondary        binary
    │   ├── image/wrist            binary
    │   └── image/wrist_secondary  binary
    ├── prompt          string   robot: the instruction; vqa: the question; caption: the fixed prompt
    ├── target          string   vqa, caption: the answer; robot: an optional subtask, else ""
    ├── answers         list<string>   vqa: all answers that people gave, `target` among them, if they are known; else empty
    ├── action          list<float32>  the chunk in raw units, (horizon * action_dim,) row-major, time first; vqa, caption: empty
    ├── action_steps    int32    number of steps of the chunk before the end of the episode, 1..horizon; vqa, caption: 0
    ├── action_tokens   list<int32>    FAST ids of `action` by SHARDS/tokenizer: a cache, `action` decides; else empty
    ├── state           list<float32>  proprio at this step, raw units, (proprio_dim,); may be empty
    └── provenance
        ├── file        string   source file, relative to the dataset's directory
        ├── offset      int64    byte offset of the source record in it
        ├── episode     int64    number of the record in its file
        └── step        int32    step within the episode; vqa, caption: 0

Steps past an episode's end are padded in raw units: absolute dimensions and grippers keep their last value, deltas are 0.
"""

import pyarrow as pa

from fasttok.common.kinds import CAMERA_SLOTS

IMAGE_COLUMNS = tuple(f"image/{slot}" for slot in CAMERA_SLOTS)
ROWS_PER_BATCH = 256

SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        *[pa.field(name, pa.binary()) for name in IMAGE_COLUMNS],
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("answers", pa.list_(pa.field("item", pa.string(), nullable=False)), nullable=False),
        pa.field("action", pa.list_(pa.field("item", pa.float32(), nullable=False)), nullable=False),
        pa.field("action_steps", pa.int32(), nullable=False),
        pa.field("action_tokens", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("state", pa.list_(pa.field("item", pa.float32(), nullable=False)), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("episode", pa.int64(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
    ]
)
