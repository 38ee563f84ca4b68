"""What of each dimension is tokenised: gripper, gain, relative and left-out dims; and statistics that are read in batches."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats
from fasttok.actions.quantiles import FirstReading, SecondReading, Summary, summarize, summary_of
from fasttok.codec.learn_transform import TransformPlan
from fasttok.errors import InputError
from fasttok.evaluation.metrics import measure

RNG = np.random.default_rng(1)
ENCODING = ("absolute", "delta", "gripper")
MOVES = np.cumsum(RNG.normal(0, 0.05, (300, 10, 2)), axis=1)
GRIPS = (np.arange(10)[None] >= RNG.integers(0, 12, (300, 1))).astype(float)
CHUNKS = np.concatenate([MOVES, GRIPS[:, :, None]], axis=2)
STATS = NormStats.fit(CHUNKS.reshape(-1, 3))


def fitted(**options: Any) -> ActionTokenizer:
    what = {"a": Embodiment(10, 3, 10.0, ENCODING, **options)}
    return ActionTokenizer.fit({"a": CHUNKS}, 700, stats={"a": STATS}, embodiments=what)


def test_a_binarized_gripper_decodes_to_its_two_ends() -> None:
    tok = fitted(gripper="binarize")
    noisy = CHUNKS.copy()
    noisy[..., 2] = np.clip(noisy[..., 2] + RNG.uniform(-0.4, 0.4, GRIPS.shape), -0.3, 1.3)
    out = tok.decode(tok.encode(noisy), horizon=10, action_dim=3).actions
    assert np.array_equal(out[..., 2], np.where(noisy[..., 2] > 0.5, 1.0, 0.0))
    assert np.abs(out[..., :2] - CHUNKS[..., :2]).max() < 0.1


def test_an_omitted_gripper_costs_nothing_and_comes_back_as_nan(tmp_path: Path) -> None:
    tok = fitted(gripper="omit")
    tok.save(tmp_path / "tok")
    tok = ActionTokenizer.load(tmp_path / "tok")
    ids = tok.encode(CHUNKS)
    out = tok.decode(ids, horizon=10, action_dim=3)
    assert out.ok.all()
    assert np.isnan(out.actions[..., 2]).all()
    assert np.isfinite(out.actions[..., :2]).all()
    assert sum(map(len, ids)) < sum(map(len, fitted().encode(CHUNKS)))
    for named in ("a", None):  # as decode, which takes the only embodiment where none is named
        assert len(tok.allowed_next([], horizon=10, action_dim=3, embodiment=named)) > 0
        prefix: list[int] = []
        while len(choices := tok.allowed_next(prefix, horizon=10, action_dim=3, embodiment=named)):
            prefix.append(int(choices[len(prefix) % len(choices)]))
        assert tok.decode([prefix], horizon=10, action_dim=3, embodiment=named).ok.all()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.int32, np.float16, np.float32])
@pytest.mark.parametrize("statistics", [True, False])
def test_chunks_of_other_types_are_the_same_numbers_as_floats(dtype: Any, statistics: bool) -> None:
    """An integer's reference is not cut to whole numbers, nor is its gain; differences do not wrap around."""
    ticks: NDArray[Any] = RNG.integers(0, 2, (60, 10, 3)).astype(dtype)
    given: NDArray[Any] = np.asarray(ticks, np.float32 if dtype is np.float32 else np.float64)
    state = given[:, 0] + 0.75
    moved = given - state[:, None]
    stats = {"a": NormStats.fit(moved.reshape(-1, 3))} if statistics else None
    what = {"a": Embodiment(10, 3, relative=(0, 2), gain=(0.5, 1.5, 1.0))}
    tok = ActionTokenizer.fit({"a": moved}, 1000, stats=stats, embodiments=what)
    expected = tok.coefficients(given, reference=state)
    assert np.abs(expected).max() > 5
    assert np.array_equal(tok.coefficients(ticks, reference=state), expected)
    assert measure(tok, ticks, reference=state).rms_normalized == measure(tok, given, reference=state).rms_normalized


@pytest.mark.parametrize("transform", ["dct", "rotation"])
@pytest.mark.parametrize("statistics", [True, False])
def test_chunks_without_a_name_are_those_of_the_only_embodiment(transform: Any, statistics: bool) -> None:
    chunks, stats = CHUNKS[:, :, :2], NormStats.fit(CHUNKS[:, :, :2].reshape(-1, 2)) if statistics else None
    what = {"arm": Embodiment(10, 2, gain=(4.0, 2.0))}
    named = ActionTokenizer.fit(
        {"arm": chunks}, 900, stats=stats and {"arm": stats}, embodiments=what, transform=transform
    )
    for one in (stats, stats and {"arm": stats}):
        tok = ActionTokenizer.fit(chunks, 900, stats=one, embodiments=what, transform=transform)
        assert tok.fingerprint == named.fingerprint
        assert not tok.encode_report(chunks, embodiment="arm").clamped.any()


def test_names_that_a_fit_would_ignore_are_refused() -> None:
    arm, stats = Embodiment(10, 3), {"arm": STATS, "planar": STATS}
    plan = TransformPlan("rotation", {"amr": CHUNKS[:9]})
    with pytest.raises(
        InputError, match=r"several names \(arm, planar\), but the chunks have none; pass \{name: chunks\}"
    ):
        ActionTokenizer.fit(CHUNKS, 700, embodiments={"arm": arm, "planar": arm})
    with pytest.raises(InputError, match=r"several names \(arm, planar\)"):
        ActionTokenizer.fit(CHUNKS, 700, stats=stats)
    with pytest.raises(InputError, match=r"embodiments: unknown embodiment 'planar'.*Known: arm"):
        ActionTokenizer.fit({"arm": CHUNKS}, 700, embodiments={"arm": arm, "planar": arm})
    with pytest.raises(InputError, match=r"chunks: unknown embodiment 'planar'.*Known: arm"):
        ActionTokenizer.fit({"arm": CHUNKS, "planar": CHUNKS}, 700, embodiments={"arm": arm})
    with pytest.raises(
        InputError, match=r"held-out chunks of the transform: unknown embodiment 'amr'.*did you mean 'arm'"
    ):
        ActionTokenizer.fit({"arm": CHUNKS}, 700, stats=stats, transform=plan)


def test_what_leaves_nothing_or_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="every dim is a gripper"):
        Embodiment(10, 2, action_encoding=("gripper", "gripper"), gripper="omit")
    relative = fitted(relative=(0,))
    for reference in ("near", [["near"] * 3], [[0, 0], [0]]):
        with pytest.raises(InputError, match=r"expected \(batch, action_dim\) numbers"):
            relative.encode(CHUNKS[:1], reference=reference)  # type: ignore[arg-type]


def test_gain_divides_a_dims_error() -> None:
    plain, fine = fitted(), fitted(gain=(8.0, 1.0, 1.0))

    def error(tok: ActionTokenizer) -> np.ndarray:
        out = tok.decode(tok.encode(CHUNKS), horizon=10, action_dim=3).actions
        return np.sqrt(((out - CHUNKS) ** 2).mean((0, 1)))

    assert error(fine)[0] < error(plain)[0] / 5
    assert np.allclose(error(fine)[1:], error(plain)[1:])
    with pytest.raises(InputError, match="gain"):
        Embodiment(10, 3, gain=(1.0, -1.0, 1.0))


def test_relative_dims_need_and_use_their_reference() -> None:
    what = {"a": Embodiment(10, 3, 10.0, ENCODING, relative=(0,))}
    start = RNG.normal(0, 5, (300, 3))
    moved = CHUNKS.copy()
    moved[..., 0] += start[:, None, 0]
    tok = ActionTokenizer.fit({"a": CHUNKS}, 700, stats={"a": STATS}, embodiments=what)
    ids = tok.encode(moved, reference=start)
    assert [i.tolist() for i in ids] == [i.tolist() for i in fitted().encode(CHUNKS)]
    out = tok.decode(ids, horizon=10, action_dim=3, reference=start)
    assert np.abs(out.actions - moved).max() < 0.5
    one = tok.decode(ids[:1], horizon=10, action_dim=3, reference=start[0]).actions
    assert np.array_equal(one[0], out.actions[0])
    for bad, says in ((None, "pass reference="), (start[:2], "shape"), (np.full((300, 3), np.nan), "NaN")):
        with pytest.raises(InputError, match=says):
            tok.encode(moved, reference=bad)


def merged(parts: list[np.ndarray], shares: list[float]) -> Summary:
    """As many workers count: each its own rows, the second time in more bins than are wanted."""
    dims = parts[0].shape[1]
    firsts = [FirstReading.empty(dims) for _ in parts]
    for first, part in zip(firsts, parts, strict=True):
        first.add(part)
    total = FirstReading.empty(dims)
    for first in firsts:
        total.merge(first)
    bins = np.concatenate([total.bins(shares), np.full((dims, 1), 7), total.bins([0.5])], axis=1)
    second = SecondReading.empty(total.bins(shares))
    for part in parts:
        own = SecondReading.empty(bins)
        own.add(part)
        second.take(own)
    return summary_of(total, second, shares)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 400),
    dims=st.integers(1, 4),
    kind=st.sampled_from(["normal", "tiny", "few", "huge"]),
)
def test_summaries_are_numpys(seed: int, n: int, dims: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x = {
        "normal": rng.normal(size=(n, dims)),
        "tiny": rng.normal(size=(n, dims)) * 1e-40,
        "few": rng.integers(-2, 3, (n, dims)) * 0.5,
        "huge": rng.normal(size=(n, dims)) * 1e30,
    }[kind].astype(np.float32)
    cuts = np.sort(rng.integers(0, n + 1, 3))
    found = summarize(lambda: np.split(x, cuts), [0.0, 0.01, 0.37, 0.99, 1.0])
    wide = x.astype(np.float64)
    assert np.array_equal(found.quantiles, np.quantile(wide, [0.0, 0.01, 0.37, 0.99, 1.0], axis=0))
    assert np.array_equal(found.min, wide.min(0))
    assert np.array_equal(found.max, wide.max(0))
    exact = [[Fraction(float(v)) for v in column] for column in wide.T]
    means = [sum(column) / n for column in exact]
    assert found.mean.tolist() == [float(mean) for mean in means]
    squares = [float(sum((v - m) ** 2 for v in column) / n) for column, m in zip(exact, means, strict=True)]
    assert found.std.tolist() == [square**0.5 for square in squares]
    assert found.count == n
    other = rng.permutation(x)
    again = summarize(lambda: np.array_split(other, 7), [0.0, 0.01, 0.37, 0.99, 1.0])
    for name in ("mean", "std", "min", "max", "quantiles"):
        assert getattr(again, name).tobytes() == getattr(found, name).tobytes(), name
    apart = merged(np.array_split(other, 3), [0.0, 0.01, 0.37, 0.99, 1.0])
    for name in ("mean", "std", "min", "max", "quantiles"):
        assert getattr(apart, name).tobytes() == getattr(found, name).tobytes(), name


def test_openpis_norm_stats_are_read_and_ours_are_theirs(tmp_path: Path) -> None:
    """openpi: {"norm_stats": {"state": {mean, std, q01, q99}, "actions": {...}}}."""
    tok = fitted()
    tok.save(tmp_path / "tok")
    file = tmp_path / "tok" / "norm_stats.json"
    ours = json.loads(file.read_text())["norm_stats"]
    assert set(ours) == {"actions"}
    assert {"mean", "std", "q01", "q99"} <= set(ours["actions"])
    theirs = {"actions": {key: ours["actions"][key] for key in ("mean", "std", "q01", "q99")}}
    file.write_text(json.dumps({"norm_stats": theirs}))
    again = ActionTokenizer.load(tmp_path / "tok")
    assert np.array_equal(again.stats["a"].normalize(CHUNKS), tok.stats["a"].normalize(CHUNKS))
    two = ActionTokenizer.fit({"a": CHUNKS, "b": CHUNKS}, 400, stats={"a": STATS, "b": STATS})
    two.save(tmp_path / "two")
    assert set(json.loads((tmp_path / "two" / "norm_stats.json").read_text())["norm_stats"]) == {
        "a/actions",
        "b/actions",
    }
    assert set(ActionTokenizer.load(tmp_path / "two").stats) == {"a", "b"}
