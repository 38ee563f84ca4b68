"""`fasttok-mixtures`: what the verbs print."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.common import json_files
from fasttok.common.kinds import Encoding, RecordKind
from fasttok.episodes.index_file import FORMAT_VERSION, IndexedDataset, IndexedEntry, IndexFile, SplitCounts
from fasttok.errors import InputError
from mixtures.__main__ import main
from mixtures.registry import load_mixture
from mixtures.summary import from_index, summarise
from mixtures.token_estimates import with_fast_tokens
from tests.chain import MIXTURE
from tests.html_checks import assert_whole

DIMS = {"tabletop_planar": (10, 3), "tabletop_arm": (20, 7), "tabletop_vqa": (None, 0), "tabletop_captions": (None, 0)}
EPISODES = {
    "tabletop_planar": [50] * 10,
    "tabletop_arm": [100] * 5,
    "tabletop_vqa": [1] * 80,
    "tabletop_captions": [1] * 50,
}


@pytest.fixture
def index(tmp_path: Path) -> str:
    """A small INDEX of the demo's datasets, as stage 1 writes it."""
    folder, datasets = tmp_path / "index", {}
    rng = np.random.default_rng(0)
    for name, lengths in EPISODES.items():
        hz, dim = DIMS[name]
        kind: RecordKind = "robot" if dim else "caption" if "captions" in name else "vqa"
        absolute: tuple[Encoding, ...] = ("absolute",)
        entry = IndexedEntry(name, kind, embodiment=name, control_hz=hz, action_dim=dim, action_encoding=absolute * dim)
        counts = SplitCounts(("f",), len(lengths), len(lengths), sum(lengths), 0, {}, {}, {})
        datasets[name] = IndexedDataset(name, entry, "", {"train": counts})
        (folder / name / "train").mkdir(parents=True)
        rows = [
            {"steps": n, "image_bytes": 1000 * n, "target": "" if dim else "a red block", "language": "push", "file": "f",
             "offset": 0, "length": 1, "episode": i, "proprio_dim": 0} for i, n in enumerate(lengths)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), folder / name / "train" / "f.episodes.parquet")
        values = np.cumsum(rng.normal(size=(sum(lengths), max(dim, 1))), axis=0).astype(np.float32)
        columns = {"action": list(values), "proprio": [np.zeros(0, np.float32)] * len(values)}
        schema = pa.schema([("action", pa.list_(pa.float32())), ("proprio", pa.list_(pa.float32()))])
        pq.write_table(pa.table(columns, schema), folder / name / "train" / "f.steps.parquet")
    (folder / "index.json").write_text(json_files.write(IndexFile(FORMAT_VERSION, "d", datasets)))
    return str(folder)


def test_explain_without_an_index_says_that_sizes_are_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", MIXTURE, "--samples", "1000"])
    out, err = capsys.readouterr()
    assert "40.00 %" in out
    assert "tabletop_vqa" in out
    assert "epochs" not in out
    assert "catalogue estimates" in err


def test_explain_with_an_index(capsys: pytest.CaptureFixture[str], index: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    main(["explain", MIXTURE, "--samples", "10000", "--index", index, "--json", "--html", str(page)])
    found = json.loads(capsys.readouterr().out)
    lines = {line["name"]: line for line in found["lines"]}
    assert not found["estimates"]
    arm, vqa, web = lines["tabletop_arm"], lines["tabletop_vqa"], lines["web"]
    assert (arm["samples"], arm["epochs"], arm["horizon"], arm["naive_tokens"]) == (3000, 6.0, 20, 140)
    assert (vqa["samples"], vqa["epochs"], vqa["naive_tokens"]) == (2000, 25.0, None)
    assert vqa["loss_tokens"] == pytest.approx(2000 * (len("a red block") / 4 + 1))
    assert 0 < arm["fast_tokens"] < 140
    assert arm["loss_tokens"] == pytest.approx(3000 * (arm["fast_tokens"] + 2))
    assert arm["bytes"] == 3000 * 1512
    assert web["group"]
    assert web["samples"] == vqa["samples"] + lines["tabletop_captions"]["samples"] == 3000
    assert lines["tabletop"]["samples"] == sum(line["samples"] for line in lines.values() if not line["group"]) == 10000
    text = page.read_text()
    assert text.count('class="bar"') == 4
    for share in ("40.0", "30.0", "20.0", "10.0"):  # of all samples, not of the largest
        assert f'class="bar"><i style="width:{share}%' in text
    assert "20 x 7" in text
    assert_whole(text)
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", text)
    assert heads[:4] == ["source", "share of samples", "from 0 to 100 %", "share of tokens"]
    assert {"chunk, steps x dims", "FAST ids per sample"} <= {*heads}
    assert "note" not in heads  # nothing to say of any source
    main(["explain", MIXTURE, "--samples", "10000", "--index", index])
    out, err = capsys.readouterr()
    assert "20 x 7" in out
    assert "estimated with one fitted on a sample" in err


def test_explain_marks_caps_and_filters(index: str, tmp_path: Path) -> None:
    path = tmp_path / "capped.yaml"
    path.write_text(
        "sources:\n"
        "  - {dataset: tabletop_planar, weight: 1, filters: {records: 4}}\n"
        "  - {dataset: tabletop_captions, weight: 1, max_epochs: 2}\n"
    )
    mixture = load_mixture(path)
    lines, _ = summarise(mixture, 10_000, from_index(mixture, index))
    assert [(line.samples, line.capped) for line in lines[1:]] == [(9900, False), (100, True)]
    assert lines[1].epochs == 9900 / 200
    main(["explain", str(path), "--index", index])


def test_explain_shows_a_curriculum(index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "sources:\n  - {dataset: tabletop_planar, weight: 1}\n  - {dataset: tabletop_vqa, weight: 1}\n"
        "schedule:\n  - {after: 600, weights: {tabletop_vqa: 3}}\n"
    )
    main(["explain", str(path), "--index", index, "--samples", "1000", "--html", str(tmp_path / "c.html")])
    out = capsys.readouterr().out
    assert "from 600" in out
    assert "Curriculum" in (tmp_path / "c.html").read_text()
    main(["explain", str(path), "--index", index, "--samples", "1000", "--json"])
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert [line["phases"] for line in lines[1:]] == [[300, 100], [300, 300]]


def test_explain_without_published_sizes_shows_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("policy: proportional\nsources:\n  - {dataset: mine}\n  - {dataset: fractal20220817_data}\n")
    main(["explain", str(path)])
    out, err = capsys.readouterr()
    assert "3,786,400" in out
    assert "no frames of 1 of 2 sources" in err
    main(["explain", str(path), "--json"])
    assert json.loads(capsys.readouterr().out)["unknown_sizes"] == ["mine"]


def test_sizes_are_asked_for_only_where_shares_follow_from_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", "ki", "--samples", "1000", "--json"])
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)["lines"]}
    assert (lines["robots"]["samples"], lines["web"]["samples"]) == (700, 300)
    assert lines["coco_boxes"]["samples"] == 100


def test_published_shares_follow_from_published_weights_and_catalogue_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """octo's own table of its soup (Octo-Base's card) from its weights, and frames of OpenVLA's statistics."""
    main(["explain", "octo/oxe_magic_soup", "--samples", "100000", "--json"])
    lines = {line["name"]: line["share"] for line in json.loads(capsys.readouterr().out)["lines"]}
    for name, share in {"fractal20220817_data": 17.0, "kuka": 17.0, "bridge_dataset": 17.0, "bc_z": 9.1, "language_table": 5.9,
                        "stanford_hydra_dataset_converted_externally_to_rlds": 6.0, "utaustin_mutex": 3.0}.items():  # fmt: skip
        assert lines[name] == pytest.approx(share / 100, rel=0.08)


def test_explain_names_what_the_index_lacks(index: str, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("sources:\n  - {dataset: tabletop_arms}\n")
    with pytest.raises(InputError, match="did you mean 'tabletop_arm'"):
        main(["explain", str(path), "--index", index])
    path.write_text("sources:\n  - {dataset: tabletop_arm, split: vla}\n")
    with pytest.raises(InputError, match="split of tabletop_arm"):
        main(["explain", str(path), "--index", index])
    with pytest.raises(InputError, match="not a finished INDEX"):
        main(["explain", "demo", "--index", str(tmp_path / "nothing")])


@pytest.mark.parametrize("policy", ["as_given", "proportional"])
def test_explain_refuses_what_a_build_refuses_as_it_has_no_records(index: str, tmp_path: Path, policy: str) -> None:
    """It gave samples to such a source, or said that there is no INDEX."""
    file, weight = tmp_path / "few.yaml", ", weight: 1" if policy == "as_given" else ""
    file.write_text(
        f"policy: {policy}\nchunk: {{seconds: 1.0}}\nsources:\n  - {{dataset: tabletop_arm{weight}}}\n"
        f"  - {{dataset: tabletop_planar, filters: {{min_steps: 51}}{weight}}}\n"
    )
    with pytest.raises(InputError, match=r"few.yaml: line 5: source 'tabletop_planar': .*\(10 left out by min_steps\)"):
        main(["explain", str(file), "--index", index])


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert "demo" in capsys.readouterr().out
    main(["list", "--json"])
    assert any(mixture["name"] == "demo" for mixture in json.loads(capsys.readouterr().out))
    main(["show", "demo"])
    assert "group: web" in capsys.readouterr().out
    main(["show", "demo", "--json"])
    assert len(json.loads(capsys.readouterr().out)["root"]["members"]) == 3


def test_unknown_verb() -> None:
    with pytest.raises(InputError, match="did you mean 'explain'"):
        main(["explian", "demo"])


@pytest.mark.filterwarnings("error")
def test_estimates_with_a_tokenizer_that_clamps_do_not_warn(index: str, tmp_path: Path) -> None:
    """The warning named a line of our code, and said nothing about the mixture."""
    chunks = np.random.default_rng(0).uniform(-1, 1, (40, 10, 3))
    stats = NormStats.fit(chunks.reshape(-1, 3))
    what = {"tabletop_planar": Embodiment(10, 3)}
    tok = ActionTokenizer.fit({"tabletop_planar": chunks}, 300, stats={"tabletop_planar": stats}, embodiments=what)
    tok.save(tmp_path / "tok")
    mixture = load_mixture(MIXTURE)
    known = {name: sizes for name, sizes in from_index(mixture, index).items() if name == "tabletop_planar"}
    estimated = with_fast_tokens(replace(mixture, tokenizer=str(tmp_path / "tok")), known, index)
    assert (estimated["tabletop_planar"].fast_tokens or 0) > 0
