"""Turns rows of shards, and observations of a running robot, into examples: prefix and suffix tokens, actions, images."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.common.locations import has_locations
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
    """One row, before rows are joined to a batch.

    Attributes:
        images: images by camera slot: encoded bytes, or pixels (h, w, 3) uint8.
        prefix: tokens that the model reads.
        suffix: tokens that the model predicts.
        is_action: whether the row is about actions: its suffix, if there is one, has action tokens and no text.
        actions: (horizon, dim) normalised; None if the row has no actions to learn.
        steps: number of steps of the chunk that are in the episode; the others are padding.
        horizon: steps of the embodiment's chunks.
        dim: dimensions of the embodiment's actions.
        state: (S,) normalised state if it is continuous, else (0,).
        bgr: slots whose images are stored with their channels reversed.
        located: whether its texts name places in the images, which augmentation then does not move.
        stretched: whether the images are stretched to the square, whatever `DataConfig` says: the texts name places in them.
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
    located: bool = False
    stretched: bool = False


class Encoder:
    """Makes examples, in the forms that the configuration asks for.

    Attributes:
        robots: the robots, as the shards or RUN describe them.
        tok: FAST tokenizer, with the statistics that normalise actions and states.
        cached: whether the shards contain ids of this tokenizer.
        text: text tokenizer.
        control: by embodiment, the words of its prompts for how it is moved; {} if prompts do not say this.
        form: how the model sees the robot's state.
        data: the configuration of the rows.
        placement: places of action and state ids in the model's vocabulary.
        slots: camera slots of the rows that the run trains on, in order; the model sees these.
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
        """Combines the robots with the tokenizers.

        Args:
            robots: robots of the shards, or of RUN.
            text: text tokenizer.
            model: says in which form the model gets the state, and how large its vocabulary is.
            data: the configuration of the rows.
            tok: FAST tokenizer; the ids in the shards are used if this tokenizer made them.

        Raises:
            InputError: the tokenizer's statistics do not fit the robots, or the vocabulary has no room for action tokens.
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
        self._most: dict[tuple[str, int, int], int] = {}

    def row(self, row: dict[str, Any]) -> Example:
        """Turns a row of the shards into an example to learn from."""
        images, bgr = self._images(row), self.robots.bgr.get(row["source"], ())
        if row["kind"] != "robot":
            question = self.question(row["prompt"], images, has_locations(row["prompt"], row["target"]), bgr)
            return replace(question, suffix=self.answer(row["target"]))
        robot, subtask = self.robots.robots[row["source"]], row["target"].strip()
        located = has_locations(row["prompt"], subtask)
        if self.asks(subtask, row["sample_id"]):
            prefix, state = self.robot_prefix(robot.embodiment, row["prompt"], row["state"], ask="Subtask")
            return Example(images, prefix, self.answer(subtask), state=state, bgr=bgr, located=located)
        embodiment, horizon, dim = robot.embodiment, robot.horizon, robot.action_dim
        raw = np.asarray(row["action"], np.float32).reshape(horizon, dim)
        actions = self.tok.stats[embodiment].normalize(raw).astype(np.float32)
        prefix, state = self.robot_prefix(embodiment, row["prompt"], row["state"], subtask)
        suffix = self.action_suffix(raw, actions, embodiment, row["action_tokens"] if self.cached else None)
        return Example(
            images, prefix, suffix, True, actions, int(row["action_steps"]), horizon, dim, state, bgr, located
        )  # fmt: skip

    def question(
        self, prompt: str, images: dict[str, bytes | NDArray[np.uint8]], located: bool, bgr: tuple[str, ...] = ()
    ) -> Example:
        """Turns a question about images, or a prompt for a caption, into an example without its answer.

        Args:
            prompt: the question.
            images: as in `Example`.
            located: whether the question or its answer names places in the images.
            bgr: as in `Example`.
        """
        return Example(images, self.prefix(text_prompt(prompt)), [], bgr=bgr, located=located, stretched=located)

    def asks(self, subtask: str, sample_id: str) -> bool:
        """Returns whether a robot row is for predicting its subtask, and not for actions; a hash of `sample_id` decides."""
        return bool(subtask.strip()) and zlib.crc32(sample_id.encode()) / 2**32 < self.data.subtasks

    def acting(self, row: dict[str, Any]) -> Example:
        """Turns a robot row into what a running robot would see: prefix and images, with nothing to learn from.

        Its `steps` is the number of steps of the row's chunk that are in the episode.
        """
        robot, bgr = self.robots.robots[row["source"]], self.robots.bgr.get(row["source"], ())
        subtask = row["target"].strip()
        prefix, state = self.robot_prefix(robot.embodiment, row["prompt"], row["state"], subtask)
        return Example(
            self._images(row), prefix, [], True, None, int(row["action_steps"]), robot.horizon, robot.action_dim, state, bgr
        )  # fmt: skip

    def _images(self, row: dict[str, Any]) -> dict[str, bytes | NDArray[np.uint8]]:
        return {slot: row[f"image/{slot}"] for slot in self.slots if row[f"image/{slot}"]}

    def prefix(self, text: str) -> list[int]:
        """Returns <bos> and the ids of a prompt."""
        return [self.text.bos, *self.text.encode([text])[0]]

    def answer(self, text: str) -> list[int]:
        """Returns the ids of a text to predict, and <eos>."""
        return [*self.text.encode([text])[0], self.text.eos]

    def robot_prefix(
        self,
        embodiment: str,
        task: str,
        state: NDArray[Any],
        subtask: str = "",
        ask: Literal["Action", "Subtask"] = "Action",
    ) -> tuple[list[int], NDArray[np.float32]]:
        """Returns what the model reads of an instruction and a state.

        The state is left out if the tokenizer has no state statistics of the embodiment.

        Args:
            embodiment: embodiment whose statistics normalise the state.
            task: the instruction.
            state: (S,) in raw units, or (0,).
            subtask: what the robot is doing within its task; "" if it is not known.
            ask: what the suffix will contain.

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
        """Returns what the backbone predicts of a chunk: action tokens, "|" and <eos>; [] if discrete targets are off.

        Args:
            raw: (H, D) in raw units.
            actions: (H, D) normalised.
            embodiment: embodiment whose statistics the FAST tokenizer uses.
            stored: FAST ids from the shards; None: encode `raw`.
        """
        if self.data.discrete == "none":
            return []
        if self.data.discrete == "bins":
            ids: Any = np.maximum(bins(actions[:: self.data.bins_stride]), 0).ravel()
        else:
            ids = stored if stored is not None else self.tok.encode(raw, embodiment=embodiment)[0]
        return [*self.placement.place(ids).tolist(), *self.text.end_of_action, self.text.eos]

    def action_count(self, horizon: int, dim: int) -> int | None:
        """Returns the number of bins in a chunk's suffix; None without bins, since the number of FAST tokens varies."""
        return len(range(0, horizon, self.data.bins_stride)) * dim if self.data.discrete == "bins" else None

    def most_tokens(self, embodiment: str, horizon: int, dim: int) -> int:
        """Returns the largest number of action tokens of a chunk. A published tokenizer may need several for one coefficient.

        Args:
            embodiment: embodiment of the chunk.
            horizon: H, steps of the chunk.
            dim: D, dimensions of an action.
        """
        count = self.action_count(horizon, dim)
        if count is not None:
            return count
        key = embodiment, horizon, dim
        if key not in self._most:
            self._most[key] = self.tok.completions(horizon, dim, self.tok.embodiment_argument(embodiment)).most
        return self._most[key]

    @cached_property
    def left_out(self) -> list[str]:
        """Embodiments whose FAST tokens leave dimensions out; [] if the backbone predicts no FAST tokens."""
        if self.data.discrete != "fast":
            return []
        widths = {robot.embodiment: robot.action_dim for robot in self.robots.robots.values()}
        channels = {name: self.tok.channels(self.tok.embodiment_argument(name)) for name in widths}
        return [name for name, dim in widths.items() if channels[name].count(dim) < dim]

    def chunk(self, tokens: Sequence[int], embodiment: str, horizon: int, dim: int) -> tuple[NDArray[np.float32], bool]:
        """Decodes the tokens of a suffix to a chunk.

        Numbers without a token are 0 in normalised units. With strided bins, each predicted step is repeated until the next one.

        Args:
            tokens: vocabulary ids, without "|" and <eos>.
            embodiment: embodiment whose statistics map the actions back to raw units.
            horizon: H, steps of the chunk.
            dim: D, dimensions of an action.

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
