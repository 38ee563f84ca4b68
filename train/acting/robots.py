"""RUN/robots.json: what acting, measuring and exporting need to know about the shards of a run. Imports no JAX.

With this file, RUN alone is enough: on another machine, or when the shards are gone. The file may come from anybody, so every
value is checked, and none of them is a path to read from.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fasttok import ActionTokenizer
from fasttok.actions.representation import Representation
from fasttok.actions.rotations import STORED, width
from fasttok.common import json_files
from fasttok.common.console import write_text
from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.errors import InputError, refused, unknown_name
from mixtures.spec import ImageEncoding, ImageFormat, Resize
from pipelines.shards import ShardReader
from pipelines.shards.manifest import Manifest
from pipelines.shards.tokenizer import load_tokenizer
from train.config import ModelConfig

FILE = "robots.json"
FORMAT_VERSION = 1
ACTED = ("control_hz", "horizon", "action_encoding", "state_dim", "resize", "encode", "image_format", "prompts")
"""What a policy takes from one source of its embodiment, and in which the sources may differ."""
MOST = 1 << 16  # largest number of columns, or of pixels per side; more means that the file is damaged


@dataclass(frozen=True, kw_only=True)
class Robot:
    """The robot of one source of the shards, as the manifest describes it.

    Attributes:
        dataset: name of the dataset that its episodes are from.
        embodiment: name of the embodiment, under which the tokenizer stores its statistics.
        control_hz: steps per second; None if not known.
        horizon: steps of a chunk.
        action_dim: D, the number of columns of an action in its representation.
        action_encoding: "absolute", "delta", "relative" or "gripper" for each of the D columns.
        action_names: name of each action column, with its unit.
        state_dim: S, the number of columns of the state in raw units; 0 if there is no state.
        state_names: name of each state column, with its unit.
        cameras: camera slots of its images.
        resize: the size that its images were given when the shards were built; None for the dataset's own.
        encode: how its frames, from videos or arrays, were encoded; None for JPEG, and for images that came encoded.
        representation: how actions are represented; None if they are as the robot takes them.
        subtask: whether its rows contain subtasks.
        image_format: format of its images in the shards.
        prompts: templates, one of which each of its prompts follows; () if prompts are the instruction alone.
        renamed: (camera slot of its rows, camera slot of the dataset) of each camera that the mixture renamed.
    """

    dataset: str
    embodiment: str
    control_hz: int | float | None
    horizon: int
    action_dim: int
    action_encoding: tuple[str, ...]
    action_names: tuple[str, ...]
    state_dim: int
    state_names: tuple[str, ...]
    cameras: tuple[str, ...]
    resize: Resize | None
    encode: ImageEncoding | None
    representation: Representation | None
    subtask: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    image_format: ImageFormat = field(default="jpeg", metadata=json_files.IF_NOT_DEFAULT)
    prompts: tuple[str, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    renamed: tuple[tuple[str, str], ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)

    def worded(self, task: str) -> str:
        """Returns an instruction in the words of the prompts in training."""
        return worded(task, self.prompts)


@dataclass(frozen=True, kw_only=True)
class QuestionForm:
    """How a mixture changed the questions of a dataset.

    Attributes:
        prompts: templates, one of which each prompt follows; () if prompts are the question alone.
        resize: the size that the images were given; None for the dataset's own.
    """

    prompts: tuple[str, ...] = ()
    resize: Resize | None = None


@dataclass(frozen=True, kw_only=True)
class Robots:
    """What the shards of a run say about its cameras, its robots and its FAST tokenizer.

    Attributes:
        slots: camera slots of the rows that the run trains on, in order; the model sees these.
        robots: robots by name of the source.
        bgr: slots whose images are stored with reversed channels, by name of the source (of robots and others).
        tokenizer: fingerprint of the FAST tokenizer whose ids are in the shards; None if they contain none.
        asked: how questions were changed, by name of the dataset that they are from: as in its first source. Datasets whose
            questions are as stored are left out.
    """

    slots: tuple[str, ...]
    robots: dict[str, Robot]
    bgr: dict[str, tuple[str, ...]]
    tokenizer: str | None
    asked: dict[str, QuestionForm] = field(default_factory=dict, metadata=json_files.IF_NOT_DEFAULT)

    @classmethod
    def of(cls, manifest: Manifest, kinds: Collection[str]) -> "Robots":
        """Collects what a manifest says. Sources without a row come last: a policy acts as the first one of its embodiment.

        Args:
            manifest: manifest of the shards.
            kinds: kinds of the rows to train on; the model sees their cameras.
        """
        sources = manifest.sources
        seen = {slot for source in sources.values() if source.kind in kinds for slot in source.cameras}
        asked: dict[str, QuestionForm] = {}
        for source in sources.values():
            if source.kind == "vqa" and not source.questions:
                asked.setdefault(source.dataset, QuestionForm(prompts=source.prompts, resize=source.resize))
        return cls(
            slots=tuple(slot for slot in CAMERA_SLOTS if slot in seen),
            robots={
                name: Robot(
                    dataset=source.dataset,
                    embodiment=source.embodiment_name,
                    control_hz=source.control_hz,
                    horizon=source.horizon,
                    action_dim=source.action_dim,
                    action_encoding=source.action_encoding,
                    action_names=source.action_names,
                    state_dim=source.state_dim,
                    state_names=source.state_names,
                    cameras=source.cameras,
                    resize=source.resize,
                    encode=source.encode if source.images_encoded else None,  # encoded images were passed on
                    representation=source.representation,
                    subtask=source.subtask or bool(source.longest and source.longest.target_bytes),
                    prompts=source.prompts,
                    renamed=manifest.renamed_cameras(name),
                )
                for name, source in sorted(sources.items(), key=lambda named: not named[1].written)
                if source.robot
            },
            bgr={name: source.bgr for name, source in sources.items() if source.bgr},
            tokenizer=manifest.tokenizer.fingerprint if manifest.tokenizer else None,
            asked={dataset: one for dataset, one in asked.items() if one != QuestionForm()},
        )

    def with_formats(self, reader: ShardReader) -> "Robots":
        """Returns a copy with the image format of each robot, read from its first row in the shards.

        Args:
            reader: reader of the shards.
        """
        formats = {name: _image_format(reader, name, robot.cameras) for name, robot in self.robots.items()}
        robots = {name: dataclasses.replace(robot, image_format=formats[name]) for name, robot in self.robots.items()}
        return dataclasses.replace(self, robots=robots)

    @classmethod
    def load(cls, file: Path, model: ModelConfig) -> "Robots":
        """Reads RUN/robots.json.

        Args:
            file: path of the file.
            model: model configuration of the run; the robots must fit it.

        Raises:
            InputError: the file cannot be read, is damaged, has a newer version, or contains impossible values.
        """
        try:
            text = file.read_bytes()
        except OSError as error:
            raise refused(error) from None
        robots = json_files.read(cls, text, str(file), FORMAT_VERSION)
        if len(robots.slots) != model.cameras or list(robots.slots) != [s for s in CAMERA_SLOTS if s in robots.slots]:
            raise InputError(
                f"{file}: slots are {', '.join(robots.slots) or 'none'}; expected {model.cameras}, as the model of this run has, "
                f"of {', '.join(CAMERA_SLOTS)}, in that order"
            )
        for name, slots in robots.bgr.items():
            _check_cameras(slots, f"{file}: bgr of {name}")
        for name, robot in robots.robots.items():
            _check(robot, model, f"{file}: robot of {name}")
        for name, one in robots.asked.items():
            _check_images(one.resize, None, f"{file}: asked of {name}")
        return robots

    def save(self, file: Path) -> None:
        """Writes RUN/robots.json."""
        about = {json_files.VERSION_KEY: FORMAT_VERSION} | json_files.encode(self)
        write_text(file, json.dumps(about, indent=2) + "\n")


def worded(text: str, prompts: Sequence[str]) -> str:
    """Returns an instruction or a question in the words of the prompts in training: a build filled a template with it.

    If there are several templates, it is the first one: each was used for as many rows as the others.

    >>> worded("push the red circle", ["What should the robot do to {prompt}?", "{prompt}"]), worded("lift it", [])
    ('What should the robot do to push the red circle?', 'lift it')
    """
    return prompts[0].replace("{prompt}", text) if prompts else text


def acting_notes(robots: Robots) -> list[str]:
    """Returns a note for each embodiment whose sources differ in what a policy needs, and for each whose cameras were renamed.

    A policy acts as the first source. Training sees the rows of each source with their own chunks and images.

    Args:
        robots: robots of the shards, or of RUN.
    """
    notes = []
    for embodiment in dict.fromkeys(robot.embodiment for robot in robots.robots.values()):
        sources = {name: robot for name, robot in robots.robots.items() if robot.embodiment == embodiment}
        first = next(iter(sources))
        others = [
            f"{name} has {key} {as_words(getattr(robot, key))} and not {as_words(getattr(sources[first], key))}"
            for name, robot in sources.items()
            for key in ACTED
            if getattr(robot, key) != getattr(sources[first], key)
        ]
        if others:
            notes.append(
                f"note: the sources of embodiment {embodiment} differ, and a policy acts as source {first}: "
                f"{'; '.join(others)}. A mixture whose first source of {embodiment} is another one acts as that one"
            )
        form = sources[first].representation
        if form is not None and form.form == "delta" and any(piece.state for piece in form.pieces):
            notes.append(
                f"note: actions of {embodiment} are differences to the action before (form: delta). A policy does not know that "
                "action, so it adds the first difference to the state: an arm that lags or sags behind its commands falls behind "
                "with each chunk. form: relative has no such error"
            )
        if pairs := sources[first].renamed:
            said = ", ".join(f"{slot} is the camera that the dataset calls {of}" for slot, of in pairs)
            notes.append(f"note: the mixture renamed cameras of {embodiment}: {said}; a policy needs the same pictures")
    return notes


def as_words(value: object) -> str:
    """Returns a value of a robot as people read it."""
    if isinstance(value, Resize):
        return f"{value.width} x {value.height} ({value.fit}, quality {value.quality})"
    if isinstance(value, ImageEncoding):
        return f"{value.format} (quality {value.quality})"
    if isinstance(value, tuple):
        return ", ".join(" for ".join(one) if isinstance(one, tuple) else str(one) for one in value) or "none"
    return "none" if value is None else str(value)


def action_tokenizer(reader: ShardReader, given: Path | None) -> ActionTokenizer:
    """Loads the FAST tokenizer to train with.

    Args:
        reader: reader of the shards.
        given: folder of a tokenizer to use instead of the shards' own; the ids in the shards are then not used. None: their own.

    Raises:
        InputError: there is no tokenizer, or the one in the shards did not make the ids in them.
    """
    if given is not None:
        return ActionTokenizer.load(given)
    folder, tokenizer = reader.tokenizer_folder, reader.manifest.tokenizer
    stored, tok = tokenizer.fingerprint if tokenizer else None, load_tokenizer(folder)
    if tok.fingerprint != stored:
        raise InputError(
            f"{folder} has fingerprint {tok.fingerprint}, the shards' manifest says {stored}: its merges or statistics are not "
            "those that made the FAST ids; put the right folder back, or build the shards again"
        )
    return tok


def check_statistics(robots: Robots, tok: ActionTokenizer) -> None:
    """Checks that a tokenizer can normalise the states and actions of the robots.

    Raises:
        InputError: the tokenizer has no statistics for the actions of an embodiment, or statistics with another number of
            dimensions than the shards.
    """
    for name, robot in robots.robots.items():
        stats, state = tok.stats.get(robot.embodiment), tok.state_stats.get(robot.embodiment)
        if stats is None:
            raise InputError(
                f"the tokenizer has no statistics for embodiment {robot.embodiment!r} of source {name}; it has "
                f"{', '.join(tok.stats) or 'none'}. Fit it on the INDEX that the shards were built from"
            )
        for what, dim, known in (("actions", robot.action_dim, stats), ("states", robot.state_dim, state)):
            if known is not None and dim and known.dim != dim:
                raise InputError(
                    f"the tokenizer's statistics of {what} of {robot.embodiment!r} are of {known.dim} dims, source {name} has "
                    f"{dim}; fit it on the INDEX that the shards were built from"
                )


def unseen_states(robots: Robots, tok: ActionTokenizer) -> str:
    """Returns a note about embodiments whose states the model will not see, as nothing normalises them; "" if there are none."""
    unseen = {
        robot.embodiment
        for robot in robots.robots.values()
        if robot.state_dim and robot.embodiment not in tok.state_stats
    }
    if not unseen:
        return ""
    return (
        f"note: the tokenizer has no statistics of the states of {', '.join(sorted(unseen))}, so the model does not see them; "
        "fit it on the INDEX that the shards were built from"
    )


def check_action_forms(robots: Robots, tok: ActionTokenizer, folder: Path) -> None:
    """Checks that a tokenizer, which a user gives instead of the shards' own, was fitted on actions of the form in the shards.

    Its statistics would normalise other numbers than they were made of, and nothing else would notice.

    Args:
        robots: robots of the shards.
        tok: the tokenizer.
        folder: its folder, for messages.

    Raises:
        InputError: it was fitted on another form, or makes some dims relative itself.
    """
    for name, robot in robots.robots.items():
        fitted, form = tok.embodiments.get(robot.embodiment), robot.representation.name if robot.representation else ""
        if fitted is not None and fitted.form != form:
            raise InputError(
                f"--data.tokenizer {folder}: embodiment {robot.embodiment!r} was fitted on actions {fitted.form or 'as stored'}, "
                f"source {name} of the shards has them {form or 'as stored'}; fit one for this form, or leave the flag out"
            )
        if fitted is not None and fitted.relative:
            raise InputError(
                f"--data.tokenizer {folder}: embodiment {robot.embodiment!r} tokenises dims {list(fitted.relative)} relative to "
                "the state, and the shards contain no such actions; fit it without --relative, or leave the flag out"
            )


def _image_format(reader: ShardReader, source: str, cameras: tuple[str, ...]) -> ImageFormat:
    """Returns the format of the images in a source's first row; JPEG if there is no row or no image."""
    number = reader.sources.index(source)
    if not cameras or not reader.layout.source_rows[number]:
        return "jpeg"
    shard, row = reader.layout.locate(np.array([number]), np.array([0]))
    seen = next(reader.take(shard, row, [f"image/{slot}" for slot in cameras]).rows())
    starts = [bytes(seen[f"image/{slot}"][:4]) for slot in cameras if seen[f"image/{slot}"]]
    return "png" if b"\x89PNG" in starts else "webp" if b"RIFF" in starts else "jpeg"


def _check(robot: Robot, model: ModelConfig, where: str) -> None:
    """Raises InputError if a robot does not fit the model of the run, or has impossible values."""
    most_state = model.state_dim if model.state_token else MOST
    for name, value, least, most in (
        ("horizon", robot.horizon, 1, model.horizon),
        ("action_dim", robot.action_dim, 1, model.action_dim),
        ("state_dim", robot.state_dim, 0, most_state),
        ("action_encoding", len(robot.action_encoding), robot.action_dim, robot.action_dim),
        ("action_names", len(robot.action_names), robot.action_dim, robot.action_dim),
        ("state_names", len(robot.state_names), robot.state_dim, robot.state_dim),
    ):
        if not least <= value <= most:
            expected = str(most) if least == most else f"{least} to {most}"
            raise InputError(
                f"{where}: {name} is {value}, expected {expected}; this run has no such robot, or {FILE} is damaged"
            )
    if robot.control_hz is not None and not (math.isfinite(robot.control_hz) and robot.control_hz > 0):
        raise InputError(f"{where}: control_hz is {robot.control_hz}, expected a number above 0, or null")
    _check_images(robot.resize, robot.encode, where)
    _check_cameras(robot.cameras, f"{where}: cameras")
    for slot in (slot for pair in robot.renamed for slot in pair):
        _check_cameras((slot,), f"{where}: renamed")
    if robot.representation is not None:
        _check_representation(robot.representation, robot, f"{where}: representation")


def _check_images(resize: Resize | None, encode: ImageEncoding | None, where: str) -> None:
    """Raises InputError if no image can have this size or quality."""
    if resize is not None and not (0 < resize.height <= MOST and 0 < resize.width <= MOST):
        raise InputError(f"{where}: resize is {resize.height} x {resize.width}, expected 1 to {MOST} pixels a side")
    for quality in [form.quality for form in (resize, encode) if form is not None]:
        if not 1 <= quality <= 100:
            raise InputError(f"{where}: the quality of its images is {quality}, expected 1 to 100")


def _check_cameras(slots: tuple[str, ...], where: str) -> None:
    """Raises InputError if a name is not a camera slot or occurs twice."""
    for slot in slots:
        if slot not in CAMERA_SLOTS:
            raise InputError(f"{where}: {unknown_name('slot', slot, CAMERA_SLOTS)}")
    if len(set(slots)) < len(slots):
        raise InputError(f"{where}: a slot is named twice in {', '.join(slots)}")


def _check_representation(form: Representation, robot: Robot, where: str) -> None:
    """Raises InputError if a representation does not fit the columns of the robot."""
    if not (math.isfinite(form.step) and form.step > 0):
        raise InputError(f"{where}: step is {form.step}, expected seconds above 0")
    at = 0
    for piece in form.pieces:
        right = piece.start == at and 0 < piece.width <= MOST and len(piece.state) in (0, piece.width)
        if piece.rotation:
            right &= piece.rotation in STORED and piece.width == width(piece.rotation)
        if not right or not all(0 <= column < robot.state_dim for column in piece.state):
            raise InputError(f"{where}: {piece} is no piece of an action with {at} columns before it")
        at += piece.width
    if form.dim != robot.action_dim or form.encoding != robot.action_encoding:
        raise InputError(
            f"{where}: it makes {form.dim} columns, {', '.join(form.encoding)}, not those of action_encoding"
        )
