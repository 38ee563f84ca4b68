"""Every entry of the catalogue against fake episodes of its dataset, and against the published loaders' mappings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fasttok.actions.rotations import width
from fasttok.cli import Fit
from fasttok.common import json_files
from fasttok.episodes import Episode, rlds
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.catalogue.commands import (
    DatasetDraftConfig,
    DatasetListConfig,
    DatasetShowConfig,
    entry_of,
    markdown,
    run_draft,
    run_list,
    run_show,
)
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.packaged_entries import packaged
from pipelines.datasets.standardize import dim_names, encodings, standardize
from pipelines.index.config import IndexConfig
from pipelines.index.job_list import usable
from pipelines.index.run import run_index
from pipelines.shards import ShardReader
from pipelines.shards.manifest import RowCounts
from tests.pipelines.fake_oxe import INSTRUCTION, SPECS, write

NAMES = sorted(packaged())
OURS = {"metaworld_mt50", "droid_joint_velocity"}  # not of Open X-Embodiment, or another view of one that is
VIEWS = {"droid_joint_velocity": "droid"}  # the dataset whose features they have


def spec_of(name: str) -> str | None:
    """The dataset whose catalogued features it has."""
    base = yaml.safe_load(packaged()[name]).get("same_as", VIEWS.get(name, name))
    return next((n for n in (name, base) if n in SPECS), None)


TRIED = [name for name in NAMES if spec_of(name) and entry_of(name).action]


def episodes(name: str, folder: Path) -> Iterator[Episode]:
    directory = rlds.open_raw(str(write(spec_of(name) or "", folder)))
    for file in directory.declared:
        for record in directory.read_file(file):
            assert isinstance(record, Episode)
            yield record


def test_every_dataset_of_the_catalogue_has_an_entry() -> None:
    assert set(SPECS) <= set(NAMES)
    untried = {name: entry_of(name).unknown or entry_of(name).exclude for name in set(NAMES) - set(TRIED) - OURS}
    assert all(untried.values()), untried  # each says why it could not be tried
    print("\n".join(f"not tried: {name}: {reason}" for name, reason in sorted(untried.items())))
    assert len(TRIED) + len(untried) + len(OURS - set(TRIED)) == len(NAMES) == 97


def test_names_are_those_of_the_fact_table(shared_data: Path) -> None:
    facts = json.loads((shared_data / "oxe" / "datasets.json").read_text())["datasets"]
    assert set(NAMES) - OURS == set(facts)
    for name, fact in facts.items():
        entry, frequency = entry_of(name), fact.get("control_frequency") or {}
        assert entry.control_hz == frequency.get("hz"), name
        assert not entry.size_gib or entry.size_gib == fact["size_gib"] or "same_as" in packaged()[name], name
        loaders = [loader for loader in fact["loaders"].values() if loader] if fact.get("loaders") else []
        for loader in loaders:  # every camera that a loader uses is one of ours, or said not to be
            used = {f"observation/{key}" for key in loader["images"].values() if key}
            assert used <= set(entry.cameras.values()) or entry.exclude or entry.notes or entry.defects, name


@pytest.mark.parametrize("name", TRIED)
def test_entry_on_fake_episodes(name: str, tmp_path: Path) -> None:
    entry = entry_of(name)
    kept = 0
    for episode in episodes(name, tmp_path):
        for part in (*entry.action, *entry.proprio):
            assert part.feature in episode.steps, part
        for feature in entry.cameras.values():
            assert isinstance(episode.steps[feature], list), feature
        try:
            found = standardize(entry, episode)
        except RejectedError as error:
            if not error.filtered:
                raise
            continue
        kept += 1
        length = len(found.steps)
        assert length == episode.length - entry.drop_first
        assert found.action.shape[0] == found.proprio.shape[0] == length
        assert found.action.dtype == found.proprio.dtype == np.float32
        assert found.language == (INSTRUCTION if entry.language else "")
        assert set(found.cameras) == set(entry.cameras)
        assert all(len(images) == length for images in found.cameras.values())
        encoding = encodings(entry.action, found.widths[0])
        assert len(encoding) == len(dim_names(entry.action, found.widths[0])) == found.action.shape[1]
        gripper = found.action[:, [kind == "gripper" for kind in encoding]]
        assert ((gripper >= 0) & (gripper <= 1)).all()
        check_columns(entry, episode, found.action)
    assert kept >= 1
    for part in (*entry.action, *entry.proprio):
        if part.rotation:
            assert part.stop is None or part.stop - part.start == width(part.rotation), part


def check_columns(entry: DatasetEntry, episode: Episode, action: np.ndarray) -> None:
    """Numbers are passed on as they are stored; a gripper is 1 at its open value and 0 at its closed one."""
    at = 0
    for part in entry.action:
        stored = np.asarray(episode.steps[part.feature], np.float32).reshape(episode.length, -1)[entry.drop_first :]
        stored = stored[:, part.start : part.stop]
        columns = action[:, at : at + stored.shape[1]]
        at += stored.shape[1]
        if part.encoding != "gripper":
            assert np.allclose(columns, stored * np.asarray(part.scale), rtol=1e-6)
            continue
        sense = np.sign(part.open - part.closed)
        if part.relative:
            given = np.abs(stored) > 0.1
            assert np.array_equal(columns[given], (stored[given] * sense > 0).astype(np.float32))
        else:
            order = np.argsort(stored[:, 0] * sense)
            assert (np.diff(columns[order, 0]) >= 0).all()
    assert at == action.shape[1]


# Where our gripper is not octo's and openvla's, whose convention is the same: 1 = open. Each entry says so.
GRIPPERS = {
    "columbia_cairlab_pusht_real": "passed on raw there",
    "nyu_rot_dataset_converted_externally_to_rlds": "passed on raw there",
    "stanford_mask_vit_converted_externally_to_rlds": "passed on raw there",
    "taco_play": "the catalogue says the opposite",
    "berkeley_mvp_converted_externally_to_rlds": "openvla does not invert",
    "berkeley_rpt_converted_externally_to_rlds": "openvla does not invert",
}


def published_gripper(part: dict[str, Any], values: np.ndarray) -> np.ndarray | None:
    """What a published mapping makes of a gripper's values; None where it is no elementwise op."""
    for op in part.get("ops", []):
        if op["op"] == "clip":
            values = np.clip(values, op["min"], op["max"])
        elif op["op"] == "invert":
            values = 1 - values
        elif op["op"] == "scale":
            values = values * op["factor"]
        elif op["op"] == "rel2abs_gripper":
            values = np.where(values > 0.1, 0.0, np.where(values < -0.1, 1.0, np.nan))
        elif op["op"] not in ("cast", "binarize_gripper"):
            return None
    return values


def test_grippers_open_where_the_published_loaders_say(shared_data: Path) -> None:
    facts = json.loads((shared_data / "oxe" / "datasets.json").read_text())["datasets"]
    compared, different = 0, set()
    for name, fact in facts.items():
        entry = entry_of(name)
        grippers = [part for part in entry.action if part.encoding == "gripper"]
        for loader in ("octo", "openvla"):
            theirs = ((fact.get("loaders") or {}).get(loader) or {}).get("action") or []
            if len(grippers) != 1 or not theirs or "from" not in theirs[-1]:
                continue
            part = grippers[0]
            ends = published_gripper(theirs[-1], np.array([part.closed, part.open], np.float64))
            if ends is None:
                continue
            compared += 1
            if not ends[1] > ends[0]:
                different.add(name)
    assert compared > 80
    assert different == set(GRIPPERS)
    for name in different:
        entry = entry_of(name)
        assert any("gripper" in text or "open" in text for text in (*entry.notes, *entry.defects)), name


@pytest.mark.parametrize("name", NAMES)
def test_entries_survive_the_index(name: str) -> None:
    entry = entry_of(name)
    assert entry.name == name
    assert json_files.decode(DatasetEntry, json.loads(json.dumps(json_files.encode(entry))), name) == entry


def test_excluded_and_unclocked_datasets_are_refused() -> None:
    with pytest.raises(InputError, match="tidybot is excluded: its action is a text"):
        usable(entry_of("tidybot"), ())
    unclocked = entry_of("bridge_data_msr")
    with pytest.raises(InputError, match="--control-hz bridge_data_msr=HZ"):
        usable(unclocked, ("kuka=5",))
    assert usable(unclocked, ("kuka=5", "bridge_data_msr=5")).control_hz == 5
    for wrong in ("bridge_data_msr=fast", "bridge_data_msr", "bridge_data_msr=-1"):
        with pytest.raises(InputError, match="expected NAME=HZ"):
            usable(unclocked, (wrong,))


def test_kuka_keeps_what_succeeds(tmp_path: Path) -> None:
    result = run_index(IndexConfig((str(write("kuka", tmp_path)),), str(tmp_path / "index")), [])
    assert result.datasets["kuka"].splits["train"].filtered == {"success": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nsame_as: kukka", "did you mean 'kuka'"),
        ("name: x\nsame_as: bridge_orig", "an alias itself"),
        ("name: x\nsame_as: kuka\nbgr: [top]", "slot 'top'"),
        ("name: x\nsame_as: kuka\naction: [{from: a, rotation: euler}]", "rotation 'euler'"),
        ("name: x\nsame_as: kuka\naction: [{from: a, encoding: gripper, closed: 1}]", "both 1"),
        ("name: x\nsame_as: kuka\naction: [{from: a, closed: 0}]", "encoding: gripper"),
        ("name: x\nsame_as: kuka\ncameras: [a]", "expected a mapping"),
        ("name: x\nsame_as: kuka\naction: {from: a}", "expected a list"),
        ("name: x\nsame_as: kuka\nlanguage_format: latin", "language_format"),
    ],
)
def test_wrong_entries_are_explained(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_entry(text, "mine.yaml")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_list(DatasetListConfig(json=True))
    assert len(json.loads(capsys.readouterr().out)) == len(NAMES)
    run_list(DatasetListConfig(robot="kuka"))
    assert "stanford_kuka" in capsys.readouterr().out
    run_show(DatasetShowConfig("bridge_orig"))
    assert "# bridge_dataset, of which it takes the rest" in capsys.readouterr().out
    run_show(DatasetShowConfig("bridge_orig", json=True))
    assert json.loads(capsys.readouterr().out)["control_hz"] == 5
    with pytest.raises(InputError, match="did you mean 'kuka'"):
        run_show(DatasetShowConfig("kukka"))
    with pytest.raises(InputError, match="robot"):
        run_list(DatasetListConfig(robot="no such robot"))


@pytest.mark.parametrize("name", ["bridge_dataset", "viola", "droid", "kuka", "jaco_play"])
def test_a_draft_is_an_entry_that_works(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(name, tmp_path, name="my_robot")
    run_draft(DatasetDraftConfig(str(path)))
    printed = capsys.readouterr()
    (path / "dataset.yaml").write_text(printed.out)
    assert "control_hz" in printed.err
    result = run_index(IndexConfig((str(path),), str(tmp_path / "index"), control_hz=("my_robot=10",)), [])
    counts = result.datasets["my_robot"].splits["train"]
    assert counts.indexed == counts.read == 3
    entry = result.datasets["my_robot"].entry
    assert entry.action_dim >= 4
    assert entry.language
    assert set(entry.cameras.values()) & set(entry_of(name).cameras.values())


@pytest.mark.slow
def test_the_whole_way_for_every_entry(tmp_path: Path) -> None:
    """Fake episodes of every dataset that is not excluded: index, fit one tokenizer, build one mixture, read every row."""
    names = [name for name in TRIED if not entry_of(name).exclude]
    folders = [str(write(spec_of(name) or "", tmp_path / "data", name=name)) for name in names]
    unclocked = tuple(f"{name}=5" for name in names if entry_of(name).control_hz is None)
    index = str(tmp_path / "index")
    result = run_index(IndexConfig(tuple(folders), index, control_hz=unclocked, max_bad="0"), [])
    assert set(result.datasets) == set(names)
    Fit((index,), tmp_path / "tokenizer", horizon=4, vocab_size=1500).run()
    sources = [{"dataset": name, "weight": 1} for name in names]
    mixture = {"name": "all", "chunk": {"steps": 4}, "unit": "samples", "sources": sources}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(mixture))
    samples = 10 * len(names)
    config = BuildConfig(
        str(tmp_path / "all.yaml"), str(tmp_path / "shards"), samples, index, str(tmp_path / "tokenizer")
    )
    manifest = run_build(config, []).manifest
    assert manifest.counts == RowCounts(planned=samples, written=samples, rejected=0)
    assert manifest.sources["utaustin_mutex"].bgr == ("primary", "wrist")
    reader = ShardReader(config.out)
    seen = dict.fromkeys(names, 0)
    for i in range(reader.num_rows):
        row = reader.row(i)
        source = manifest.sources[row["source"]]
        seen[row["source"]] += 1
        assert len(row["action"]) == 4 * source.action_dim
        assert len(row["action_tokens"])
        assert {slot for slot in ("primary", "secondary", "wrist", "wrist_secondary") if row[f"image/{slot}"]} == set(
            source.cameras
        )
    assert set(seen.values()) == {10}


def test_images_stored_with_reversed_channels_are_turned_when_decoded() -> None:
    from io import BytesIO

    from PIL import Image

    from train.batches import Batcher
    from train.config import ModelConfig
    from train.examples import Example

    stream = BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(stream, "png")
    batcher = Batcher(ModelConfig(image_size=8, patch=4, horizon=1, action_dim=1), ("primary",), length=4, pad=0)
    rows = [Example({"primary": stream.getvalue()}, [1], [2], bgr=bgr) for bgr in ((), ("primary",))]
    images = batcher(rows)["images"]
    assert images[0, 0, 0, 0].tolist() == [255, 0, 0]
    assert images[1, 0, 0, 0].tolist() == [0, 0, 255]


def test_the_page_holds_what_the_entries_say() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "catalogue.md").read_text()
    made = page.split("<!-- catalogue -->\n")[1]
    assert made == markdown(), (
        "run: fasttok-pipelines datasets list --markdown, and put it below the mark in docs/catalogue.md"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nsame_as: kuka\nrobot: 3", r"mine\.yaml: line 3: robot must be text, got 3"),
        ("name: x\nsame_as: kuka\ncontrol_hz: fast", r"mine\.yaml: line 3: control_hz must be .* got 'fast'"),
        (
            "name: x\nsame_as: kuka\naction: [{from: a, slice: [0, b]}]",
            r"mine\.yaml: line 3: action\[0\]: slice: expected \[start, stop\]",
        ),
    ],
)
def test_values_of_another_type_are_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_entry(text, "mine.yaml")


def test_empty_keys_are_as_if_they_were_not_there() -> None:
    assert parse_entry("name: x\nsame_as: kuka\nhomepage:\n", "mine.yaml").homepage == ""
    assert parse_entry("name: x\nsame_as: kuka\nlanguage:\n", "mine.yaml").language is None
