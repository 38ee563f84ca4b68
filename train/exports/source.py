"""What is exported: a run but for its parameters, one of its robots, and how to store it."""

from dataclasses import dataclass, replace
from functools import cached_property

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from train.acting.robots import Robot, Robots
from train.config import ModelConfig, TrainConfig
from train.examples import Encoder
from train.exports.tensor_file import ExportDtype
from train.tokens import TextTokenizer
from train.weights.matching import EMBEDDING, our_shapes


@dataclass(frozen=True)
class ExportedRun:
    """Where the weights come from: metadata of the file, and fasttok.json, or in our own layout the key "fasttok" of config.json.

    Attributes:
        model: shapes of the model.
        tokenizer: fingerprint of the action tokenizer; FAST rows of the embedding mean its ids.
        text_rows: rows of the embedding that are text.
        step: of the checkpoint.
        run: name of the run's folder.
    """

    model: ModelConfig
    tokenizer: str
    text_rows: int
    step: int
    run: str


@dataclass(frozen=True, eq=False)
class ExportSource:
    """What a layout is made of.

    Attributes:
        where: the run, for messages.
        config: of the run, with nothing left to the shards.
        text: its text tokenizer.
        tok: its FAST tokenizer, with the statistics that normalise.
        robots: what its shards say of the robots; None for our own layout, which does not ask.
        asked: the embodiment that was asked for; "" if none was.
        dtype: of the stored tensors.
        vocab_size: rows of the embedding in the file; 0: what the layout takes.
        folder: absolute path of DIR, where the files will lie.
    """

    where: str
    config: TrainConfig
    text: TextTokenizer
    tok: ActionTokenizer
    robots: Robots | None
    asked: str = ""
    dtype: ExportDtype = "float32"
    vocab_size: int = 0
    folder: str = ""

    @cached_property
    def encoder(self) -> Encoder:
        """Makes the prompts that the run was trained on.

        Raises:
            InputError: the run has no robots.
        """
        assert self.robots is not None
        return Encoder(self.robots, self.text, self.config.model, self.config.data, self.tok)

    def rows(self, theirs: int) -> int:
        """Rows of the embedding in a file of a project that builds `theirs`: those, unless others were asked for, or are more."""
        return self.vocab_size or max(theirs, our_shapes(self.config.model)[EMBEDDING][0])

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Names of the embodiments to export: the one that was asked for, else all.

        Raises:
            InputError: the run has none, or not the one that was asked for.
        """
        known = tuple(dict.fromkeys(robot.embodiment for robot in self.robots.robots.values())) if self.robots else ()
        if not known:
            raise InputError(f"{self.where} was trained without robots, so it has no policy; use --layout fasttok")
        if self.asked and self.asked not in known:
            raise InputError(
                f"{self.where} was not trained on embodiment {self.asked!r}; expected --embodiment with one of: "
                f"{', '.join(known)}"
            )
        return (self.asked,) if self.asked else known

    def robot(self, embodiment: str = "") -> Robot:
        """One robot: the first source of the embodiment, with the cameras of all.

        Args:
            embodiment: its name; "" for the only one.

        Raises:
            InputError: the run has several, and none was asked for.
        """
        known = self.embodiments
        if not embodiment and len(known) > 1:
            raise InputError(
                f"{self.where} was trained on {len(known)} embodiments, and this layout is for one: add --embodiment with "
                f"one of: {', '.join(known)}"
            )
        assert self.robots is not None
        name = embodiment or known[0]
        sources = [robot for robot in self.robots.robots.values() if robot.embodiment == name]
        slots = tuple(slot for slot in self.robots.slots if any(slot in robot.cameras for robot in sources))
        return replace(sources[0], cameras=slots)
