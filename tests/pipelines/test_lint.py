"""lint finds what is put into sound shards, names the place, and says nothing of sound ones."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.common.console import run
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.findings import Finding
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.look.lint import LintConfig, check, run_lint
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.pipelines.reshard import reshard, unchanged

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def findings(shards: Path, **more: Any) -> list[Finding]:
    reader = ShardReader(str(shards))
    found = check(reader, LintConfig(str(shards), **more))
    return [*found.of("error"), *found.of("warning")]


def first(rows: list[Row], kind: str, number: int = 0) -> Row:
    return [row for row in rows if row["kind"] == kind][number]


def with_value(row: Row, column: str, place: int, value: float) -> None:
    row[column] = row[column].copy()
    row[column][place] = value


def repeat_id(rows: list[Row]) -> None:
    first(rows, "robot", 5)["sample_id"] = first(rows, "robot", 2)["sample_id"]


def not_finite(rows: list[Row]) -> None:
    with_value(first(rows, "robot"), "action", 1, np.nan)


def state_not_finite(rows: list[Row]) -> None:
    with_value(first(rows, "robot"), "state", 0, np.inf)


def other_ids(rows: list[Row]) -> None:
    a, b = [row for row in rows if row["source"] == "tabletop_arm"][:2]
    a["action_tokens"], b["action_tokens"] = b["action_tokens"], a["action_tokens"]


def ids_out_of_range(rows: list[Row]) -> None:
    with_value(first(rows, "robot"), "action_tokens", 0, 99_999)


def too_few_ids(rows: list[Row]) -> None:
    first(rows, "robot")["action_tokens"] = first(rows, "robot")["action_tokens"][:-1]


def bad_padding(rows: list[Row]) -> None:
    row = next(row for row in rows if row["source"] == "tabletop_planar" and row["action_steps"] < 10)
    with_value(row, "action", -1, 0.25)


def too_many_steps(rows: list[Row]) -> None:
    first(rows, "robot")["action_steps"] = 10_000


def short_chunk(rows: list[Row]) -> None:
    first(rows, "robot")["action"] = first(rows, "robot")["action"][:-1]


def action_of_a_question(rows: list[Row]) -> None:
    first(rows, "vqa")["action_steps"] = 3


def other_kind(rows: list[Row]) -> None:
    first(rows, "vqa")["kind"] = "caption"


def no_answer(rows: list[Row]) -> None:
    first(rows, "vqa")["target"] = " \n"


def no_question(rows: list[Row]) -> None:
    first(rows, "vqa")["prompt"] = ""


def cut_image(rows: list[Row]) -> None:
    first(rows, "caption")["image/primary"] = first(rows, "caption")["image/primary"][:-90]


FAULTS: list[tuple[Callable[[list[Row]], None], str, str]] = [
    (repeat_id, "duplicate", "again"),
    (not_finite, "finite", "action"),
    (state_not_finite, "finite", "state"),
    (other_ids, "tokens", "other actions"),
    (ids_out_of_range, "tokens", "outside the vocabulary"),
    (too_few_ids, "tokens", "do not decode"),
    (bad_padding, "padding", "not padding"),
    (too_many_steps, "shape", "action_steps"),
    (short_chunk, "shape", "another size"),
    (action_of_a_question, "shape", "without actions"),
    (other_kind, "kind", "kind 'caption'"),
    (no_answer, "empty", "target"),
    (no_question, "empty", "prompt"),
    (cut_image, "image", "truncated"),
]


@pytest.mark.parametrize(("fault", "name", "says"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS])
def test_each_fault_is_found_at_its_row(chain: Chain, tmp_path: Path, fault: Any, name: str, says: str) -> None:
    before = ShardReader(str(chain.shards))
    out = reshard(chain.shards, tmp_path / "shards", fault)
    after = ShardReader(str(out))
    found = [one for one in findings(out) if one.level == "error"]
    assert {one.check for one in found} - {"tokens"} <= {name}
    (one,) = [one for one in found if one.check == name]
    assert says in one.what
    changed = [i for i in range(700) if repr(before.row(i)) != repr(after.row(i))]
    starts = {
        shard.name: sum(s.rows for s in after.manifest.shards[:i]) for i, shard in enumerate(after.manifest.shards)
    }
    shard, _, row = one.where.partition(" row ")
    assert starts[shard] + int(row) in changed
    assert one.source == after.row(changed[0])["source"]
    assert one.count <= len(changed)
    with pytest.raises(InputError, match=r"1 error|2 error"):
        run_lint(LintConfig(str(out)))


def test_sound_shards_have_nothing_to_find(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings(chain.shards) == []
    assert findings(reshard(chain.shards, tmp_path / "same", unchanged)) == []
    run_lint(LintConfig(str(chain.shards), strict=True))
    assert "0 error(s), 0 warning(s)" in capsys.readouterr().out


def test_cameras_that_lack_are_a_warning_with_their_share(chain: Chain, tmp_path: Path) -> None:
    def blind(rows: list[Row]) -> None:
        for row in [row for row in rows if row["source"] == "tabletop_planar"][:70]:
            row["image/primary"] = None
        first(rows, "vqa")["image/wrist"] = first(rows, "vqa")["image/primary"]

    out = reshard(chain.shards, tmp_path / "shards", blind)
    found = findings(out)
    assert [(one.level, one.check, one.source) for one in found] == [
        ("warning", "camera", "tabletop_planar"),
        ("warning", "camera", "tabletop_vqa"),
    ]
    assert "70 of 280 rows (25.0 %) lack the camera primary" in found[0].what
    run_lint(LintConfig(str(out)))  # warnings do not fail
    with pytest.raises(InputError, match="lack the camera"):
        run_lint(LintConfig(str(out), strict=True))


def test_values_outside_the_normaliser_are_a_warning(chain: Chain, tmp_path: Path) -> None:
    tok = ActionTokenizer.load(chain.tokenizer)

    def inches(rows: list[Row]) -> None:
        for row in rows:
            if row["source"] == "tabletop_planar":
                row["action"] = (row["action"].reshape(-1, 3) * np.array([39.37, 1, 1], np.float32)).reshape(-1)
                row["action_tokens"] = tok.encode_report(row["action"].reshape(-1, 3), embodiment="planar").ids[0]

    out = reshard(chain.shards, tmp_path / "shards", inches)
    (one,) = findings(out)
    assert (one.level, one.check, one.source) == ("warning", "range", "tabletop_planar")
    assert "action dx (m)" in one.what
    stats = tok.stats["planar"]
    assert f"{stats.q01[0]:.4g}..{stats.q99[0]:.4g}" in one.expected
    assert findings(out, outside=1.0) == []


def test_manifest_counts_and_tokenizer_are_checked(chain: Chain, tmp_path: Path) -> None:
    def less(value: dict[str, Any]) -> None:
        value["sources"]["tabletop_vqa"]["written"] -= 1
        value["tokenizer"]["fingerprint"] = "0" * 16

    found = findings(reshard(chain.shards, tmp_path / "shards", unchanged, less))
    assert {one.check for one in found} == {"counts", "tokenizer"}
    assert all(one.level == "error" for one in found)
    assert len([one for one in found if one.check == "counts"]) == 3  # held, planned and the sum


def test_held_out_texts_and_episodes_are_named(chain: Chain, tmp_path: Path) -> None:
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    task, other = first(rows, "robot"), first(rows, "robot", 40)
    listed = tmp_path / "eval.txt"
    listed.write_text(f"# for the evaluation\n  {task['prompt'].upper()} \n{other['file']}/{other['episode']}\n")
    hit = [
        r
        for r in rows
        if r["prompt"] == task["prompt"] or (r["file"], r["episode"]) == (other["file"], other["episode"])
    ]
    found = findings(chain.shards, held_out=(str(listed),))
    assert {one.check for one in found} == {"held-out"}
    assert sum(one.count for one in found) == len(hit)
    pattern = findings(chain.shards, held_out=("^what ", "tabletop_arm-train.*/1$"))
    asked = [r for r in rows if r["prompt"].lower().startswith("what ")]
    ones = [r for r in rows if r["source"] == "tabletop_arm" and r["episode"] == 1]
    assert asked
    assert ones
    assert sum(one.count for one in pattern) == len(asked) + len(ones)
    assert findings(chain.shards, held_out=("no such thing",)) == []
    with pytest.raises(InputError, match="no such file"):
        findings(chain.shards, held_out=("evaal.txt",))
    with pytest.raises(InputError, match="regular expression"):
        findings(chain.shards, held_out=("(",))


def build(chain: Chain, out: Path, sources: str) -> Path:
    """Shards of a mixture with these sources."""
    (out / "mixture.yaml").write_text(f"name: mixed\nchunk: {{seconds: 1.0}}\nunit: samples\nsources:\n{sources}")
    run_build(
        BuildConfig(str(out / "mixture.yaml"), str(out / "shards"), 300, str(chain.index), str(chain.tokenizer)), []
    )
    return out / "shards"


IN_WORDS = """  - {dataset: tabletop_planar, weight: 1, prompt: ["Task: {prompt}. Go.", "{prompt}, I said {prompt} (now)"]}
  - {name: asked, dataset: tabletop_planar, weight: 1, questions: [task]}
"""


def test_a_held_out_instruction_is_found_in_a_template_and_as_an_answer(chain: Chain, tmp_path: Path) -> None:
    """Each row's prompt is more than the instruction, so that lint said that the instruction was not there."""
    shards = build(chain, tmp_path, IN_WORDS)
    reader = ShardReader(str(shards))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    for row in (first(rows, "robot"), first(rows, "robot", 7), first(rows, "vqa")):
        task = row["target"] or row["prompt"].removeprefix("Task: ").removesuffix(". Go.").partition(", I said")[0]
        (tmp_path / "eval.txt").write_text(task.upper())
        hit = [
            r
            for r in rows
            if task == r["target"] or r["prompt"] in (f"Task: {task}. Go.", f"{task}, I said {task} (now)")
        ]
        found = findings(shards, held_out=(str(tmp_path / "eval.txt"),))
        assert row in hit
        assert sum(one.count for one in found if one.check == "held-out") == len(hit)
        (tmp_path / "eval.txt").write_text(task[:-1])
        assert findings(shards, held_out=(str(tmp_path / "eval.txt"),)) == []


def test_a_held_out_split_in_the_same_shards(chain: Chain, tmp_path: Path) -> None:
    """Other episodes are no leak; the same ones are, whatever the split or the source is called."""
    val = "name: planar_val, split: val, weight: 1"
    sources = f"  - {{dataset: tabletop_planar, weight: 1}}\n  - {{dataset: tabletop_planar, {val}}}\n"
    out = build(chain, tmp_path, sources)
    assert [one for one in findings(out) if one.level == "error"] == []

    def copied(rows: list[Row]) -> None:
        train = [row for row in rows if row["source"] == "tabletop_planar"]
        val = [row for row in rows if row["source"] == "planar_val"]
        for there, here in zip(train[:7], val, strict=False):  # the content of training rows under names of their own
            here |= {
                key: there[key]
                for key in there
                if key not in ("source", "sample_id", "file", "offset", "episode", "step")
            }
        for there, here in zip(train[7:10], val[7:], strict=False):  # only the place
            here |= {key: there[key] for key in ("file", "episode")}

    found = {one.check: one for one in findings(reshard(out, tmp_path / "leaky", copied)) if one.level == "error"}
    assert set(found) == {"leak", "leak-episode"}
    assert found["leak"].count == 7
    assert found["leak-episode"].count == 3
    assert found["leak"].source == "planar_val"
    assert "tabletop_planar" in found["leak"].what


def test_steps_that_two_sources_took_are_a_warning(chain: Chain, tmp_path: Path) -> None:
    sources = "  - {dataset: tabletop_vqa, weight: 1}\n  - {dataset: tabletop_vqa, name: again, weight: 1}\n"
    out = build(chain, tmp_path, sources)
    reader = ShardReader(str(out))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    places = [{(r["file"], r["episode"]) for r in rows if r["source"] == name} for name in ("tabletop_vqa", "again")]
    (one,) = findings(out)
    assert (one.level, one.check) == ("warning", "shared")
    assert one.count == len(places[0] & places[1]) > 0


@pytest.mark.slow
def test_bridge_val_repeats_train_and_is_caught(shared_data: Path, tmp_path: Path) -> None:
    run_index(IndexConfig((str(shared_data / "rlds" / "bridge_dataset" / "1.0.0"),), str(tmp_path / "index")), [])
    (tmp_path / "mixture.yaml").write_text(
        "name: both\nchunk: {seconds: 1.0}\nunit: samples\nsources:\n  - {dataset: bridge_dataset, weight: 4}\n"
        "  - {dataset: bridge_dataset, name: bridge_val, split: val, weight: 1}\n"
    )
    out = tmp_path / "shards"
    run_build(BuildConfig(str(tmp_path / "mixture.yaml"), str(out), 400, str(tmp_path / "index")), [])
    (one,) = [one for one in findings(out) if one.level == "error"]
    assert (one.check, one.source) == ("leak", "bridge_val")
    assert one.count == 80


def test_scripts_get_json_and_an_exit_code(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.__main__ import main

    out = reshard(chain.shards, tmp_path / "shards", no_answer)
    assert run(lambda: main(["lint", str(out), "--json"])) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["rows"], value["warnings"]) == (700, [])
    (error,) = value["errors"]
    assert (error["check"], error["source"], error["count"]) == ("empty", "tabletop_vqa", 1)
    assert set(error) == {"level", "check", "where", "what", "expected", "todo", "source", "count"}


def test_rows_in_another_order_than_readers_expect(chain: Chain, tmp_path: Path) -> None:
    def swap(rows: list[Row]) -> None:
        a, b = (next(i for i, row in enumerate(rows) if row["kind"] == kind) for kind in ("robot", "vqa"))
        rows[a], rows[b] = rows[b], rows[a]

    (one,) = findings(reshard(chain.shards, tmp_path / "shards", swap))
    assert (one.level, one.check) == ("error", "order")


@pytest.mark.slow
def test_damage_that_the_manifest_does_not_know_of_never_crashes(chain: Chain, tmp_path: Path) -> None:
    """Bytes changed at random under a manifest that fits them, as whoever writes shards by hand might leave."""
    command = [sys.executable, "-m", "tests.pipelines.fuzz_shards", str(chain.shards), str(tmp_path / "shards"), "60"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts["lint found"] + counts["lint found nothing"] == 60
    assert counts["lint found"] > 20
    assert counts["stats refused"] > 10


def test_a_shard_that_is_no_arrow_file_is_named_and_the_rest_is_read(chain: Chain, tmp_path: Path) -> None:
    out = reshard(chain.shards, tmp_path / "shards", no_answer)
    last = sorted(out.glob("*.arrow"))[-1]
    last.write_bytes(b"ARROW1 but not really")
    assert sorted((one.check, one.where.split()[0]) for one in findings(out))[-1] == ("shard", last.name)
