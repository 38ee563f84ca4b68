"""Shards to training batches: decode images, normalise actions, build tokens and masks (docs/design.md "Training batch")."""

import io
import queue
import threading
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from pipelines.records import CAMERA_SLOTS
from pipelines.shards import ReadState, ShardReader
from train.config import KINDS, ModelConfig
from train.tokens import Layout, TextTokenizer, robot_prompt, text_prompt

NumpyBatch = dict[str, NDArray]
PREFETCH = 4
MEASURED_ROWS = 100_000


@dataclass(frozen=True)
class Example:
    """One row before batching: tokens of prefix and suffix, and what else a batch needs."""

    images: dict[str, bytes | NDArray[np.uint8]]  # slot -> encoded, or decoded (h, w, 3)
    prefix: list[int]
    suffix: list[int]
    is_fast: bool
    actions: NDArray[np.float32] | None = None  # (horizon, dim) normalised
    action_steps: int = 0
    action_dim: int = 0
    bgr: tuple[str, ...] = ()  # slots whose images are stored with their channels reversed


class Encoder:
    """Rows of shards (or an observation of a running robot) to examples, examples to batches.

    Attributes:
        slots: camera slots that rows of `kinds` have, in order: what the model sees. length: tokens per row, L.
    """

    def __init__(
        self,
        reader: ShardReader,
        text: TextTokenizer,
        model: ModelConfig | None,
        length: int,
        tok: ActionTokenizer | None = None,
        kinds: Collection[str] = KINDS,
    ) -> None:
        self.sources = reader.manifest.sources
        self.tok = tok or ActionTokenizer.load(reader.tokenizer_folder)
        stored = (reader.manifest.tokenizer or {}).get("fingerprint")
        self.cached = stored == self.tok.fingerprint
        if tok is None and not self.cached:
            raise InputError(
                f"{reader.tokenizer_folder} has fingerprint {self.tok.fingerprint}, the shards' manifest says {stored}: its "
                "merges or statistics are not those that made the FAST ids; put the right folder back, or build the shards again"
            )
        self.text = text
        self.layout = Layout(text.size, self.tok.vocab_size)
        seen = {slot for s in self.sources.values() if s["kind"] in kinds for slot in s["cameras"]}
        self.slots = tuple(slot for slot in CAMERA_SLOTS if slot in seen)
        robots = [source for source in self.sources.values() if source["kind"] == "robot"]
        for source in robots:
            if source["embodiment"] not in self.tok.stats:
                raise InputError(
                    f"the tokenizer has no statistics for embodiment {source['embodiment']!r} of source {source['dataset']}; "
                    f"it has {', '.join(self.tok.stats) or 'none'}. Fit it on the INDEX that the shards were built from"
                )
        self.horizon = max((source["horizon"] for source in robots), default=1)
        self.action_dim = max((source["action_dim"] for source in robots), default=1)
        self.model = model
        self.length = length

    def robot_prefix(self, embodiment: str, task: str, state: NDArray) -> list[int]:
        """Prefix tokens for an instruction and a raw-unit state (S,); an embodiment without state statistics has no state."""
        stats = self.tok.state_stats.get(embodiment)
        normalized = stats.normalize(np.asarray(state, np.float32)) if stats is not None and len(state) else np.zeros(0)
        return [self.text.bos, *self.text.encode([robot_prompt(task, normalized)])[0]]

    def example(self, row: dict[str, Any]) -> Example:
        """One shard row."""
        images = {slot: row[f"image/{slot}"] for slot in self.slots if row[f"image/{slot}"]}
        if row["kind"] != "robot":
            prefix = [self.text.bos, *self.text.encode([text_prompt(row["prompt"])])[0]]
            suffix = [*self.text.encode([row["target"]])[0], self.text.eos]
            return Example(images, prefix, suffix, is_fast=False)
        source = self.sources[row["source"]]
        embodiment, dim = source["embodiment"], source["action_dim"]
        raw = np.asarray(row["action"], np.float32).reshape(source["horizon"], dim)
        ids = row["action_tokens"] if self.cached else self.tok.encode(raw, embodiment)[0]
        suffix = [*self.layout.place(ids).tolist(), *self.text.end_of_action, self.text.eos]
        actions = self.tok.stats[embodiment].normalize(raw).astype(np.float32)
        prefix = self.robot_prefix(embodiment, row["prompt"], row["state"])
        bgr = tuple(source.get("bgr", ()))
        return Example(images, prefix, suffix, True, actions, int(row["action_steps"]), dim, bgr)

    def batch(self, examples: list[Example]) -> NumpyBatch:
        """Examples as one batch.

        Raises:
            InputError: a row has more tokens than `length`, or an image cannot be decoded.
        """
        assert self.model is not None
        b, size, length = len(examples), self.model.image_size, self.length
        out: NumpyBatch = {
            "images": np.zeros((b, len(self.slots), size, size, 3), np.float32),
            "image_mask": np.zeros((b, len(self.slots)), bool),
            "tokens": np.full((b, length), self.text.pad, np.int32),
            "token_mask": np.zeros((b, length), bool),
            "token_ar": np.zeros((b, length), bool),
            "loss_mask": np.zeros((b, length), bool),
            "is_fast": np.array([e.is_fast for e in examples], bool),
            "actions": np.zeros((b, self.model.horizon, self.model.action_dim), np.float32),
            "action_mask": np.zeros((b, self.model.horizon, self.model.action_dim), bool),
            "action_dim_mask": np.zeros((b, self.model.action_dim), bool),
        }
        for i, example in enumerate(examples):
            for slot, data in example.images.items():
                place = self.slots.index(slot)
                pixels = decode_image(data, size)
                out["images"][i, place] = pixels[..., ::-1] if slot in example.bgr else pixels
                out["image_mask"][i, place] = True
            n, total = len(example.prefix), len(example.prefix) + len(example.suffix)
            if total > length:
                raise InputError(f"a row has {total} tokens, more than the {length} of this run; raise --text-length")
            out["tokens"][i, :total] = example.prefix + example.suffix
            out["token_mask"][i, :total] = True
            out["token_ar"][i, n:total] = out["loss_mask"][i, n:total] = True
            out["action_dim_mask"][i, : example.action_dim] = True
            if example.actions is not None:
                h, d = example.actions.shape
                out["actions"][i, :h, :d] = example.actions
                out["action_mask"][i, : example.action_steps, :d] = True
        return out


def decode_image(data: bytes | NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Encoded or raw image to (size, size, 3) float32 in [-1, 1].

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        image = Image.open(io.BytesIO(data)) if isinstance(data, bytes) else Image.fromarray(data)
        image = image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(
            f"an image cannot be decoded: {error}; check the shards with: python -m pipelines lint"
        ) from None
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 127.5 - 1.0


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns of a reader's batch as one dict a row."""
    count = len(columns["kind"])
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def longest_row(reader: ShardReader, encoder: Encoder, kinds: Collection[str]) -> int:
    """Tokens of the longest row of these kinds, among all rows or an even sample of 100,000; rounded up to 8."""
    step = max(1, -(-reader.num_rows // MEASURED_ROWS))
    longest = 0
    for number in range(0, reader.num_rows, step):
        row = reader.row(number)
        if row["kind"] not in kinds:
            continue
        example = encoder.example(row)
        longest = max(longest, len(example.prefix) + len(example.suffix))
    return -(-longest // 8) * 8


def prefetch(
    reader: ShardReader,
    encoder: Encoder,
    size: int,
    state: ReadState | None,
    weights: dict[str, float] | None,
    seed: int,
) -> Generator[tuple[NumpyBatch, ReadState]]:
    """Batches without end, made a few ahead by a background thread; an error in the thread is raised here."""
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
            for batch in reader.batches(size, state=state, weights=weights, seed=seed):
                examples = [encoder.example(row) for row in rows_of(batch.columns)]
                if not put((encoder.batch(examples), batch.state)):
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
