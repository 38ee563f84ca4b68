"""The tokenizer folder's files: two copies of the vocabulary, and what other programs make of a folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from fasttok.storage.folder import COPIED, SUBFOLDER, TOKENIZER
from pipelines.builder.action_tokens import copy_tokenizer
from pipelines.shards.tokenizer import load_tokenizer

RNG = np.random.default_rng(11)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (200, 8, 3)), axis=1), -1, 1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    ActionTokenizer.fit(CHUNKS, vocab_size=300).save(tmp_path / "tok")
    return tmp_path / "tok"


def test_both_copies_are_written_and_deleted(saved: Path) -> None:
    for name in COPIED:
        assert (saved / name).read_bytes() == (saved / SUBFOLDER / name).read_bytes()
    (saved / "notes.txt").write_text("mine")
    place = check_output(saved, TOKENIZER, overwrite=True)
    ActionTokenizer.fit(CHUNKS, vocab_size=320).save(saved, overwrite=True)
    assert place.state == "finished"
    assert ActionTokenizer.load(saved).vocab_size == 320
    assert (saved / "notes.txt").read_text() == "mine"
    assert all(
        TOKENIZER.wrote(str(f.relative_to(saved))) for f in saved.rglob("*") if f.is_file() and f.stem != "notes"
    )


def test_two_different_vocabularies_are_refused(saved: Path, tmp_path: Path) -> None:
    before = ActionTokenizer.load(saved)
    copy = saved / SUBFOLDER / "tokenizer.json"
    copy.write_text(json.dumps(json.loads(copy.read_text()), indent=1))  # other bytes, same vocabulary
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint
    ActionTokenizer.fit(CHUNKS, vocab_size=320).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "tokenizer.json", copy)
    with pytest.raises(InputError, match=r"300 ids.*320 ids.*two different vocabularies"):
        ActionTokenizer.load(saved)


def test_either_copy_is_enough(saved: Path) -> None:
    """Folders of fasttok 0.1.0 have no second copy, those of transformers 5 have only that."""
    before = ActionTokenizer.load(saved)
    shutil.move(saved / SUBFOLDER, saved / "aside")
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint
    shutil.move(saved / "aside", saved / SUBFOLDER)
    (saved / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tok/tokenizer\.json is missing.*bpe_tokenizer/tokenizer\.json is a copy"):
        ActionTokenizer.load(saved)
    (saved / "tokenizer_config.json").unlink()
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint


def test_shards_get_the_vocabulary_wherever_it_lies(saved: Path, tmp_path: Path) -> None:
    """A build's copy, on a disk and on an object store, of a folder that has its vocabulary only below."""
    before = ActionTokenizer.load(saved)
    for name in COPIED:
        (saved / name).unlink()
    (saved / "cache").mkdir()
    for out in (str(tmp_path / "out"), f"memory://{tmp_path.name}/tokenizer"):
        copy_tokenizer(str(saved), out)
        assert load_tokenizer(out).fingerprint == before.fingerprint


@pytest.mark.parametrize("described", [(), ("arm",), ("other",)])
@pytest.mark.parametrize("transform", ["dct", "rotation", "fixed"])
def test_named_statistics_keep_their_name(transform: Any, described: tuple[str, ...], tmp_path: Path) -> None:
    """`described` are the embodiments that processor_config.json describes beside the statistics of `arm`."""
    stats, embodiments = {"arm": NormStats.fit(CHUNKS.reshape(-1, 3))}, {name: Embodiment(8, 3) for name in described}
    if transform == "fixed":
        tok = ActionTokenizer.fit({"arm": CHUNKS}, 64, mode="fixed", stats=stats)
    else:
        tok = ActionTokenizer.fit({"arm": CHUNKS}, 600, stats=stats, transform=transform)
    tok = replace(tok, embodiments=embodiments, state_stats=stats)
    tok.save(tmp_path / "tok")
    again = ActionTokenizer.load(tmp_path / "tok")
    assert (list(again.stats), list(again.state_stats), list(again.embodiments)) == (["arm"], ["arm"], [*described])
    assert again.fingerprint == tok.fingerprint
    ids = tok.encode(CHUNKS, embodiment="arm")
    assert all(np.array_equal(a, b) for a, b in zip(again.encode(CHUNKS, embodiment="arm"), ids, strict=True))
    first, second = (one.decode(ids, horizon=8, action_dim=3, embodiment="arm").actions for one in (tok, again))
    assert np.array_equal(first, second)


def test_transforms_of_unknown_names_are_refused(tmp_path: Path) -> None:
    """Else their ids were decoded by the DCT; an older fasttok saved the statistics of one name as `actions`."""
    stats = {"arm": NormStats.fit(CHUNKS.reshape(-1, 3))}
    tok = ActionTokenizer.fit({"arm": CHUNKS}, 600, stats=stats, transform="rotation")
    tok.save(tmp_path / "tok")
    file = tmp_path / "tok" / "norm_stats.json"
    entries = json.loads(file.read_text())
    file.write_text(json.dumps({"norm_stats": {"actions": entries["norm_stats"]["arm/actions"]}}))
    with pytest.raises(
        InputError, match=r"transform\.json: unknown embodiment 'arm'.*rename the key 'actions'.*'arm/actions'"
    ):
        ActionTokenizer.load(tmp_path / "tok")
    file.unlink()
    with pytest.raises(InputError, match=r"transform\.json: unknown embodiment 'arm'"):
        ActionTokenizer.load(tmp_path / "tok")


@pytest.fixture
def with_statistics(tmp_path: Path) -> Path:
    """Raw units, two embodiments."""
    chunks = {"arm": CHUNKS * [90, 2, 0.1], "planar": CHUNKS * 5}
    stats = {name: NormStats.fit(x.reshape(-1, 3)) for name, x in chunks.items()}
    what = {name: Embodiment(horizon=8, action_dim=3) for name in chunks}
    tok = ActionTokenizer.fit(chunks, vocab_size=300, stats=stats, embodiments=what)
    tok.save(tmp_path / "first")
    return tmp_path / "first"


def saved_again(first: Path, out: Path, below: bool) -> Path:
    """What `save_pretrained` of a processor writes: its own fields, and all of the tokenizer's two files."""
    shutil.rmtree(out, ignore_errors=True)
    where = out / SUBFOLDER if below else out
    where.mkdir(parents=True)
    for name in COPIED:
        (where / name).write_text(json.dumps(json.loads((first / name).read_text())))
    ours = json.loads((first / "processor_config.json").read_text())
    theirs = {
        key: ours[key] for key in ("action_dim", "min_token", "processor_class", "scale", "time_horizon", "vocab_size")
    }
    (out / "processor_config.json").write_text(json.dumps(theirs))
    return out


@pytest.mark.parametrize("below", [False, True])
def test_a_folder_that_lost_its_statistics_is_refused(with_statistics: Path, tmp_path: Path, below: bool) -> None:
    first = ActionTokenizer.load(with_statistics)
    again = saved_again(with_statistics, tmp_path / "again", below)
    with pytest.raises(
        InputError, match=rf"{first.fingerprint}.*arm, planar in norm_stats\.json.*Copy processor_config"
    ):
        ActionTokenizer.load(again)
    shutil.copy(with_statistics / "norm_stats.json", again)
    with pytest.raises(InputError, match=r"lacks now the `fasttok` block of processor_config\.json"):
        ActionTokenizer.load(again)
    shutil.copy(with_statistics / "processor_config.json", again)
    x = CHUNKS[:5] * [90, 2, 0.1]
    back = ActionTokenizer.load(again)
    assert [row.tolist() for row in back.encode(x, embodiment="arm")] == [
        row.tolist() for row in first.encode(x, embodiment="arm")
    ]
    # What the message says of actions that are normalised already.
    again = saved_again(with_statistics, tmp_path / "again", below)
    file = (again / SUBFOLDER if below else again) / "tokenizer_config.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "fasttok"}))
    assert ActionTokenizer.load(again).stats == {}


def test_a_folder_without_statistics_is_saved_again_unharmed(saved: Path, tmp_path: Path) -> None:
    first, again = ActionTokenizer.load(saved), ActionTokenizer.load(saved_again(saved, tmp_path / "again", True))
    assert (again.min_token, again.max_token) == (first.min_token, first.max_token)
    assert [row.tolist() for row in again.encode(CHUNKS)] == [row.tolist() for row in first.encode(CHUNKS)]


@pytest.mark.parametrize("marked", [False, True])
def test_missing_statistics_are_not_taken_for_normalised_actions(with_statistics: Path, marked: bool) -> None:
    """norm_stats.json was removed, or emptied; folders of fasttok 0.1.0 have no mark in tokenizer_config.json."""
    if not marked:
        for file in (with_statistics / name / "tokenizer_config.json" for name in ("", SUBFOLDER)):
            file.write_text("{}")
    (with_statistics / "norm_stats.json").unlink()
    with pytest.raises(InputError, match=r"norm_stats\.json"):
        ActionTokenizer.load(with_statistics)
    if marked:
        (with_statistics / "norm_stats.json").write_text('{"norm_stats": {}}')
        with pytest.raises(InputError, match="statistics of arm, planar"):
            ActionTokenizer.load(with_statistics)


def test_a_native_fit_that_an_older_fasttok_saved_and_another_program_again_is_said(
    with_statistics: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in (with_statistics / name / "tokenizer_config.json" for name in ("", SUBFOLDER)):
        file.write_text("{}")
    assert not caplog.text
    ActionTokenizer.load(with_statistics)
    assert not caplog.text
    ActionTokenizer.load(saved_again(with_statistics, tmp_path / "again", False))
    assert "another program saved the folder again, without statistics" in caplog.text


def test_a_damaged_mark_is_said(with_statistics: Path) -> None:
    file = with_statistics / "tokenizer_config.json"
    for text, says in (
        ("{", "not JSON"),
        ('{"fasttok": {"format_version": 9}}', "newer"),
        ('{"fasttok": 3}', "fasttok"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=rf"tokenizer_config\.json.*{says}"):
            ActionTokenizer.load(with_statistics)


@pytest.mark.parametrize("name", ["norm_stats.json", "processor_config.json"])
def test_a_folder_that_is_not_what_was_saved_warns(
    name: str, with_statistics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed digit is still JSON. Somebody may have meant it, so the folder loads."""
    before = ActionTokenizer.load(with_statistics).fingerprint
    assert not caplog.text
    file, text = with_statistics / name, (with_statistics / name).read_text()
    digit, other = '"q01": [\n        -', '"q01": [\n        -9'
    if name == "processor_config.json":
        digit, other = '"scale": 1', '"scale": 2'
    assert digit in text
    file.write_text(text.replace(digit, other, 1))
    now = ActionTokenizer.load(with_statistics).fingerprint
    assert f"not those that fasttok saved (fingerprint {before}, now {now})" in caplog.text


@pytest.mark.parametrize(
    "values",
    [{"action_encoding": ("absolut4",) * 3}, {"action_encoding": ("delta",) * 2}, {"horizon": 0}, {"action_dim": 0}],
)
def test_an_embodiment_that_no_robot_has_is_refused(values: dict[str, Any]) -> None:
    """A word that is no encoding was taken for `absolute`."""
    with pytest.raises(InputError, match=f"embodiment: {next(iter(values))} is|action_dim 0"):
        replace(Embodiment(horizon=8, action_dim=3), **values)
