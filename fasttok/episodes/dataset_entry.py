"""Defines the dataset entry, which says what the features of one dataset mean (docs/design.md "Dataset entries").

People write it as YAML, which `pipelines.datasets.entry_parser` reads. An INDEX contains it as JSON with the same keys.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from fasttok.common.json_files import IF_NOT_DEFAULT
from fasttok.common.kinds import CameraSlot, Encoding, RecordKind
from fasttok.episodes.episode import MAX_RECORD

Number = (
    int | float
)  # a whole number stays an int: what people write as 5 is not written back as 5.0, and digests stay the same
IdleSteps = Literal["ends", "all", "none"]
IDLE_STEPS: tuple[IdleSteps, ...] = get_args(IdleSteps)
LanguageFormat = Literal["text", "codepoints"]
LANGUAGE_FORMATS: tuple[LanguageFormat, ...] = get_args(LanguageFormat)
VlmFormat = Literal["jsonl", "llava", "coco_captions", "coco_boxes", "vqav2", "parquet", "webdataset", "tfds"]
VLM_FORMATS: tuple[VlmFormat, ...] = get_args(VlmFormat)
RecordingFormat = Literal["rlds", "lerobot", "hdf5", "tables"]
RECORDING_FORMATS: tuple[RecordingFormat, ...] = get_args(RecordingFormat)
Turns = Literal["each", "first"]
TURNS: tuple[Turns, ...] = get_args(Turns)
Detect = Literal["all", "each"]
DETECT: tuple[Detect, ...] = get_args(Detect)


@dataclass(frozen=True)
class FeatureColumns:
    """Some columns of a step feature, which are a piece of an action or of a proprio.

    Attributes:
        feature: path of the feature below steps/.
        start: first column.
        stop: one past the last column, None for all columns from `start` on.
        encoding: what the columns contain, for padding. A velocity is a delta; its unit shows that it is a velocity.
        closed: for a gripper, the stored value that becomes 0; values beyond it are clipped.
        open: for a gripper, the stored value that becomes 1; values beyond it are clipped.
        relative: whether the values are gripper commands, of which values near 0 change nothing (`pipelines.datasets.grippers`).
        rotation: how the columns represent a rotation (`fasttok.actions.rotations`), "" if they contain none.
        unit: unit of the values, for people and plots.
        names: names of the columns, for people and plots.
        state: for an absolute piece of the action, the step feature of the proprio that contains its state; "" for the piece of
            the proprio with the same names, rotation and width (`pipelines.datasets.states`).
        scale: factor that converts stored values to `unit`, one number or one per column.
    """

    feature: str
    start: int = 0
    stop: int | None = None
    encoding: Encoding = "absolute"
    closed: Number = 0.0
    open: Number = 1.0
    relative: bool = False
    rotation: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()
    state: str = field(default="", metadata=IF_NOT_DEFAULT)
    scale: Number | tuple[Number, ...] = field(default=1, metadata=IF_NOT_DEFAULT)


@dataclass(frozen=True)
class EntryFilters:
    """Which episodes and steps of a robot dataset are used; `pipelines.datasets.filters` applies this.

    Attributes:
        success: feature of the episode, or of its steps (any of them), that must be true; None to use every episode.
        language: whether an episode must have an instruction.
        min_steps: smallest number of steps of an episode, counted without the steps that are left out.
        idle_below: a step is idle if no action moves by more than this, in raw units; None to look for no idle steps.
        idle: which idle steps are left out.
        max_idle: an episode is left out if a larger share of its steps is idle.
        matches: text feature of the episode or of its first step -> regular expression that must match somewhere in it.
        excludes: text feature, as in `matches` -> regular expression that must not match anywhere in it.
    """

    success: str | None = None
    language: bool = True
    min_steps: int = 1
    idle_below: Number | None = None
    idle: IdleSteps = "ends"
    max_idle: Number = 1.0
    matches: dict[str, str] = field(default_factory=dict, metadata=IF_NOT_DEFAULT)
    excludes: dict[str, str] = field(default_factory=dict, metadata=IF_NOT_DEFAULT)


@dataclass(frozen=True)
class KeepRanges:
    """A JSON file that says for each episode which steps are kept (`pipelines.datasets.keep_ranges`).

    Attributes:
        file: path or URL; "" if `index --keep-ranges` must give it.
        key: text features of the episode whose values, joined, are its name in the file.
        joined: text between these values in the name.
        digest: SHA-256 of the file when the dataset was indexed.
    """

    file: str = ""
    key: tuple[str, ...] = ()
    joined: str = "--"
    digest: str = ""


@dataclass(frozen=True)
class HdfPaths:
    """Where the episodes of HDF5 files are, for files whose layout fasttok does not know (docs/datasets.md).

    Attributes:
        episodes: path of the groups that are one episode each, with `*` for any part of a name, such as "runs/*"; "" to find
            out from the file.
        length: dataset below an episode that has one row per step; "" for the actions.
        language: dataset below an episode with the instruction, or "@" and the name of an attribute of the episode or of the
            file; "" to find out from the file.
    """

    episodes: str = ""
    length: str = ""
    language: str = ""


@dataclass(frozen=True)
class DatasetEntry:
    """What the features of a dataset mean. Robot fields are empty in VQA and caption entries, and the other way round.

    Attributes:
        name: name of the dataset.
        kind: kind of its records.
        license: SPDX name or a sentence.
        citation: how to cite the dataset.
        homepage: where the dataset comes from.
        version: version of the copy that the entry was written for.
        episodes: split -> number of episodes in that copy.
        size_gib: size of that copy in GiB.
        embodiment: embodiment whose statistics the dataset shares; the dataset's name unless given.
        robot: name of the robot, for people.
        control_hz: steps per second; None if unknown, and then `index --control-hz` must say it.
        cameras: slot -> step feature.
        bgr: slots whose images are stored with their channels reversed.
        language: step or metadata feature with the instruction, None if episodes have no instruction.
        language_format: text, or codepoints for arrays of unicode numbers.
        action: the columns of an action, side by side.
        proprio: the columns of a proprio, side by side.
        drop_first: number of steps to leave out at the start of every episode (a known defect of some datasets).
        filters: which episodes and steps are used.
        keep_ranges: file of ranges that says which steps are kept, None for all steps.
        exclude: why the dataset must not be used; `index` then refuses it.
        unknown: why the features of the dataset are not known, so that nobody could try the mapping on them.
        defects: what users of the dataset should know.
        notes: where loaders or sources disagree.
        max_record: largest size of a stored record in bytes; a larger one is a dead letter.
        guesses: what no source states, so that the entry may be wrong there.
        soups: published mixtures that contain the dataset.
        format: how the dataset is stored (robot data: `pipelines/recordings/`; questions and captions: `pipelines/vlm/`,
            docs/vlm.md). If the entry of a robot dataset does not say it, the files show it.
        splits: questions, captions and HDF5: split -> its file, or a pattern for several files.
        annotations: VQAv2 only: split -> file of annotations.
        images: VLM only: folder of the images; `{split}` in it is replaced by the split's name.
        image_name: VQAv2 only: template for names of images.
        image: VLM only: JSON key, column or feature of the image.
        prompt: JSON key, column or feature of the prompt; None if all records use `fixed_prompt`.
        fixed_prompt: prompt that all records share.
        target: JSON key, column or feature of the answer or caption.
        answers: JSON key, column or feature of all answers that people gave.
        conversations: column of turns, instead of a prompt and a target.
        turns: `each` pair of turns, or the `first`.
        detect: `all` classes of an image at once, or `each`.
        id: JSON key, column or feature of a record's id.
        hdf5: where the episodes of HDF5 files are, None to find out from the files.
    """

    name: str
    kind: RecordKind
    license: str = ""
    citation: str = ""
    homepage: str = ""
    version: str = ""
    episodes: dict[str, int] = field(default_factory=dict)
    size_gib: Number | None = None
    embodiment: str = ""
    robot: str = ""
    control_hz: Number | None = None
    cameras: dict[CameraSlot, str] = field(default_factory=dict)
    bgr: tuple[CameraSlot, ...] = ()
    language: str | None = None
    language_format: LanguageFormat = "text"
    action: tuple[FeatureColumns, ...] = ()
    proprio: tuple[FeatureColumns, ...] = ()
    drop_first: int = 0
    filters: EntryFilters = field(default_factory=EntryFilters)
    keep_ranges: KeepRanges | None = field(default=None, metadata=IF_NOT_DEFAULT)
    exclude: str = ""
    unknown: str = ""
    defects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    max_record: int = field(default=MAX_RECORD, metadata=IF_NOT_DEFAULT)
    guesses: tuple[str, ...] = field(default=(), metadata=IF_NOT_DEFAULT)
    soups: tuple[str, ...] = ()
    format: VlmFormat | RecordingFormat = "jsonl"
    splits: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    images: str = "images"
    image_name: str = ""
    image: str = "image"
    prompt: str | None = None
    fixed_prompt: str = ""
    target: str = ""
    answers: str = ""
    conversations: str = ""
    turns: Turns = "each"
    detect: Detect = "all"
    id: str = "id"
    hdf5: HdfPaths | None = field(default=None, metadata=IF_NOT_DEFAULT)

    @property
    def recording_format(self) -> RecordingFormat:
        """How a robot dataset is stored. An entry that does not say it comes from the time when all were RLDS."""
        return next((known for known in RECORDING_FORMATS if known == self.format), "rlds")
