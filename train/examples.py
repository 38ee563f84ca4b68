"""Rows of shards, and observations of a running robot, as examples: prefix and suffix tokens, actions, images."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from train.acting.robots import Robots, check_statistics
from train.config import DataConfig, ModelConfig
from train.texts.control_mode import control_modes
from train.texts.text_vocabulary import arranged
from train.tokens import (
    BINS,
    TextTokenizer,
    bins,
    centres,
    robot_prompt,
    state_text,
    text_prompt,
)

NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Example:
    """One row before batching.

    Attributes:
        images: by camera slot, encoded bytes or pixels (h, w, 3) uint8.
        prefix: tokens that are read.
        suffix: tokens that are predicted.
        is_action: whether the suffix stands for actions, not for text.
        actions: (horizon, dim) normalised; None if the row does not act.
        steps: how many of them are in the episode.
        horizon: steps of the embodiment's chunks.
        dim: dimensions of its actions.
        state: (S,) normalised if it is continuous, else (0,).
        bgr: slots whose images are stored with their channels reversed.
    """

    images: dict[str, bytes | NDArray[np.uint8]]
    prefix: list[int]
    suffix: list[int]
    is_action: bool = False
    actions: NDArray[np.float32] | None = None
    steps: int = 0
    horizon: int = 0
    dim: int = 0
    state: NDArray[np.float32] = field(default_factory=lambda: NOTHING)
    bgr: tuple[str, ...] = ()


class Encoder:
    """Makes examples, in the forms that the configuration asks for.

    Attributes:
        robots: what the shards, or RUN, say of the robots.
        tok: FAST tokenizer, with the statistics that normalise actions and states.
        cached: whether the shards hold this tokenizer's ids.
        text: text tokenizer.
        control: by embodiment, what its prompts say of how it is moved; {} if they do not.
        form: how the model sees the robot's state.
        data: the configuration of the rows.
        placement: of action and state ids in the model's vocabulary.
        slots: camera slots that rows of the chosen kinds have, in order: what the model sees.
        horizon: steps of the longest chunk.
        action_dim: dimensions of the widest action.
        state_dim: dimensions of the widest state; 0 if there is none.
    """

    def __init__(
        self,
        robots: Robots,
        text: TextTokenizer,
        model: ModelConfig,
        data: DataConfig,
        tok: ActionTokenizer,
    ) -> None:
        """Joins what is known of the robots with the tokenizers.

        Args:
            robots: of the shards, or of RUN.
            text: text tokenizer.
            model: says in which form the state enters.
            data: the configuration of the rows.
            tok: FAST tokenizer; stored ids are used if it made them.

        Raises:
            InputError: the tokenizer lacks an embodiment, or action tokens have no place in the vocabulary.
        """
        self.robots, self.tok, self.slots = robots, tok, robots.slots
        self.cached = robots.tokenizer == tok.fingerprint
        self.form, self.data = model.state, data
        actions = {"fast": self.tok.vocab_size, "bins": BINS, "none": 0}[data.discrete]
        states = BINS if model.state == "special" else 0
        self.text, self.placement = arranged(text, data.action_skip, actions, states, model.vocab_size)
        check_statistics(robots, tok)
        every = robots.robots.values()
        self.control = control_modes(every) if data.control_mode else {}
        self.horizon = max((robot.horizon for robot in every), default=1)
        self.action_dim = max((robot.action_dim for robot in every), default=1)
        self.state_dim = max((robot.state_dim for robot in every), default=0)

    def row(self, row: dict[str, Any]) -> Example:
        """A shard row as an example to learn from."""
        images, bgr = self._images(row), self.robots.bgr.get(row["source"], ())
        if row["kind"] != "robot":
            return Example(images, self.prefix(text_prompt(row["prompt"])), self.answer(row["target"]), bgr=bgr)
        robot, subtask = self.robots.robots[row["source"]], row["target"].strip()
        if self.asks(subtask, row["sample_id"]):
            prefix, state = self.robot_prefix(robot.embodiment, row["prompt"], row["state"], ask="Subtask")
            return Example(images, prefix, self.answer(subtask), state=state, bgr=bgr)
        embodiment, horizon, dim = robot.embodiment, robot.horizon, robot.action_dim
        raw = np.asarray(row["action"], np.float32).reshape(horizon, dim)
        actions = self.tok.stats[embodiment].normalize(raw).astype(np.float32)
        prefix, state = self.robot_prefix(embodiment, row["prompt"], row["state"], subtask)
        suffix = self.action_suffix(raw, actions, embodiment, row["action_tokens"] if self.cached else None)
        return Example(
            images, prefix, suffix, True, actions, int(row["action_steps"]), horizon, dim, state, bgr
        )  # fmt: skip

    def asks(self, subtask: str, sample_id: str) -> bool:
        """Whether a robot row predicts its subtask, and does not act."""
        return bool(subtask.strip()) and zlib.crc32(sample_id.encode()) / 2**32 < self.data.subtasks

    def acting(self, row: dict[str, Any]) -> Example:
        """A robot row as a running robot would see it: prefix and images, nothing to learn from. `steps`: how many are real."""
        robot, bgr = self.robots.robots[row["source"]], self.robots.bgr.get(row["source"], ())
        subtask = row["target"].strip()
        prefix, state = self.robot_prefix(robot.embodiment, row["prompt"], row["state"], subtask)
        return Example(
            self._images(row), prefix, [], True, None, int(row["action_steps"]), robot.horizon, robot.action_dim, state, bgr
        )  # fmt: skip

    def _images(self, row: dict[str, Any]) -> dict[str, bytes | NDArray[np.uint8]]:
        return {slot: row[f"image/{slot}"] for slot in self.slots if row[f"image/{slot}"]}

    def prefix(self, text: str) -> list[int]:
        """<bos> and a prompt."""
        return [self.text.bos, *self.text.encode([text])[0]]

    def answer(self, text: str) -> list[int]:
        """A text to predict, and <eos>."""
        return [*self.text.encode([text])[0], self.text.eos]

    def robot_prefix(
        self,
        embodiment: str,
        task: str,
        state: NDArray[Any],
        subtask: str = "",
        ask: Literal["Action", "Subtask"] = "Action",
    ) -> tuple[list[int], NDArray[np.float32]]:
        """What the model reads of an instruction and a state. An embodiment without state statistics has no state.

        Args:
            embodiment: whose statistics normalise the state.
            task: the instruction.
            state: (S,) in raw units, or (0,).
            subtask: that the robot is at; "" if it is not known.
            ask: what the suffix will be.

        Returns:
            Prefix tokens, and the normalised state (S,) if it is continuous, else (0,).
        """
        stats = self.tok.state_stats.get(embodiment)
        known = stats is not None and len(state) > 0
        normalized = stats.normalize(np.asarray(state, np.float32)) if stats is not None and known else NOTHING
        control = self.control.get(embodiment, "")
        if self.form == "text":
            return self.prefix(robot_prompt(task, state_text(normalized), subtask, ask, control)), NOTHING
        if self.form == "continuous":
            return self.prefix(robot_prompt(task, None, subtask, ask, control)), np.asarray(normalized, np.float32)
        before, after = robot_prompt(task, "\0", subtask, ask, control).rsplit("\0", 1)
        ids = self.placement.place_state(np.maximum(bins(normalized), 0)).tolist()
        return [*self.prefix(before), *ids, *self.text.encode([after])[0]], NOTHING

    def action_suffix(
        self, raw: NDArray[Any], actions: NDArray[Any], embodiment: str, stored: Sequence[int] | NDArray[Any] | None
    ) -> list[int]:
        """What the backbone predicts of a chunk: action tokens, "|", <eos>; nothing if discrete targets are off.

        Args:
            raw: (H, D) in raw units.
            actions: (H, D) normalised.
            embodiment: whose statistics a FAST tokenizer takes.
            stored: FAST ids that the shards hold; None: encode `raw`.
        """
        if self.data.discrete == "none":
            return []
        if self.data.discrete == "bins":
            ids: Any = np.maximum(bins(actions[:: self.data.bins_stride]), 0).ravel()
        else:
            ids = stored if stored is not None else self.tok.encode(raw, embodiment=embodiment)[0]
        return [*self.placement.place(ids).tolist(), *self.text.end_of_action, self.text.eos]

    def action_count(self, horizon: int, dim: int) -> int | None:
        """Bins in a chunk's suffix; None for FAST, whose number varies."""
        return len(range(0, horizon, self.data.bins_stride)) * dim if self.data.discrete == "bins" else None

    def chunk(self, tokens: Sequence[int], embodiment: str, horizon: int, dim: int) -> tuple[NDArray[np.float32], bool]:
        """The chunk that the tokens of a suffix stand for.

        What they do not say is 0 in normalised units; between strided bins the last one is repeated.

        Args:
            tokens: vocabulary ids, without "|" and <eos>.
            embodiment: whose statistics bring the actions back to raw units.
            horizon: H.
            dim: D.

        Returns:
            (H, D) in raw units, and whether the tokens were exactly one chunk.
        """
        ids = self.placement.ids_of(tokens, check=False)
        if self.data.discrete == "bins":
            count = self.action_count(horizon, dim)
            whole = np.zeros(count or 0, np.float32)
            good = ids[: len(whole)]
            whole[: len(good)] = centres(np.clip(good, 0, BINS - 1))
            normalized = whole.reshape(-1, dim)[np.arange(horizon) // self.data.bins_stride]
            return self.tok.stats[embodiment].unnormalize(normalized).astype(np.float32), len(ids) == count
        ids = ids[(ids >= 0) & (ids < self.placement.action_vocab)]
        decoded = self.tok.decode(
            [ids.astype(np.int32)], horizon=horizon, action_dim=dim, embodiment=embodiment, on_error="pad"
        )
        return np.asarray(decoded.actions[0], np.float32), bool(decoded.ok[0])
