"""inspect shows the rows that were asked for, whole, and its page is safe to open."""

import base64
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from pipelines.look.choose_rows import RowChoice, choose_rows
from pipelines.look.inspect import InspectConfig, choice, run_inspect
from pipelines.look.lint import LintConfig, run_lint
from pipelines.look.page_files import write_page
from pipelines.look.scan import shards_tokenizer
from pipelines.look.stats import StatsConfig, run_stats
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.html_checks import assert_whole, without_scripts
from tests.pipelines.made_shards import make_shards
from tests.pipelines.reshard import reshard, unchanged

HOSTILE = "<script>alert(1)</script>\"'><img src=http://x.invalid/a onerror=alert(2)>"


def body(page: str) -> str:
    """A page without the pictures of later steps, which only local shards are searched for, and without its date."""
    plain = re.sub(
        r'<div class="moments[^"]*"><figure data-step="0">(.*?)</figure>.*?</div>', r"<figure>\1</figure>", page
    )
    return re.sub(r' class="photo"|<span>|</span>', "", plain.partition("<footer>")[0].partition("<body>")[2])


def numbers(shards: Path, **more: Any) -> list[int]:
    return choose_rows(ShardReader(str(shards)), choice(InspectConfig(str(shards), **more)))


def page_of(shards: Path, tmp_path: Path, **more: Any) -> str:
    file = tmp_path / "page.html"
    run_inspect(InspectConfig(str(shards), html=(str(file),), overwrite=True, **more))
    return file.read_text()


def test_rows_are_drawn_evenly_over_sources_and_by_seed(chain: Chain) -> None:
    reader = ShardReader(str(chain.shards))
    found = numbers(chain.shards, rows=10)
    counts = Counter(reader.row(i)["source"] for i in found)
    assert sorted(counts.values()) == [2, 2, 3, 3]
    assert found == sorted(set(found)) == numbers(chain.shards, rows=10)
    assert found != numbers(chain.shards, rows=10, seed=1)
    assert numbers(chain.shards, rows=5000) == list(range(700))  # all there are, each once
    only = numbers(chain.shards, rows=100, source=("tabletop_captions", "tabletop_vqa"))
    assert Counter(reader.row(i)["source"] for i in only) == {"tabletop_captions": 50, "tabletop_vqa": 50}
    assert {reader.row(i)["kind"] for i in numbers(chain.shards, kind="caption")} == {"caption"}


def test_start_and_ids_choose_rows(chain: Chain) -> None:
    reader = ShardReader(str(chain.shards))
    assert numbers(chain.shards, start=250, rows=4) == [250, 251, 252, 253]
    arms = [i for i in range(700) if reader.row(i)["source"] == "tabletop_arm" and i >= 230]
    assert numbers(chain.shards, start=230, rows=20, source=("tabletop_arm",)) == arms[:20]
    ids = tuple(reader.row(i)["sample_id"] for i in (650, 3))
    assert numbers(chain.shards, sample_id=ids) == [3, 650]


def test_what_is_not_there_is_refused(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tabletop_arm"):
        numbers(chain.shards, source=("tabletop_arms",))
    with pytest.raises(InputError, match=r"no row has the sample_id 'nope'.*tabletop"):
        numbers(chain.shards, sample_id=("nope",))
    with pytest.raises(InputError, match="no such rows"):
        numbers(chain.shards, source=("tabletop_arm",), kind="vqa")
    with pytest.raises(InputError, match="--start"):
        numbers(chain.shards, start=700)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a page; pass --overwrite"):
        run_inspect(InspectConfig(str(chain.shards), html=(str(tmp_path / "notes.txt"),)))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for name in ("manifest.json", "tokenizer/tokenizer.json"):
        with pytest.raises(InputError, match="which the command reads"):
            run_inspect(InspectConfig(str(chain.shards), html=(str(chain.shards / name),), overwrite=True))


def test_the_page_has_its_name_and_place(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.__main__ import main

    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--overwrite"]):
        main(["inspect", str(chain.shards), "--html", *flags])
        assert capsys.readouterr().out == "shards.inspect.html\n"
    assert (tmp_path / "shards.inspect.html").read_text().startswith("<!doctype html>")
    (tmp_path / "shards.stats.html").write_text("<!doctype html>")
    for verb in ("inspect", "stats"):
        with pytest.raises(InputError, match=f"shards.{verb}.html exists; pass --overwrite"):
            main([verb, str(chain.shards), "--html"])
    (tmp_path / "shards.stats.html").unlink()
    main(["inspect", str(chain.shards), "--rows", "2", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["shards.inspect.html"]


def test_the_page_shows_all_of_a_row(chain: Chain, tmp_path: Path) -> None:
    """Each picture's bytes, each FAST id, each dimension with the error that its ids really make, and the provenance."""
    reader = ShardReader(str(chain.shards))
    tok = ActionTokenizer.load(chain.tokenizer)
    (number,) = numbers(chain.shards, rows=1, source=("tabletop_arm",))
    row = reader.row(number)
    text = page_of(chain.shards, tmp_path, rows=1, source=("tabletop_arm",))
    article = re.search(r"<article.*?</article>", text, re.DOTALL)
    assert article is not None
    body = article.group()
    assert base64.b64encode(row["image/primary"]).decode() in body
    coloured = re.findall(r'<span class="tok mono" style="background[^>]*>(\d+)</span>', body)
    meanings = re.findall(r'<li><b class="mono">\d+</b>: ([^<]*)</li>', body)
    assert len(meanings) == len(coloured)
    assert "frequency 0 of " in meanings[0]  # a dim by its name
    assert [int(i) for i in coloured] == row["action_tokens"].tolist()
    assert re.findall(r'<span class="tok mono lossless">\s*([^<]*)</span>', body)[:3] == row["prompt"].split()[:3]
    chunk = row["action"].reshape(20, 7)
    back = tok.decode([row["action_tokens"]], horizon=20, action_dim=7, embodiment="arm").actions[0]
    errors = np.abs(back - chunk).max(0)
    for error in errors:
        assert f"error up to {error:.2g}" in body
    assert f"byte {row['offset']:,} · episode {row['episode']} · step {row['step']}" in body
    assert row["sample_id"] in body
    assert ("rest is padding" in body) == (row["action_steps"] < 20)
    assert ('class="shade"' in body) == (row["action_steps"] < 20)
    for name in reader.manifest.sources["tabletop_arm"].action_names:
        assert f'<h3 class="axis-title">{name}</h3>' in body
    assert_whole(text)


def test_text_from_data_is_text_and_the_page_loads_nothing(chain: Chain, tmp_path: Path) -> None:
    def hostile(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row |= {"prompt": HOSTILE, "target": HOSTILE, "file": HOSTILE, "sample_id": f"{HOSTILE}{row['sample_id']}"}

    def names(value: dict[str, Any]) -> None:
        value["mixture"]["name"] = HOSTILE
        for source in value["sources"].values():
            source |= {"license": HOSTILE, "citation": HOSTILE, "homepage": HOSTILE, "embodiment": source["embodiment"]}
            source["action_names"] = [HOSTILE for _ in source["action_names"]]

    text = page_of(reshard(chain.shards, tmp_path / "shards", hostile, names), tmp_path, rows=8)
    assert_whole(text)
    text = without_scripts(text)
    assert "<img src=http" not in text
    assert text.count("&lt;script&gt;") > 20
    assert not re.search(r'(src|href)="(?!data:image/|#)', text)
    assert not re.search(r"url\((?!#)", text)


def test_a_row_shows_later_pictures_of_its_episode(chain: Chain, tmp_path: Path) -> None:
    """Rows of one episode at steps inside a row's chunk lend it their pictures; the slider's range is the chunk."""

    def neighbours(rows: list[dict[str, Any]]) -> None:
        arms = [row for row in rows if row["source"] == "tabletop_arm"]
        for step, row in enumerate(arms[:4]):
            row |= {"file": "one", "episode": 7, "step": 3 * step, "action_steps": 20 if step else 8}
            row["sample_id"] = f"arm {step}"

    out = reshard(chain.shards, tmp_path / "shards", neighbours)
    reader = ShardReader(str(out))
    rows = {row["sample_id"]: row for row in map(reader.row, range(700))}
    text = page_of(out, tmp_path, sample_id=("arm 0",))
    for step in (0, 1, 2, 3):  # 0, 3 and 6 steps later; 9 is after the episode's end
        shown = base64.b64encode(rows[f"arm {step}"]["image/primary"]).decode() in text
        assert shown == (step < 3)
    assert set(re.findall(r'data-step="(\d+)"', text)) == {"0", "3", "6"}
    assert "0.30 s later" in text
    assert 'max="19" value="0" aria-label="time after the picture"' in text
    assert_whole(text)


def test_channels_stored_blue_first_are_shown_right(chain: Chain, tmp_path: Path) -> None:
    def swapped(value: dict[str, Any]) -> None:
        value["sources"]["tabletop_arm"]["bgr"] = ["primary"]

    out = reshard(chain.shards, tmp_path / "shards", unchanged, swapped)
    text = page_of(out, tmp_path, rows=4)
    swapped_pictures = 'style="filter:url(#swap-red-blue)"'
    cards = [one.split("</article>")[0] for one in text.split("<article")[1:]]
    (card,) = [card for card in cards if swapped_pictures in card]  # the one row of that source
    assert "stored blue first" in card
    assert 0 < card.count(swapped_pictures) < card.count("<img")  # not those of the wrist
    assert text.count('<filter id="swap-red-blue"') == 1
    assert "stored blue first" in text
    assert 'style="filter' not in page_of(chain.shards, tmp_path, rows=4)


def test_what_is_damaged_is_said_not_hidden(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def damage(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["source"] == "tabletop_planar")
        row["action_tokens"] = row["action_tokens"][:-1]
        other = next(row for row in rows if row["source"] == "tabletop_arm")
        other["action"], other["sample_id"] = other["action"][:-3], "cut"
        row["image/primary"] = b"what<script>"

    out = reshard(chain.shards, tmp_path / "shards", damage)
    reader = ShardReader(str(out))
    name = next(r["sample_id"] for r in map(reader.row, range(700)) if r["source"] == "tabletop_planar")
    text = page_of(out, tmp_path, sample_id=(name,))
    assert "The FAST ids do not decode" in text
    assert "not a picture: neither JPEG nor PNG" in text
    assert_whole(text)
    run_inspect(InspectConfig(str(out), sample_id=("cut",)))
    assert "137 values, expected 20 x 7" in capsys.readouterr().out
    assert "The action has 137 values, its source 20 x 7 (1 s)" in page_of(out, tmp_path, sample_id=("cut",))
    (out / "tokenizer" / "tokenizer.json").unlink()
    assert "tokenizer does not load" in page_of(out, tmp_path, rows=4)


def test_no_text_breaks_its_line_or_steers_the_terminal(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def damage(rows: list[dict[str, Any]]) -> None:
        rows[0]["prompt"], rows[0]["sample_id"] = "first\r\nsecond \x1b[2J\x9b", "this"

    out = reshard(chain.shards, tmp_path / "shards", damage)
    run_inspect(InspectConfig(str(out), sample_id=("this",)))
    said = capsys.readouterr().out
    assert r"first\r\nsecond \x1b[2J\x9b" in said
    assert not {"\r", "\x1b", "\x9b"} & set(said)


def test_a_small_budget_leaves_pictures_out_and_says_so(chain: Chain, tmp_path: Path) -> None:
    text = page_of(chain.shards, tmp_path, rows=8, max_mb=0.01)
    own = re.sub(r'<figure data-step="[1-9].*?</figure>', "", text)  # without pictures of later steps
    shown, left = own.count("<img"), own.count("left out</div>")
    assert shown >= 1
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in numbers(chain.shards, rows=8)]
    assert shown + left == sum(bool(row[name]) for row in rows for name in row if name.startswith("image/"))
    assert f"{left} pictures" in text
    assert text.count("not on this page") == 1


def test_shards_on_another_file_system_are_looked_at_too(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(chain.shards), "/looking/shards", recursive=True)
    where = "memory://looking/shards"
    assert numbers(chain.shards, rows=10) == choose_rows(ShardReader(where), RowChoice(10))
    run_inspect(InspectConfig(where, rows=4, html=("memory://looking/page.html",)))
    there, here = memory.cat_file("/looking/page.html").decode(), page_of(chain.shards, tmp_path, rows=4)
    assert body(there) == body(here)
    capsys.readouterr()
    run_lint(LintConfig(where, strict=True))
    assert "0 error(s)" in capsys.readouterr().out
    run_stats(StatsConfig(where, json=True))
    remote = capsys.readouterr().out
    run_stats(StatsConfig(str(chain.shards), json=True))
    assert remote == capsys.readouterr().out
    memory.rm("/looking", recursive=True)


def test_answers_and_single_steps_are_drawn(chain: Chain) -> None:
    """A column that later shards may have; a chunk of one step."""
    from pipelines.look.row_card import PictureAllowance, row_card
    from pipelines.look.stored_row import stored_row

    reader = ShardReader(str(chain.shards))
    tok = ActionTokenizer.load(chain.tokenizer)
    (number,) = numbers(chain.shards, rows=1, kind="vqa")
    row = replace(stored_row(reader, number), answers=("two", "2", "two"))
    body = row_card(row, reader.manifest.sources[row.source], tok, PictureAllowance(1e6))
    assert "3 answers" in body
    assert "two, 2, two" in body
    (number,) = numbers(chain.shards, rows=1, source=("tabletop_planar",))
    row = stored_row(reader, number)
    first = row.action[:3]
    ids = tok.encode_report(first.reshape(1, 3), embodiment="planar").ids[0]
    row = replace(row, action=first, action_steps=1, action_tokens=ids)
    body = row_card(row, replace(reader.manifest.sources[row.source], horizon=1), tok, PictureAllowance(1e6))
    assert len(re.findall(r'<path class="line" d="M[^"]*L', body)) == 6


def test_ids_are_not_decoded_by_another_tokenizer(chain: Chain, tmp_path: Path) -> None:
    shards = shutil.copytree(chain.shards, tmp_path / "shards")
    file = shards / "tokenizer" / "processor_config.json"
    file.write_text(file.read_text().replace('"scale": 10.0', '"scale": 9.0'))
    tok, problem = shards_tokenizer(ShardReader(str(shards)))
    assert tok is None
    assert "the shards hold ids of" in problem


def test_commands_that_are_suggested_have_their_paths_in_quotes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my shards"
    make_shards(folder, [[3, 2]])
    run_inspect(InspectConfig(str(folder), rows=1))
    run_stats(StatsConfig(str(folder)))
    said = capsys.readouterr().err
    assert said.count(f"'{folder}' --html") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_a_page_advises_no_flag_that_inspect_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = partial(Path.open, Path("/dev/full"), "wb")
    monkeypatch.setattr(Path, "open", lambda *_: device())
    with pytest.raises(InputError, match=r"No space left.* command again \(`index` and `build` go on with --resume\)$"):
        write_page(str(tmp_path / "page.html"), "page")


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"max_mb": float("nan")}, {"max_mb": -1.0}])
def test_numbers_that_choose_nothing_are_refused(wrong: dict[str, Any], chain: Chain) -> None:
    name = next(iter(wrong))
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is .*, expected at least 0"):
        run_inspect(InspectConfig(str(chain.shards), **wrong))
