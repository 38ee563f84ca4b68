"""What `fasttok eval` measures: the entropy floor, shared tokens, error after the first tokens, the place among other fits."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok import ActionTokenizer
from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats
from fasttok.cli import main
from fasttok.codec.learn_transform import TransformPlan
from fasttok.codec.spline import SplineConfig
from fasttok.episodes import Episode
from fasttok.episodes.index import NUMBERED
from fasttok.evaluation.entropy_floor import Coded, entropy_floor
from fasttok.evaluation.metrics import measure
from fasttok.evaluation.partial_curve import partial_curve
from fasttok.evaluation.rate_distortion import error_by_frequency, own_points
from fasttok.evaluation.shared_tokens import compare, in_order, shared_tokens

RNG = np.random.default_rng(0)
NO_IDS = np.zeros(1, np.int32)


def call(*words: str | Path | int | float) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def coded(coefs: np.ndarray) -> Coded:
    return Coded(coefs.astype(np.int64), [NO_IDS] * len(coefs))


def test_the_floor_of_known_distributions_is_their_entropy() -> None:
    """Each place has its own: 0, 1, 2 and log2(3) bits."""
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, count, (6000, 2)) for count in (1, 2, 4, 3)]
    coefs = np.stack(columns, axis=-1).reshape(2, 6000, 2, 2)
    floor = entropy_floor(1024, coded(coefs[0]), coded(coefs[1]))
    assert floor.places == pytest.approx(3 + np.log2(3), rel=0.02)
    ids = rng.integers(0, 64, (4000, 5)).astype(np.int32)
    zeros = np.zeros((4000, 1, 1), np.int64)
    floor = entropy_floor(1024, Coded(zeros, [*ids]))
    assert floor.ids == pytest.approx(5 * 6, rel=0.02)
    assert floor.bits == min(floor.ids, floor.places, floor.neighbours)
    assert floor.fewest_ids == pytest.approx(floor.bits / 10)


def test_a_coder_that_sees_neighbours_knows_loud_chunks_from_quiet_ones() -> None:
    loud = RNG.integers(0, 2, (4000, 1, 1))
    coefs = np.round(RNG.laplace(0, 1, (4000, 8, 2)) * np.where(loud, 20, 0.2))
    floor = entropy_floor(1024, coded(coefs[:2000]), coded(coefs[2000:]))
    assert floor.neighbours < 0.9 * floor.places


def test_without_other_chunks_none_is_measured_by_what_it_taught() -> None:
    """Values that occur once cannot be foreseen: a model of the very same chunks would call them frequent."""
    coefs = RNG.permutation(20_000)[:2000].reshape(500, 2, 2)
    apart, same = entropy_floor(1024, coded(coefs)), entropy_floor(1024, coded(coefs), coded(coefs))
    assert apart.places > same.places + 4
    assert apart.places >= 4 * np.log2(2000)
    assert np.isfinite(entropy_floor(1024, coded(coefs[:1])).bits)


@given(st.lists(st.integers(0, 3), max_size=70), st.lists(st.integers(0, 3), max_size=12))
def test_the_longest_common_subsequence(one: list[int], other: list[int]) -> None:
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert in_order(one, other) == in_order(other, one) == table[-1, -1]


def test_pairs_are_one_step_apart_in_one_episode() -> None:
    """Chunks begin at each step's own number; frames left out between two steps part them."""
    episodes = [
        Episode({"action": np.arange(100.0 * i, 100.0 * i + 6)[:, None]}, {"control_hz": 10.0}) for i in range(4)
    ]
    episodes[1].metadata[NUMBERED] = np.array([0, 1, 2, 10, 11, 12])
    with Dataset(episodes, ChunkConfig(horizon=3), every=True) as data:
        (group,) = data.groups.values()
        (before, near), (after, _) = group.neighbours("held_out", 1000)
        few = group.neighbours("held_out", 3)
    assert near is None
    firsts = {(float(a), float(b)) for a, b in zip(before[:, 0, 0], after[:, 0, 0], strict=True)}
    assert firsts == {(100.0 * i + t, 100.0 * i + t + 1) for i in range(4) for t in range(5)} - {(102.0, 103.0)}
    assert [len(chunks) for chunks, _ in few] == [3, 3]


def test_an_arm_that_stands_still_shares_all_its_tokens() -> None:
    still = [Episode({"action": np.full((9, 2), 0.5 * i)}, {"control_hz": 10.0}) for i in range(2)]
    single = [Episode({"action": np.ones((1, 2))}, {"control_hz": 10.0})]
    tok = ActionTokenizer.fit(np.linspace(-1, 1, 600).reshape(50, 6, 2), 256)
    for episodes, expected in ((still, 1.0), (single, None)):
        with Dataset(episodes, ChunkConfig(horizon=6), every=True) as data:
            (group,) = data.groups.values()
            found = shared_tokens(tok, group, None)
        assert (None if found is None else found.share) == expected
    found = compare([np.array([1, 2, 3])] * 4, [np.array([9, 1, 3])] * 4)
    assert (found.beginning, found.in_order, found.same, found.unrelated) == (0, 2, 0, 2)


def test_the_error_of_a_relative_tokenizer_that_clips_is_seen() -> None:
    """References far from 0 once lay outside the range of the statistics, and clipping hid every error there."""
    chunks = np.clip(np.cumsum(RNG.normal(0, 0.15, (200, 10, 1)), axis=1), -1, 1)
    stats = NormStats.fit(chunks.reshape(-1, 1), clip=True)
    tok = ActionTokenizer.fit(
        {"a": chunks}, 300, 2.0, stats={"a": stats}, embodiments={"a": Embodiment(10, 1, relative=(0,))}
    )
    here, there = (measure(tok, chunks + far, "a", np.full((200, 1), far)).rms_normalized for far in (0.0, 50.0))
    assert there == pytest.approx(here, rel=1e-6)
    assert here > 0.01
    curve = partial_curve(tok, chunks + 50.0, "a", np.full((200, 1), 50.0))
    assert curve[-1].rms == pytest.approx(here, rel=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve episodes, and a tokenizer whose scale and size are none of those that are always tried."""
    out = tmp_path_factory.mktemp("evaluation")
    (out / "data").mkdir()
    for number in range(12):
        walk = np.sin(np.cumsum(RNG.normal(0, 0.3, (60, 3)), axis=0))
        np.savez(out / "data" / f"{number}.npz", action=walk)
    assert call("fit", out / "data", "--out", out / "tok", "--horizon", 10, "--vocab-size", 600, "--scale", 12) == 0
    return out


def test_json_says_all_that_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call("eval", folder / "tok", folder / "data", "--sweep", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (numbers,) = found["embodiments"].values()
    assert numbers["fast_tokens_p50"] <= numbers["fast_tokens_p99"] <= numbers["fast_tokens_max"]
    floor = numbers["entropy_floor"]
    assert 0 < floor["fewest_ids"] < numbers["fast_tokens"]
    assert floor["bits"] == pytest.approx(floor["fewest_ids"] * np.log2(600))
    assert floor["says"]
    shared = numbers["neighbouring_steps"]
    assert 0 <= shared["beginning"] <= shared["in_order"] <= shared["tokens"]
    partial = numbers["partial"]
    errors = [point["rms"] for point in partial]
    assert errors == sorted(errors, reverse=True)
    assert partial[-1]["rms"] == pytest.approx(numbers["rms_normalized"])
    assert partial[-1]["tokens"] == pytest.approx(numbers["fast_tokens"])
    (own,) = found["this_tokenizer"]
    assert (own["scale"], own["vocab_size"]) == (12, 600)
    (alike,) = [p for p in found["sweep"] if (p["scale"], p["vocab_size"]) == (12, 600)]
    assert own["tokens"] == pytest.approx(alike["tokens"]), "a fit of the same data is on its own curve"
    assert own["rms"] == pytest.approx(alike["rms"])


@pytest.mark.parametrize("transform", ["dct", "rotation"])
def test_clamped_coefficients_count_in_every_error(transform: Any) -> None:
    """Held-out chunks that go further than the fit's: the error is that of decoding, not of rounding alone."""
    walks = np.cumsum(np.random.default_rng(3).normal(0, 0.05, (200, 10, 3)), axis=1)
    tok, far = ActionTokenizer.fit(walks[:100], 600, transform=transform), 4 * walks[100:]
    metrics = measure(tok, far)
    assert metrics.clamped > 0
    (own,) = own_points(tok, {"": far})
    assert own.rms == pytest.approx(metrics.rms_normalized, rel=1e-9)
    assert own.tokens == metrics.fast_tokens


def test_the_page_and_the_tables_show_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "eval.html"
    assert call("eval", folder / "tok", folder / "data", "--html", page, "--overwrite") == 0
    printed = capsys.readouterr()
    for title in ("Entropy floor", "Tokens that neighbouring steps share", "Partial decoding", "Length of chunks"):
        assert title in printed.out
        assert title in page.read_text()
    assert "max_token_len" in printed.err
    assert "A native fit of 600 ids on this data needs" in printed.err
    drawn = page.read_text()
    assert len(re.findall(r'<circle class="mark"', drawn)) == 1


def test_data_that_no_fit_has_seen_has_a_floor_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call("eval", folder / "tok", folder / "data", "--all", "--json") == 0
    (numbers,) = json.loads(capsys.readouterr().out)["embodiments"].values()
    assert 0 < numbers["entropy_floor"]["fewest_ids"] < numbers["fast_tokens"]


def test_a_glitch_costs_tens_of_bits() -> None:
    coefs = np.zeros((200, 4, 2))
    coefs[100, 3, 1] = 30_000
    quiet = entropy_floor(1024, coded(np.zeros((200, 4, 2))))
    floor = entropy_floor(1024, coded(coefs))
    assert 0 < 200 * (floor.places - quiet.places) < 120


@pytest.mark.parametrize("mode", ["native", "published", "fixed"])
def test_the_error_by_frequency_is_that_of_the_tokenizer(mode: Any) -> None:
    chunks = np.cumsum(RNG.normal(0, 0.1, (200, 10, 3)), axis=1)
    plan = TransformPlan("dct", {}, SplineConfig(4, 3))
    tok = ActionTokenizer.fit(chunks, 400, mode=mode, transform=plan if mode == "fixed" else "dct")
    back = tok.decode(tok.encode(chunks), horizon=10, action_dim=3).actions
    error = error_by_frequency(tok, chunks, "")
    assert error.shape == (10,)
    assert np.sqrt((error**2).mean()) == pytest.approx(np.sqrt(((back - chunks) ** 2).mean()))
