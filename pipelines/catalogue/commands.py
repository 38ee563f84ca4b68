"""`fasttok-pipelines datasets list | show | draft`: shows the packaged entries, and drafts one for your own data."""

from dataclasses import dataclass
from typing import Annotated, TypedDict

import tyro
import yaml

from fasttok.common import json_files, stores
from fasttok.common.console import emit_json, log, table
from fasttok.common.flags import OPTIONAL
from fasttok.episodes import rlds
from fasttok.episodes.dataset_entry import DatasetEntry, FeatureColumns
from fasttok.episodes.episode import Episode, Steps
from fasttok.episodes.formats import format_of
from fasttok.errors import InputError, unknown_name
from pipelines.catalogue import draft_rlds, draft_vlm
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.packaged_entries import packaged
from pipelines.drafts import PROPOSE
from pipelines.drafts.lines import listed


@dataclass(frozen=True)
class DatasetListConfig:
    """Lists the datasets that fasttok has entries for: robot, frequency, cameras, action, state, size.

    Example: fasttok-pipelines datasets list --robot franka
    """

    robot: Annotated[str, OPTIONAL] = ""
    """List only datasets whose robot has this in its name. Upper and lower case are the same."""
    json: bool = False
    """Print JSON on stdout."""
    markdown: bool = False
    """Print the tables and lists of docs/catalogue.md, as Markdown."""


@dataclass(frozen=True)
class DatasetShowConfig:
    """Prints a dataset's entry: what its features mean, and its known defects.

    Example: fasttok-pipelines datasets show kuka
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of a dataset; `fasttok-pipelines datasets list` shows them."""
    json: bool = False
    """Print the entry as JSON on stdout. If it takes parts from another entry, these are filled in."""


@dataclass(frozen=True)
class DatasetDraftConfig:
    """Drafts an entry for your own dataset: a first YAML file that says what its features mean.

    If the files do not say something, the draft assumes it or leaves it to you. Each such case is printed on stderr.

    Example: fasttok-pipelines datasets draft my_dataset/1.0.0 > my_dataset/1.0.0/dataset.yaml
    """

    directory: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIRECTORY")]
    """Dataset to read: a TFDS version folder, a LeRobot folder, or HDF5, npz, npy or Parquet files or folders.
    It can also be a folder of questions, captions or boxes in one of the layouts of docs/vlm.md."""


def entry_of(name: str) -> DatasetEntry:
    """Returns a packaged entry.

    Raises:
        InputError: there is no such dataset; names the closest.
    """
    known = packaged()
    if name not in known:
        raise unknown_name("dataset", name, known, "All: fasttok-pipelines datasets list. Your own: docs/datasets.md")
    return parse_entry(known[name], f"pipelines/datasets/entries/{name}.yaml")


class CatalogueRow(TypedDict):
    """A row of the list; its keys are the table's columns.

    Attributes:
        name: name of the dataset.
        robot: name of the robot, for people.
        Hz: control frequency, None if unknown.
        cameras: its camera slots.
        action: the action in a few words.
        state: the state in a few words.
        episodes: number of episodes in all splits, None if unknown.
        GiB: size of the copy that the entry was written for, None if unknown.
        defects: number of known defects.
        guesses: number of statements in the entry that no source confirms.
        excluded: why it must not be used, "" if it may.
    """

    name: str
    robot: str
    Hz: float | None
    cameras: str
    action: str
    state: str
    episodes: int | None
    GiB: float | None
    defects: int
    guesses: int
    excluded: str


def row(entry: DatasetEntry) -> CatalogueRow:
    """Returns a row of the list."""
    return {
        "name": entry.name,
        "robot": entry.robot,
        "Hz": entry.control_hz,
        "cameras": ", ".join(entry.cameras),
        "action": in_words(entry.action),
        "state": in_words(entry.proprio),
        "episodes": sum(entry.episodes.values()) or None,
        "GiB": entry.size_gib,
        "defects": len(entry.defects),
        "guesses": len(entry.guesses),
        "excluded": entry.exclude,
    }


def in_words(columns: tuple[FeatureColumns, ...]) -> str:
    """Describes an action or state in a few words: "delta xyz, euler_xyz, gripper"."""
    words = []
    for piece in columns:
        first = piece.names[0].split()[0] if piece.names else piece.feature.rsplit("/", 1)[-1]
        joined = "".join(piece.names)
        what = piece.rotation or ("gripper" if piece.encoding == "gripper" else "joints" if first == "joint" else "")
        what = what or (joined if 0 < len(joined) <= 6 else first)
        words.append(f"delta {what}" if piece.encoding == "delta" else what)
    return ", ".join(words)


def run_list(config: DatasetListConfig) -> None:
    """Prints a table, JSON or Markdown."""
    rows = [row(entry_of(name)) for name in sorted(packaged())]
    rows = [r for r in rows if config.robot.lower() in r["robot"].lower()]
    if config.json:
        emit_json(rows)
        return
    if config.markdown:
        print(markdown(), end="")
        return
    if not rows:
        raise InputError(f"no entry's robot has {config.robot!r} in its name; see: fasttok-pipelines datasets list")
    table(f"{len(rows)} entries", list(rows[0]), [list(r.values()) for r in rows])


def markdown() -> str:
    """Returns the generated part of docs/catalogue.md."""
    entries = [entry_of(name) for name in sorted(packaged())]
    lines = [
        "| name | robot | Hz | cameras | action | state | episodes | GiB | licence | soups | known defects |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        cells = [
            f"[{entry.name}]({entry.homepage})" if entry.homepage else entry.name,
            entry.robot,
            f"{entry.control_hz:g}" if entry.control_hz else "not known",
            ", ".join(slot + (" (BGR)" if slot in entry.bgr else "") for slot in entry.cameras),
            in_words(entry.action),
            in_words(entry.proprio),
            ", ".join(f"{split} {count:,}" for split, count in entry.episodes.items()),
            f"{entry.size_gib:,.2f}" if entry.size_gib else "",
            entry.license or "see its homepage",
            ", ".join(entry.soups),
            " ".join(entry.defects),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "Excluded, with the reason; `index` refuses them:", ""]
    lines += [f"- `{entry.name}`: {entry.exclude}." for entry in entries if entry.exclude]
    lines += ["", "Guesses, which no source states; check them before you rely on them:", ""]
    lines += [f"- `{entry.name}`: {' '.join(entry.guesses)}" for entry in entries if entry.guesses]
    lines += ["", "Not tried on features, which are not known:", ""]
    lines += [f"- `{entry.name}`: {entry.unknown}." for entry in entries if entry.unknown]
    return "\n".join(lines) + "\n"


def run_show(config: DatasetShowConfig) -> None:
    """Prints the entry as it is written, or JSON.

    Raises:
        InputError: no such dataset.
    """
    entry = entry_of(config.name)
    if config.json:
        emit_json(json_files.encode(entry))
        return
    text = packaged()[config.name]
    print(text, end="")
    base = yaml.safe_load(text).get("same_as")
    if base:
        print(f"\n# {base}, of which it takes the rest:\n{packaged()[base]}", end="")


def run_draft(config: DatasetDraftConfig) -> None:
    """Prints the draft on stdout, and what it assumed or left open on stderr.

    Raises:
        InputError: the data is none of LeRobot, HDF5, tables, RLDS that the raw reader supports, or a known layout of questions
            or captions.
    """
    recorded = format_of(config.directory)
    if recorded in PROPOSE:
        proposed = PROPOSE[recorded](stores.own_path(config.directory))
        print(proposed.text, end="")
        if proposed.assumed:
            print("\n".join(listed("guesses", proposed.assumed)))
        for line in proposed.assumed:
            log(f"assumed: {line}")
        for line in proposed.questions:
            log(f"not clear: {line}")
        return
    if stores.kind_at(*stores.filesystem(config.directory)) != "directory":
        raise InputError(f"{config.directory} is no folder; give the folder of a dataset, or an HDF5 file")
    described = rlds.is_rlds(config.directory)
    draft = None if described else draft_vlm.propose(config.directory)
    if draft is None and not described:
        raise InputError(
            f"{config.directory} is not a TFDS/RLDS directory, which has features.json and dataset_info.json, and a draft knows "
            "no layout of questions or captions with such files; write its dataset.yaml as docs/vlm.md shows"
        )
    if draft is None:
        directory = rlds.open_raw(config.directory)
        features = directory.features
        draft = draft_vlm.of_features(directory.name, features)
        draft = draft or draft_rlds.propose(directory.name, features, first_steps(directory))
    text, unclear = draft
    print(text, end="")
    for line in unclear:
        log(f"not clear: {line}")


def first_steps(directory: rlds.RawRldsDirectory) -> Steps:
    """Returns the step columns of the first episode that can be read, to guess ranges from; {} if there is none."""
    for file in directory.declared:
        for record in directory.read_file(file):
            if isinstance(record, Episode):
                return record.steps
    return {}
