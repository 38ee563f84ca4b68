"""Examples to training batches (docs/design.md "Training batch"), and batches ahead of the step that eats them."""

import io
import os
import queue
import threading
from collections.abc import Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.errors import InputError
from pipelines.shards import ReadState, ShardReader
from pipelines.shards.records import SCHEMA
from train.config import ModelConfig
from train.examples import Encoder, Example

NumpyBatch = dict[str, NDArray]
PREFETCH = 4
MEASURED_ROWS, MEASURED_AT_ONCE = 100_000, 2048


@dataclass(frozen=True)
class Batcher:
    """Examples of one run as arrays of one shape.

    Attributes:
        slots: cameras, in order. length: tokens per row. pad: token that fills. resize: as in `DataConfig`.
    """

    model: ModelConfig
    slots: tuple[str, ...]
    length: int
    pad: int
    resize: Literal["pad", "stretch"] = "pad"

    def __call__(self, examples: list[Example], pool: ThreadPoolExecutor | None = None) -> NumpyBatch:
        """A batch; images are decoded by the threads of `pool`.

        Raises:
            InputError: a row has more tokens than `length`, or an image cannot be decoded.
        """
        b, m, length = len(examples), self.model, self.length
        out: NumpyBatch = {
            "images": np.zeros((b, len(self.slots), m.image_size, m.image_size, 3), np.uint8),
            "image_mask": np.zeros((b, len(self.slots)), bool),
            "tokens": np.full((b, length), self.pad, np.int32),
            "token_mask": np.zeros((b, length), bool),
            "token_ar": np.zeros((b, length), bool),
            "loss_mask": np.zeros((b, length), bool),
            "is_action": np.array([e.is_action for e in examples], bool),
            "actions": np.zeros((b, m.horizon, m.action_dim), np.float32),
            "action_mask": np.zeros((b, m.horizon, m.action_dim), bool),
            "embodiment_mask": np.zeros((b, m.horizon, m.action_dim), bool),
        }
        if m.state_token:
            out["state"] = np.zeros((b, m.state_dim), np.float32)
            out["state_mask"] = np.array([len(e.state) > 0 for e in examples], bool)

        def image(at: tuple[int, str, bytes | NDArray[np.uint8]]) -> None:
            row, slot, data = at
            place = self.slots.index(slot)
            pixels = decode_image(data, m.image_size, self.resize)
            out["images"][row, place] = pixels[..., ::-1] if slot in examples[row].bgr else pixels
            out["image_mask"][row, place] = True

        found = [(i, slot, data) for i, e in enumerate(examples) for slot, data in e.images.items()]
        for _ in map(image, found) if pool is None else pool.map(image, found, chunksize=8):
            pass
        for i, e in enumerate(examples):
            n, total = len(e.prefix), len(e.prefix) + len(e.suffix)
            if total > length:
                raise InputError(
                    f"a row has {total} tokens, more than the {length} of this run; raise --data.text-length"
                )
            out["tokens"][i, :total] = e.prefix + e.suffix
            out["token_mask"][i, :total] = True
            out["token_ar"][i, n:total] = out["loss_mask"][i, n:total] = True
            out["embodiment_mask"][i, : e.horizon, : e.dim] = True
            if m.state_token:
                out["state"][i, : len(e.state)] = e.state
            if e.actions is not None:
                h, d = e.actions.shape
                out["actions"][i, :h, :d] = e.actions
                out["action_mask"][i, : e.steps, :d] = True
        return out


def decode_image(data: bytes | NDArray[np.uint8], size: int, resize: str = "pad") -> NDArray[np.uint8]:
    """Encoded or raw image to (size, size, 3) uint8.

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        image = Image.open(io.BytesIO(data)) if isinstance(data, bytes) else Image.fromarray(data)
        image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"an image cannot be decoded: {error}; check the shards with: fasttok-pipelines lint"
        ) from None
    if image.size != (size, size):
        width, height = image.size
        scale = size / max(width, height)
        shape = (max(1, round(width * scale)), max(1, round(height * scale))) if resize == "pad" else (size, size)
        image = image.resize(shape, Image.Resampling.BILINEAR)
        if shape != (size, size):
            square = Image.new("RGB", (size, size))
            square.paste(image, ((size - shape[0]) // 2, (size - shape[1]) // 2))
            image = square
    return np.asarray(image, np.uint8)


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns of a reader's batch as one dict a row."""
    count = len(columns["kind"])
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def longest_row(reader: ShardReader, encoder: Encoder, kinds: Collection[str]) -> int:
    """Tokens of the longest row of these kinds, among all rows or an even sample of 100,000; rounded up to 8."""
    step = max(1, -(-reader.num_rows // MEASURED_ROWS))
    numbers, longest = np.arange(0, reader.num_rows, step), 0
    blind: dict[str, Any] = {f"image/{slot}": None for slot in encoder.slots}
    columns = [name for name in SCHEMA.names if not name.startswith("image/")]
    for first in range(0, len(numbers), MEASURED_AT_ONCE):
        places = [reader.layout.at(int(i)) for i in numbers[first : first + MEASURED_AT_ONCE]]
        shards, rows = np.array(places).T
        for row in reader.take(shards, rows, columns).rows():
            if row["kind"] in kinds:
                example = encoder.row(row | blind)
                longest = max(longest, len(example.prefix) + len(example.suffix))
    return -(-longest // 8) * 8


@dataclass(frozen=True)
class Loaded:
    """What the step gets: this process's slice of the batch, the position after the whole batch, and whose rows they are."""

    batch: NumpyBatch
    state: ReadState
    sample_ids: list[str]


def prefetch(
    reader: ShardReader,
    encoder: Encoder,
    batcher: Batcher,
    size: int,
    *,
    held_steps: bool = False,
    threads: int = 0,
    **order: Any,
) -> Generator[Loaded]:
    """Batches without end, made a few ahead by a background thread; an error in the thread is raised here.

    Args:
        size: rows of a batch over all processes. held_steps: as in `DataConfig`.
        order: state, weights, seed, rank, world of `ShardReader.batches`.
    """
    ready: queue.Queue[Any] = queue.Queue(PREFETCH)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="decode") as pool:
                for read in reader.batches(size, **order):
                    examples = [encoder.row(row) for row in rows_of(read.columns)]
                    batch = batcher(examples, pool)
                    if held_steps:
                        acting = np.array([e.actions is not None for e in examples])
                        batch["action_mask"] = batch["embodiment_mask"] & acting[:, None, None]
                    if not put(Loaded(batch, read.state, list(read["sample_id"]))):
                        return
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)
