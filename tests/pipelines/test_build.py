"""Stages 2 and 3: exact quotas, planned = written + rejected, the same bytes whatever happens on the way."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.actions.chunks import chunk_at
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from mixtures.quota import quotas
from mixtures.registry import load_mixture
from mixtures.shares import shares
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.look.lint import LintConfig, run_lint
from pipelines.shards import ShardReader
from pipelines.shards.manifest import LongestRow, ShardTokenizer
from tests.chain import MIXTURE, Chain


def digests(folder: Path) -> dict[str, str]:
    """sha256 of everything that a build wrote."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def config(chain: Chain, out: Path, **more: Any) -> BuildConfig:
    given = {"samples": 700, "index": str(chain.index), "tokenizer": str(chain.tokenizer), "shards": 3, **more}
    return BuildConfig(MIXTURE, str(out), **given)


def test_quotas_are_exact_and_all_is_written(chain: Chain) -> None:
    manifest = ShardReader(str(chain.shards)).manifest
    expected = quotas(shares(load_mixture(MIXTURE)), 700).tolist()
    assert [s.planned for s in manifest.sources.values()] == expected == [280, 210, 140, 70]
    for source in manifest.sources.values():
        assert source.planned == source.written + source.rejected
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    assert Counter(row["source"] for row in rows) == {n: s.written for n, s in manifest.sources.items()}
    assert len({row["sample_id"] for row in rows}) == 700


def test_the_manifest_knows_what_no_row_exceeds(chain: Chain, tmp_path: Path) -> None:
    """Most FAST ids, and the longest texts in bytes, of the rows that were written; with subtasks, repeats and rejected rows."""
    mixture = tmp_path / "subtasks.yaml"
    mixture.write_text(
        "name: subtasks\nsources:\n  - {name: arm, dataset: tabletop_arm, weight: 3, subtask: true}\n"
        "  - {name: planar, dataset: tabletop_planar, weight: 1, prompt: ['{prompt}', 'bitte: {prompt}, süß']}\n"
        "  - {name: vqa, dataset: tabletop_vqa, weight: 1}\n"
    )
    out = tmp_path / "shards"
    run_build(BuildConfig(str(mixture), str(out), 900, str(chain.index), str(chain.tokenizer), shards=4), [])
    for folder in (chain.shards, out):
        reader = ShardReader(str(folder))
        truth = {name: LongestRow() for name in reader.sources}
        for row in map(reader.row, range(reader.num_rows)):
            found = len(row["action_tokens"]), len(row["prompt"].encode()), len(row["target"].encode())
            truth[row["source"]] |= LongestRow(*found)
        assert {name: source.longest for name, source in reader.manifest.sources.items()} == truth
    assert truth["arm"].target_bytes > 0 == truth["planar"].target_bytes


def test_shards_that_an_older_version_left_leave_the_longest_row_open(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(chain.shards, out)
    (out / "manifest.json").unlink()
    sidecar = min((out / "state").glob("*.json"))
    value = json.loads(sidecar.read_text())
    del value["longest_per_source"]
    sidecar.write_text(json.dumps(value))
    assert run_build(config(chain, out, resume=True), []).skipped == 3
    assert {source.longest for source in ShardReader(str(out)).manifest.sources.values()} == {None}


def test_rows_are_the_chunks_of_their_episodes(chain: Chain) -> None:
    """Provenance leads back: same actions, same FAST ids, same picture as the raw data hold."""
    reader = ShardReader(str(chain.shards))
    tok = ActionTokenizer.load(chain.tokenizer)
    raw: dict[tuple[str, str, int], Any] = {}
    for name in ("tabletop_planar", "tabletop_arm"):
        for episode in open_episodes(str(chain.data / name / "1.0.0")):
            raw[name, Path(episode.where.file).name, episode.where.number] = episode
    seen = 0
    for i in range(reader.num_rows):
        row = reader.row(i)
        if row["kind"] != "robot":
            assert row["target"]
            assert row["action_steps"] == 0
            continue
        source = reader.manifest.sources[row["source"]]
        episode = raw[source.dataset, row["file"], row["episode"]]
        chunk, real = chunk_at(episode.steps["action"], row["step"], source.horizon, source.action_encoding)
        assert np.array_equal(row["action"].reshape(chunk.shape), chunk)
        assert row["action_steps"] == real
        assert row["action_tokens"].tolist() == tok.encode(chunk, embodiment=source.embodiment)[0].tolist()
        assert row["image/primary"] == episode.steps["observation/image"][row["step"]]
        assert np.array_equal(row["state"], episode.steps["observation/state"][row["step"]])
        assert row["prompt"].encode() == episode.steps["language_instruction"][0]
        seen += 1
    assert seen == 490


def test_same_arguments_same_bytes_other_seed_others(chain: Chain, tmp_path: Path) -> None:
    run_build(config(chain, tmp_path / "again"), [])
    assert digests(tmp_path / "again") == digests(chain.shards)
    run_build(config(chain, tmp_path / "other", seed=1), [])
    assert digests(tmp_path / "other") != digests(chain.shards)


@pytest.mark.slow
def test_several_workers_write_the_same_bytes(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    beam = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    arguments = ["--samples", "700", "--index", str(chain.index), "--tokenizer", str(chain.tokenizer), "--shards", "3"]
    command = [sys.executable, "-m", "pipelines", "build", MIXTURE, "--out", str(out), *arguments, *beam]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert digests(out) == digests(chain.shards)


@pytest.mark.slow
@pytest.mark.parametrize("full", [0, 60_000])
def test_killed_and_resumed_writes_the_same_bytes(chain: Chain, tmp_path: Path, full: int) -> None:
    """20 SIGKILLs at random moments, also mid-write; with every other attempt on a disk that is full; see killed.py."""
    given: dict[str, Any] = {
        "mixture": MIXTURE,
        "samples": 1500,
        "index": str(chain.index),
        "tokenizer": str(chain.tokenizer),
        "shards": 24,
    }
    run_build(BuildConfig(out=str(tmp_path / "whole"), **given), [])
    whole = digests(tmp_path / "whole")
    sizes = {name: (tmp_path / "whole" / name).stat().st_size for name in whole if name.endswith(".arrow")}
    assert not full or max(sizes.values()) > full  # or nothing would fail
    script = Path(__file__).with_name("killed.py")
    out = tmp_path / "shards"
    command = [sys.executable, str(script), str(out), "0", "20", str(full), json.dumps(given)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kills"] >= 20
    assert (found["failures"] > 3) == bool(full)
    for seen in found["seen"]:  # a shard that has its name is whole
        assert {name: sizes[name] for name in seen} == seen
    assert len({len(seen) for seen in found["seen"]}) > 3  # killed at different moments
    assert digests(out) == whole


def test_a_full_disk_says_what_to_do(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    real = os.fsync

    def fails(handle: int) -> None:
        opened = str(Path(f"/proc/self/fd/{handle}").readlink())
        if "shard-00001" in opened and ".arrow" in opened:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError, match=r"No space left on device.*--resume"):
        run_build(config(chain, tmp_path / "out"), [])
    assert not [f for f in (tmp_path / "out").iterdir() if "shard-00001" in f.name]
    monkeypatch.undo()
    run_build(config(chain, tmp_path / "out", resume=True), [])
    assert digests(tmp_path / "out") == digests(chain.shards)


def test_resume_redoes_damaged_and_missing_shards(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(chain.shards, out)
    first, second, third = sorted(out.glob("*.arrow"))
    first.write_bytes(first.read_bytes()[:-50])
    second.unlink()
    before = third.stat().st_mtime_ns
    result = run_build(config(chain, out, resume=True), [])
    assert result.skipped == 1
    assert third.stat().st_mtime_ns == before
    assert digests(out) == digests(chain.shards)
    with pytest.raises(InputError, match=r"another plan.*seed"):
        run_build(config(chain, out, resume=True, seed=5), [])


def test_resume_checks_digests_where_the_work_is_done(chain: Chain, tmp_path: Path) -> None:
    """One flipped bit in a shard or in its dead letters, sizes unchanged: it is made again, the others are kept."""
    out = tmp_path / "shards"
    shutil.copytree(chain.shards, out)
    first = min(out.glob("*.arrow"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    assert run_build(config(chain, out, resume=True), []).skipped == 2
    assert digests(out) == digests(chain.shards)


def test_damaged_shards_are_named(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(chain.shards, out)
    first, second, third = sorted(out.glob("*.arrow"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        run_lint(LintConfig(str(out)))
    assert first.name in str(caught.value)
    assert f"{second.name}: truncated" in str(caught.value)
    assert third.name not in str(caught.value)
    with pytest.raises(InputError, match=second.name):
        list(ShardReader(str(out)).batches(700, epochs=1))
    (out / "manifest.json").unlink()
    with pytest.raises(InputError, match="resume"):
        ShardReader(str(out))


def test_data_that_changed_since_the_index_are_rejected_not_lost(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index

    directories = tuple(d.replace(str(chain.data), str(own_data)) for d in chain.datasets)
    run_index(IndexConfig(directories, str(tmp_path / "index")), [])
    file = sorted((own_data / "tabletop_arm" / "1.0.0").glob("*train*tfrecord*"))[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for image in sorted((own_data / "tabletop_vqa" / "images").rglob("*.jpg"))[:5]:
        image.unlink()
    out = tmp_path / "shards"
    run_build(BuildConfig(MIXTURE, str(out), 700, str(tmp_path / "index"), str(chain.tokenizer), shards=3), [])
    manifest = ShardReader(str(out)).manifest
    assert manifest.counts.planned == 700 == manifest.counts.written + manifest.counts.rejected
    assert manifest.sources["tabletop_arm"].rejected > 0
    assert manifest.sources["tabletop_vqa"].rejected > 0
    letters = [json.loads(line) for f in (out / "rejected").glob("*.jsonl") for line in f.read_text().splitlines()]
    assert sum(letter["rows"] for letter in letters) == manifest.counts.rejected
    assert {letter["reason"] for letter in letters} == {"crc", "image"}


def test_what_does_not_fit_is_refused_before_anything_is_written(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with pytest.raises(InputError, match="demo"):
        run_build(BuildConfig("demmo", str(out), 10, str(chain.index)), [])
    with pytest.raises(InputError, match="--index"):
        run_build(BuildConfig("demo", str(out), 10), [])
    with pytest.raises(InputError, match="samples"):
        run_build(config(chain, out, samples=0), [])
    with pytest.raises(InputError, match=r"--resume.*--overwrite"):
        run_build(config(chain, chain.shards), [])
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("...")
    with pytest.raises(InputError, match="will not be overwritten"):
        run_build(config(chain, tmp_path / "letters", overwrite=True), [])
    four = ActionTokenizer.fit(np.random.default_rng(0).uniform(-1, 1, (50, 10, 4)), stats=None)
    four.save(tmp_path / "four")
    with pytest.raises(InputError, match="embodiment"):
        run_build(config(chain, out, tokenizer=str(tmp_path / "four")), [])
    assert not out.exists()


def test_a_tokenizer_with_a_learned_transform(chain: Chain, tmp_path: Path) -> None:
    """Rows hold its ids, SHARDS hold it whole, and chunks of another length than it was learned for are refused."""
    fit = FitConfig(seconds=0.5, vocab_size=700, transform="both")
    tok, _ = fit_tokenizer(open_episodes(str(chain.index)), fit)
    tok.save(tmp_path / "tok")
    mixture = tmp_path / "half.yaml"
    mixture.write_text(
        "name: half\nchunk: {seconds: 0.5}\nsources:\n  - {name: arm, dataset: tabletop_arm, weight: 1}\n"
        "  - {name: planar, dataset: tabletop_planar, weight: 1}\n"
    )
    out = tmp_path / "shards"
    run_build(BuildConfig(str(mixture), str(out), 60, str(chain.index), str(tmp_path / "tok"), shards=2), [])
    reader, placed = ShardReader(str(out)), ActionTokenizer.load(out / "tokenizer")
    assert placed.fingerprint == tok.fingerprint == ActionTokenizer.load(tmp_path / "tok").fingerprint
    for row in map(reader.row, range(reader.num_rows)):
        source = reader.manifest.sources[row["source"]]
        chunk = row["action"].reshape(source.horizon, -1)
        assert row["action_tokens"].tolist() == tok.encode(chunk, embodiment=source.embodiment)[0].tolist()
    mixture.write_text(mixture.read_text().replace("0.5", "1.0"))
    with pytest.raises(InputError, match="transform was learned for"):
        run_build(BuildConfig(str(mixture), str(tmp_path / "b"), 60, str(chain.index), str(tmp_path / "tok")), [])


def test_tokenizer_of_other_dims_is_refused(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.tokenizer, tmp_path / "tok")
    for name, path in (("norm_stats.json", ["norm_stats"]), ("processor_config.json", ["fasttok", "embodiments"])):
        file = tmp_path / "tok" / name
        content = json.loads(file.read_text())
        entries = functools.reduce(dict.__getitem__, path, content)
        for key in [key for key in entries if key.split("/")[0] == "planar"]:
            entries[key] = entries[key.replace("planar", "arm")]
        file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"action_dim 7.*tabletop_planar.*3"):
        run_build(config(chain, tmp_path / "out", tokenizer=str(tmp_path / "tok")), [])


def test_a_fit_inside_the_build_with_options(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    run_build(config(chain, out, tokenizer="fit", fit_clip=True, fit_constants="low"), [])
    tok = ActionTokenizer.load(out / "tokenizer")
    assert all(stats.clip for stats in tok.stats.values())
    (out / "manifest.json").unlink()
    for other in ({"fit_constants": "low"}, {"fit_clip": False}):
        with pytest.raises(InputError, match="begun with other --fit-constants"):
            run_build(config(chain, out, tokenizer="fit", resume=True, **other), [])
    again = config(chain, out, tokenizer="fit", resume=True, fit_clip=True, fit_constants="low")
    assert run_build(again, []).manifest.tokenizer == ShardTokenizer("tokenizer", tok.fingerprint)
    with pytest.raises(InputError, match="was fitted already"):
        run_build(config(chain, tmp_path / "b", fit_clip=True), [])


def test_fit_inside_the_build(chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    run_build(config(chain, out, tokenizer="fit"), [])
    tok = ActionTokenizer.load(out / "tokenizer")
    assert set(tok.stats) == {"planar", "arm"}
    assert ShardReader(str(out)).manifest.tokenizer == ShardTokenizer("tokenizer", tok.fingerprint)


@pytest.mark.parametrize(
    ("form", "rotation", "dim"), [("relative", "6d", 10), ("delta", "euler", 7), ("stored", "quaternion", 8)]
)
def test_actions_in_the_form_that_the_mixture_asks_for(
    chain: Chain, tmp_path: Path, form: str, rotation: str, dim: int
) -> None:
    """Rows hold the represented chunk, the tokenizer was fitted on it, and it leads back to what was recorded."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nchunk: {steps: 8}\nsources:\n"
        f"  - {{dataset: tabletop_arm, weight: 1, action: {{form: {form}, rotation: {rotation}}}}}\n"
        "  - {dataset: tabletop_planar, weight: 1}\n"
    )
    out = tmp_path / "shards"
    given = BuildConfig(str(file), str(out), 120, str(chain.index), "fit", shards=2)
    manifest = run_build(given, []).manifest
    source = manifest.sources["tabletop_arm"]
    assert source.action_dim == dim == len(source.action_names) == len(source.action_encoding)
    assert manifest.sources["tabletop_planar"].representation is None
    represent = source.representation
    assert represent is not None
    tok = ActionTokenizer.load(out / "tokenizer")
    assert tok.embodiments["arm"].form == f"{form}, {rotation} rotations"
    recorded = {
        (Path(e.where.file).name, e.where.number): e
        for e in open_episodes(str(chain.index))
        if e.metadata["dataset"] == "tabletop_arm"
    }
    reader = ShardReader(str(out))
    rows = [row for row in map(reader.row, range(reader.num_rows)) if row["source"] == "tabletop_arm"]
    for row in rows:
        episode = recorded[Path(row["file"]).name, row["episode"]]
        action, proprio = np.asarray(episode.steps["action"]), np.asarray(episode.steps["proprio"])
        values = np.asarray(row["action"]).reshape(1, 8, dim)
        reference = represent.reference(action, proprio)[row["step"]][None]
        real = row["action_steps"]
        again = represent.restore(values, reference)[0, :real]
        assert np.allclose(again, action[row["step"] : row["step"] + real], atol=1e-4)
        assert row["action_tokens"].tolist() == tok.encode(values[0], embodiment="arm")[0].tolist()
    with pytest.raises(InputError, match=r"was fitted on actions as stored"):
        run_build(BuildConfig(str(file), str(tmp_path / "b"), 120, str(chain.index), str(chain.tokenizer)), [])


def test_forms_that_a_dataset_does_not_allow(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: m\nsources:\n  - {dataset: tabletop_arm, action: {form: relativ}}\n")
    with pytest.raises(InputError, match=r"line 3: unknown form 'relativ'; did you mean 'relative'"):
        run_build(BuildConfig(str(file), str(tmp_path / "a"), 10, str(chain.index), "fit"), [])
    file.write_text(
        "name: m\nsources:\n  - {dataset: tabletop_arm, weight: 1, action: {form: delta}}\n"
        "  - {dataset: tabletop_arm, weight: 1, name: again}\n"
    )
    with pytest.raises(InputError, match="different `action:` forms"):
        run_build(BuildConfig(str(file), str(tmp_path / "a"), 10, str(chain.index), "fit"), [])
