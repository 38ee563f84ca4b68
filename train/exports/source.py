"""What is exported: a run without its parameters, one of its robots, and how to store them."""

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
    """The run that exported weights come from.

    The metadata of the weights' file and fasttok.json contain it; in our own layout, the key "fasttok" of config.json.

    Attributes:
        model: shapes of the model.
        tokenizer: fingerprint of the action tokenizer; the FAST rows of the embedding are its ids.
        text_rows: number of rows of the embedding that are text.
        step: step of the checkpoint.
        run: name of the run's folder.
    """

    model: ModelConfig
    tokenizer: str
    text_rows: int
    step: int
    run: str


@dataclass(frozen=True, eq=False)
class ExportSource:
    """What a layout is made from.

    Attributes:
        where: path of the run, for messages.
        config: configuration of the run, complete without the shards.
        text: text tokenizer of the run.
        tok: FAST tokenizer of the run, with the statistics that normalise.
        robots: what the run's shards say about its robots; None for our own layout, which does not need them.
        asked: embodiment that the user asked for; "" for none.
        dtype: dtype of the stored tensors.
        vocab_size: rows of the embedding in the file; 0: the layout decides.
        folder: absolute path of DIR, the folder of the exported files.
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
        """Makes the prompts that the run was trained on; the run must have robots.

        Raises:
            InputError: the tokenizer lacks an embodiment, or action tokens have no place in the vocabulary.
        """
        assert self.robots is not None
        return Encoder(self.robots, self.text, self.config.model, self.config.data, self.tok)

    def rows(self, theirs: int) -> int:
        """Returns the number of rows of the embedding in a file for a project that builds `theirs`.

        It is the number that the user asked for, or else `theirs`, or the model's own number if that is larger.
        """
        return self.vocab_size or max(theirs, our_shapes(self.config.model)[EMBEDDING][0])

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Names of the embodiments to export: the one that the user asked for, else all.

        Raises:
            InputError: the run has no robots, or not the one that the user asked for.
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
        """Returns one robot: that of the embodiment's first source, with the cameras of all its sources.

        Args:
            embodiment: name of the embodiment; "" for the only one to export.

        Raises:
            InputError: the run has several embodiments, and the user asked for none.
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
