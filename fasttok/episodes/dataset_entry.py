"""A dataset entry: what the features of one dataset mean (docs/design.md "Dataset entries").

People write it as YAML (`pipelines.datasets.entry_parser` reads that); an INDEX contains it as JSON with the same keys.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from fasttok.common.json_files import IF_NOT_DEFAULT
from fasttok.common.kinds import CameraSlot, Encoding, RecordKind
from fasttok.episodes.episode import MAX_RECORD

Number = (
    int | float
)  # a whole number stays one: what people write as 5 is not written back as 5.0, and digests stay the same
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
    """Some columns of a step feature, as a piece of an action or of a proprio.

    Attributes:
        feature: path below steps/.
        start: first column.
        stop: one past the last column, None for all that follow `start`.
        encoding: what the columns hold, for padding; a velocity is a delta, whose unit tells.
        closed: of a gripper, the stored value that becomes 0; values beyond it are clipped.
        open: of a gripper, the stored value that becomes 1; values beyond it are clipped.
        relative: whether values are gripper commands of which those near 0 change nothing (`pipelines.datasets.grippers`).
        rotation: how the columns hold a rotation (`fasttok.actions.rotations`), "" if they hold none.
        unit: for people and plots.
        names: of the columns, for people and plots.
        state: of an absolute action part, the step feature among the proprio's that contains its state; "" for the proprio part
            with the same names, rotation and width (`pipelines.datasets.states`).
        scale: what stored values are multiplied with to be in `unit`, one number or one per column.
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
    """Which episodes and steps of a robot dataset are wanted; `pipelines.datasets.filters` applies it.

    Attributes:
        success: feature that must be true, of the episode or of any of its steps; None to take every episode.
        language: whether an episode must have an instruction.
        min_steps: fewest steps of an episode, counted after idle ones are gone.
        idle_below: a step is idle if no action moves by more than this, in raw units; None to look for none.
        idle: which idle steps are left out.
        max_idle: an episode is left out if a larger share of its steps is idle.
        matches: text feature of the episode or of its first step -> regular expression that must be found in it.
        excludes: the same -> regular expression that must not be found in it.
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
    """A JSON file that says per episode which steps are kept (`pipelines.datasets.keep_ranges`).

    Attributes:
        file: path or URL; "" if `index --keep-ranges` must give it.
        key: text features of the episode that name it in the file.
        joined: what stands between them there.
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
        episodes: groups that are an episode each, with `*` for any part of a name, such as "runs/*"; "" if it is clear from the
            file.
        length: dataset below an episode that has a row a step; "" for its actions.
        language: dataset below an episode, or "@" and an attribute of the episode or of the file; "" if the file shows it.
    """

    episodes: str = ""
    length: str = ""
    language: str = ""


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset's meaning. Robot fields are empty on VQA and caption entries, and the other way round.

    Attributes:
        name: of the dataset.
        kind: of its records.
        license: SPDX name or a sentence.
        citation: how to cite it.
        homepage: where it comes from.
        version: of the copy that the entry was written for.
        episodes: split -> how many that copy has.
        size_gib: size of that copy.
        embodiment: whose statistics it shares; its own name unless given.
        robot: the robot's name, for people.
        control_hz: steps per second; None if unknown, and then `index --control-hz` must say it.
        cameras: slot -> step feature.
        bgr: slots whose images are stored with their channels reversed.
        language: step or metadata feature, None if episodes have no instruction.
        language_format: text, or codepoints for arrays of unicode numbers.
        action: its columns, side by side.
        proprio: its columns, side by side.
        drop_first: steps to leave out at the start of every episode (a known defect of some datasets).
        filters: which episodes and steps are wanted.
        keep_ranges: steps to keep by a file of ranges, None for all.
        exclude: why the dataset must not be used; `index` then refuses it.
        unknown: why its features are not known, so that the mapping could not be tried on them.
        defects: what its users should know.
        notes: where loaders or sources disagree.
        max_record: most bytes of a stored record; a larger one is a dead letter.
        guesses: what no source states, so that the entry may be wrong there.
        soups: published mixtures that name it.
        format: how it is stored (`pipelines/recordings/`; of questions and captions `pipelines/vlm/`, docs/vlm.md). Of a robot's
            dataset the files tell, if the entry does not.
        splits: VLM only: split -> its file, or files by a pattern.
        annotations: VQAv2 only: split -> file of annotations.
        images: VLM only: folder of its images; `{split}` in it is the split's name.
        image_name: VQAv2 only: template for names of images.
        image: VLM only: JSON key, column or feature of the image.
        prompt: the same of the prompt; None: `fixed_prompt` for all records.
        fixed_prompt: prompt that all records share.
        target: JSON key, column or feature of the answer or caption.
        answers: the same of all answers that people gave.
        conversations: column of turns, instead of a prompt and a target.
        turns: `each` pair of turns, or the `first`.
        detect: `all` classes of an image at once, or `each`.
        id: JSON key, column or feature of a record's id.
        hdf5: where the episodes of HDF5 files are, None if it is clear from the files.
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
        """How a robot's dataset is stored; one that does not say it is of the time when all were RLDS."""
        return next((known for known in RECORDING_FORMATS if known == self.format), "rlds")
