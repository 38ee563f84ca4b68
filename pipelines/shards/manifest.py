"""manifest.json: what the shards contain, what they were made from, their counts, and the digest of each file. Written last."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from fasttok.actions.representation import Representation
from fasttok.common import json_files
from fasttok.common.kinds import RecordKind
from fasttok.common.names import check_utf8, relative_path
from fasttok.common.stores import fresh
from fasttok.errors import InputError
from mixtures.spec import ImageEncoding, Resize
from pipelines.common.files import join, read_json, write_json

FORMAT_VERSION = 2
NAME = "manifest.json"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One shard file.

    Attributes:
        name: file name within SHARDS.
        rows: number of rows in the file.
        rows_per_source: number of rows of each source, in the manifest's order of sources. The rows are in the order
            `mixtures.quota.interleave` of these numbers, so readers find a source's rows without opening the file.
        bytes: size of the file.
        sha256: hex digest of the file.
    """

    name: str
    rows: int
    rows_per_source: tuple[int, ...]
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """Facts about the rows of a source, which decide how to read and train on them.

    Attributes:
        kind: kind of its rows.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        embodiment: the robot; None for images and texts from the web.
        control_hz: steps per second of the robot, None if that is not known. A whole number stays one, so files do not change.
        horizon: number of steps of an action chunk; 0 for vqa and caption.
        action_dim: number of columns of `action` in its representation; 0 for vqa and caption.
        action_encoding: "absolute", "delta", "relative" or "gripper" for each column of `action`.
        action_names: name of each column of `action`, with its unit.
        state_dim: number of columns of `state`; 0 for vqa and caption, and for robots without recorded state.
        state_names: name of each column of `state`, with its unit.
        cameras: camera slots of the images that its rows may have.
        bgr: camera slots whose images are stored with reversed channels, which the code that decodes them must know.
        license: license of the dataset, "" if it is not stated.
        homepage: homepage of the dataset, "" if it is not known.
        citation: BibTeX key or text to cite, "" if there is none.
        representation: representation of its actions; None if they are as stored.
        prompts: templates of prompts, one of which each row uses; () for the instruction as it is.
        resize: size to which images were resized; None if they were not resized.
        questions: questions about a robot's episodes, which were used instead of their actions; () for none.
        encode: how frames of videos and arrays were encoded; None for JPEG.
        subtask: whether `target` of robot rows says what the robot is doing. The first files of this format lack the key.
    """

    kind: RecordKind
    dataset: str
    split: str
    embodiment: str | None
    control_hz: int | float | None
    horizon: int
    action_dim: int
    action_encoding: tuple[str, ...]
    action_names: tuple[str, ...]
    state_dim: int
    state_names: tuple[str, ...]
    cameras: tuple[str, ...]
    bgr: tuple[str, ...]
    license: str
    homepage: str
    citation: str
    representation: Representation | None
    prompts: tuple[str, ...]
    resize: Resize | None
    questions: tuple[str, ...]
    subtask: bool = False
    encode: ImageEncoding | None = field(default=None, metadata=json_files.IF_NOT_DEFAULT)

    @property
    def robot(self) -> bool:
        """Whether its rows contain actions."""
        return self.kind == "robot"

    @property
    def embodiment_name(self) -> str:
        """Name of the robot; "" for images and texts from the web."""
        return self.embodiment or ""

    def column_names(self, column: str) -> tuple[str, ...]:
        """Returns the names of the columns of "action" or of "state"."""
        return {"action": self.action_names, "state": self.state_names}[column]


@dataclass(frozen=True)
class LongestRow:
    """Largest sizes among the rows of a source; each may come from another row.

    Attributes:
        action_tokens: number of FAST ids.
        prompt_bytes: bytes of `prompt` in UTF-8.
        target_bytes: bytes of `target` in UTF-8: the answer, the caption, or a robot's subtask.
    """

    action_tokens: int = 0
    prompt_bytes: int = 0
    target_bytes: int = 0

    def __or__(self, other: "LongestRow") -> "LongestRow":
        """Returns the largest sizes among the rows of both."""
        return LongestRow(*(max(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True, kw_only=True)
class ManifestSource(SourceFacts):
    """What the manifest says about a source: its facts, what was planned, and what was written.

    Attributes:
        share: share of all samples that the mixture's weights ask for, in [0, 1].
        planned: number of rows that the plan asked for; planned = written + rejected.
        written: number of rows in the shards.
        rejected: number of rows that could not be made, each of which is listed in `rejected/`.
        steps_held: number of its steps (or VLM records) in the INDEX after its filters; planned / steps_held is its epochs.
        left_out: filter -> number of records that it left out.
        capped: whether max_epochs kept the quota below the share.
        images_resized: number of images that were encoded again.
        images_encoded: number of images that were encoded from pixels of videos and arrays.
        clamped_chunks: number of chunks with a coefficient outside the tokenizer's range.
        mean_action_tokens: mean number of FAST ids per row, None without actions.
        longest: largest sizes of its rows, so that a trainer knows before the first step how long a row may be; None in files of
            older versions.
    """

    share: float
    planned: int
    written: int
    rejected: int
    steps_held: int
    left_out: dict[str, int]
    capped: bool
    images_resized: int
    clamped_chunks: int
    mean_action_tokens: float | None
    images_encoded: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    longest: LongestRow | None = field(default=None, metadata=json_files.LEFT_OUT)


@dataclass(frozen=True)
class RowCounts:
    """Rows of all sources; planned = written + rejected.

    Attributes:
        planned: number of rows that the plan asked for.
        written: number of rows in the shards.
        rejected: number of rows that could not be made.
    """

    planned: int
    written: int
    rejected: int


@dataclass(frozen=True)
class ShardTokenizer:
    """The tokenizer that made the FAST ids.

    Attributes:
        folder: path of its folder within SHARDS.
        fingerprint: `ActionTokenizer.fingerprint`, hex.
    """

    folder: str
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """Table of contents of the shards. The same build gives the same bytes, so it contains no times and no places.

    The file also has the key `source_order`, the names of the sources in their order, because JSON objects have no order.

    Attributes:
        sources: name -> facts and counts of a source, in order.
        mixture: the resolved mixture (`mixtures.spec.Mixture.to_json`).
        seed: seed of all random choices of the build.
        index_digest: digest of the INDEX that the shards were made from.
        plan_digest: digest of the plan: which record became which rows of which shard.
        tokenizer: tokenizer that made the FAST ids; None if there are no robot rows.
        shards: the shard files, in order.
        counts: rows of all sources together.
        phases: (phases, sources), planned samples of each source in each phase of a curriculum; one phase without a curriculum.
        format_version: version of the file's format.
        image_encoders: library -> version, for what decided the bytes of images encoded from pixels; {} if there are none.
    """

    sources: dict[str, ManifestSource]
    mixture: dict[str, Any]
    seed: int
    index_digest: str
    plan_digest: str
    tokenizer: ShardTokenizer | None
    shards: tuple[Shard, ...]
    counts: RowCounts
    phases: tuple[tuple[int, ...], ...] = ()
    format_version: int = field(default=FORMAT_VERSION)
    image_encoders: dict[str, str] = field(default_factory=dict, metadata=json_files.IF_NOT_DEFAULT)

    @property
    def num_rows(self) -> int:
        """Number of rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the whole manifest; it identifies these shards in a reader's state."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def part_of(self, source: str) -> tuple[float, float]:
        """Returns the part of its split that a source takes by hash (`SourceFilters.part`); (0, 1) for all of it."""
        low, high = (self._asked(source, "filters") or {}).get("part") or (0.0, 1.0)
        return float(low), float(high)

    def renamed_cameras(self, source: str) -> tuple[tuple[str, str], ...]:
        """Returns (slot of the rows, slot of the dataset) of each camera that the mixture renamed; () if it renamed none."""
        pairs = self._asked(source, "cameras") or ()
        return tuple((str(slot), str(of)) for slot, of in pairs if slot != of)

    def _asked(self, source: str, key: str) -> Any:
        """Returns what the mixture says of a source under a key; None if it does not say anything."""
        nodes = [self.mixture.get("root", {})]
        while nodes:
            node = nodes.pop()
            nodes += node.get("members", ())
            if node.get("name") == source:
                return node.get(key)
        return None

    def to_json(self) -> dict[str, Any]:
        """Returns the contents of the file as plain values."""
        return {**json_files.encode(self), "source_order": list(self.sources)}

    def save(self, folder: str) -> None:
        """Writes SHARDS/manifest.json."""
        write_json(join(folder, NAME), self.to_json())

    @classmethod
    def load(cls, folder: str) -> "Manifest":
        """Reads SHARDS/manifest.json.

        Raises:
            InputError: the manifest is missing (an unfinished build, or not SHARDS), has another version, or has a wrong field.
        """
        check_utf8(folder, "so its shards cannot be mapped")
        where = join(folder, NAME)
        what = "the manifest that `fasttok-pipelines build` writes last (finish an interrupted build with --resume)"
        fresh(where)
        raw = read_json(where, what)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if not isinstance(version, int) or version < FORMAT_VERSION:
            raise InputError(
                f"{where}: format_version is {version!r}, this code reads {FORMAT_VERSION}; rebuild the shards"
            )
        order = raw.pop("source_order", None)
        manifest = json_files.decode(cls, raw, where, FORMAT_VERSION)
        if not isinstance(order, list) or sorted(map(str, order)) != sorted(manifest.sources):
            raise InputError(f"{where}: source_order does not list the sources; rebuild the shards")
        manifest = replace(manifest, sources={name: manifest.sources[name] for name in order})
        if manifest.tokenizer is not None:
            relative_path(manifest.tokenizer.folder, where)
        for shard in manifest.shards:
            relative_path(shard.name, where)
            if not SHA256.fullmatch(shard.sha256):  # a cache names a file by this text
                raise InputError(f"{where}: {shard.name}: sha256 is {shard.sha256!r}, expected 64 hex digits")
            if len(shard.rows_per_source) != len(manifest.sources) or sum(shard.rows_per_source) != shard.rows:
                raise InputError(f"{where}: {shard.name}: rows_per_source does not add up to {shard.rows} rows")
        return manifest
