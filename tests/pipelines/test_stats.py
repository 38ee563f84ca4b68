"""stats counts what a plain loop over the rows counts, and its page shows it."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from pipelines.look import row_counts
from pipelines.look.length_counts import spread
from pipelines.look.ranges import outside
from pipelines.look.row_counts import count_rows
from pipelines.look.stats import StatsConfig, run_stats
from pipelines.look.value_histogram import BINS, ValueHistogram
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.html_checks import assert_whole, without_scripts
from tests.pipelines.reshard import reshard


def rows_of(shards: Path) -> list[dict[str, Any]]:
    reader = ShardReader(str(shards))
    return [reader.row(i) for i in range(reader.num_rows)]


def test_numbers_are_those_of_a_loop_over_the_rows(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    run_stats(StatsConfig(str(chain.shards), json=True))
    value = json.loads(capsys.readouterr().out)
    tok = ActionTokenizer.load(chain.tokenizer)
    manifest = ShardReader(str(chain.shards)).manifest
    assert (value["rows"], value["shards"]) == (700, 3)
    for found in value["sources"]:
        rows = [row for row in rows_of(chain.shards) if row["source"] == found["source"]]
        source = manifest.sources[found["source"]]
        assert found["rows"] == len(rows) == found["planned"]
        assert found["share_planned"] == source.share
        assert found["image_bytes"] == sum(len(row[f"image/{slot}"]) for row in rows for slot in source.cameras)
        assert found["pictures"] == [
            {"camera": slot, "format": "jpeg", "width": 64, "height": 64, "count": len(rows)} for slot in source.cameras
        ]
        for column in ("prompt", "target"):
            texts = [row[column] for row in rows]
            said = found[f"{column}s"]
            assert said["bytes"] == sum(len(text.encode()) for text in texts)
            assert said["words"]["total"] == sum(len(text.split()) for text in texts)
            assert said["different"] == len(set(texts))
            assert next(iter(said["most frequent"].values())) == Counter(texts).most_common(1)[0][1]
        if source.kind != "robot":
            assert (found["fast_ids"], found["action"], found["state"]) == (None, [], [])
            continue
        lengths = [len(row["action_tokens"]) for row in rows]
        assert found["fast_ids"]["total"] == sum(lengths)
        assert (found["fast_ids"]["max"], found["padded"]) == (
            max(lengths),
            sum(row["action_steps"] < source.horizon for row in rows),
        )
        real = np.concatenate([row["action"].reshape(-1, source.action_dim)[: row["action_steps"]] for row in rows])
        assert source.embodiment is not None
        stats = tok.stats[source.embodiment]
        for d, dim in enumerate(found["action"]):
            assert dim["name"] == source.action_names[d]
            assert (dim["min"], dim["max"]) == (real[:, d].min(), real[:, d].max())
            assert dim["range"] == [stats.q01[d], stats.q99[d]]
            assert sum(dim["counts"]) == len(real)
            beyond = (real[:, d] < stats.q01[d] - 1e-6) | (real[:, d] > stats.q99[d] + 1e-6)
            assert dim["outside"] == pytest.approx(beyond.mean(), abs=2e-3)
        states = np.stack([row["state"] for row in rows])
        assert [dim["max"] for dim in found["state"]] == states.max(0).tolist()


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60), st.floats(-3, 3), st.floats(0.01, 5))
def test_every_value_is_in_its_bin_and_the_ends_of_the_range_are_inside(
    values: list[float], low: float, span: float
) -> None:
    limit = (low, low + span, "q01..q99")
    x = np.array([*values, low, low + span])[:, None]
    held = ValueHistogram.of([limit], x[:1])
    held.add(x[:5])
    held.add(x[5:])
    assert held.counts.sum() == len(x) == held.values
    assert (held.least[0], held.most[0]) == (x.min(), x.max())
    edges = held.edges(0)
    inside = (edges[:-1] >= low - 1e-9 * span) & (edges[1:] <= low + span * (1 + 1e-9))
    assert inside.sum() * 1.5 == BINS  # the range is made of whole bins
    slack = 2e-4 * held.width[0]
    within = (x >= low - slack) & (x <= low + span + slack)
    sure = (x >= low + slack) & (x <= low + span - slack)
    assert sure.sum() <= held.counts[0][inside].sum() <= within.sum()
    assert held.counts[0][inside].sum() >= 2  # low and high themselves
    assert held.beyond[0] == outside(x, [limit])[0]


def test_no_numbers_no_ranges_and_many_texts(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def worse(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["source"] == "tabletop_arm")
        row["action"] = row["action"].copy()
        row["action"][0] = np.nan

    out = reshard(chain.shards, tmp_path / "shards", worse)
    monkeypatch.setattr(row_counts, "MOST_TEXTS", 3)
    tallies = count_rows(ShardReader(str(out)))
    arm = tallies["tabletop_arm"]
    assert arm.histograms["action"].not_finite == 1
    assert np.isfinite(arm.histograms["action"].most).all()
    assert len(arm.texts["prompt"]) == 3
    assert sum(arm.texts["prompt"].values()) + arm.more["prompt"] == arm.rows
    shutil.rmtree(out / "tokenizer")
    (out / "tokenizer").mkdir()
    capsys.readouterr()
    run_stats(StatsConfig(str(out)))
    printed = capsys.readouterr()
    assert "does not load" in printed.err
    assert "tabletop_arm" in printed.out


def test_the_page_holds_a_histogram_for_every_dimension_and_loads_nothing(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def hostile(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["prompt"] = "<script>alert(1)</script>"

    out = reshard(chain.shards, tmp_path / "shards", hostile)
    page = tmp_path / "page.html"
    run_stats(StatsConfig(str(out), html=(str(page),)))
    assert capsys.readouterr().out.strip().endswith(str(page))
    text = page.read_text()
    assert_whole(text)
    text = without_scripts(text)
    assert "&lt;script&gt;" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "http" not in text.replace("http-equiv", "")
    for source in ShardReader(str(out)).manifest.sources.values():
        for name in source.action_names:
            assert f'text-anchor="middle">{name}</text>' in text
    assert text.count("<svg") == 4 * 2 - 2 + 2 + 2 * (3 + 7)  # words and FAST ids; actions and states
    with pytest.raises(InputError, match="not a page"):
        run_stats(StatsConfig(str(out), html=(str(out / "manifest.json"),)))


def test_sizes_are_read_from_large_headers_too(tmp_path: Path, chain: Chain) -> None:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (320, 200)).save(buffer, "JPEG", icc_profile=bytes(60_000))

    def wide(rows: list[dict[str, Any]]) -> None:
        rows[0]["image/wrist"] = buffer.getvalue()

    reader = ShardReader(str(reshard(chain.shards, tmp_path / "shards", wide)))
    found = count_rows(reader)[reader.row(0)["source"]]
    assert found.pictures["wrist", "jpeg", 320, 200] == 1


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_spread_is_what_numpy_says(lengths: list[int]) -> None:
    found = spread(Counter(lengths))
    assert found is not None
    assert found["total"] == sum(lengths)
    assert found["mean"] == pytest.approx(np.mean(lengths))
    for share, q in ((found["p5"], 5), (found["p50"], 50), (found["p95"], 95)):
        assert share == np.percentile(lengths, q, method="inverted_cdf")
