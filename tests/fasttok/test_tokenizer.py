"""ActionTokenizer: lossless over its range, exact shapes, clear refusals, decoding that never leaves the rails."""

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok import ActionTokenizer
from fasttok.actions.chunks import chunk_at, episode_chunks
from fasttok.actions.normalize import NormStats
from fasttok.errors import InputError
from fasttok.tokenizer import ClampWarning

RNG = np.random.default_rng(0)
SMOOTH = np.clip(np.cumsum(RNG.normal(0, 0.15, (300, 12, 3)), axis=1), -1, 1)


@pytest.fixture(scope="module")
def tok() -> ActionTokenizer:
    return ActionTokenizer.fit(SMOOTH, vocab_size=400)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(1, 1), (200, 1), (1, 64), (200, 64), (13, 7)]),
    dtype=st.sampled_from(["f2", "f4", "f8", "i2", "bool"]),
    masked=st.booleans(),
    mode=st.sampled_from(["quantile", "mean_std", "min_max", "none"]),
)
def test_extreme_shapes_dtypes_and_masks(
    seed: int, shape: tuple[int, int], dtype: str, masked: bool, mode: Any
) -> None:
    """What goes in comes out, to the rounding of the scale and the normaliser's range."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (2, *shape)) if dtype.startswith("f") else rng.integers(0, 2, (2, *shape))
    x = x.astype(dtype)
    mask = np.arange(shape[1]) % 2 == 0 if masked else None
    stats = NormStats.fit(x.reshape(-1, shape[1]), mode, mask)
    tok = ActionTokenizer.fit(x, vocab_size=4000, stats=stats)
    out = tok.decode(tok.encode(x, on_range="raise"), horizon=shape[0], action_dim=shape[1])
    assert out.ok.all()
    error = np.sqrt(((stats.normalize(out.actions) - stats.normalize(x.astype(float))) ** 2).sum(axis=1))
    assert error.max() <= 0.5 / tok.scale * np.sqrt(shape[0]) * 1.001 + (0.01 if dtype == "f2" else 1e-6)


@pytest.fixture(scope="module")
def two() -> ActionTokenizer:
    """Two embodiments with statistics of their own in one vocabulary."""
    groups = {"a": SMOOTH * 3 + 1, "b": SMOOTH[:, :5, :2] * 0.01}
    stats = {name: NormStats.fit(x.reshape(-1, x.shape[-1])) for name, x in groups.items()}
    return ActionTokenizer.fit(groups, vocab_size=500, stats=stats)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), horizon=st.integers(1, 40), dims=st.integers(1, 16), dtype=st.sampled_from(["f4", "f8"])
)
def test_round_trip_of_any_shape(seed: int, horizon: int, dims: int, dtype: str) -> None:
    """Decoding gives back the rounded coefficients: within half a step of the scale in each."""
    x = np.random.default_rng(seed).uniform(-1, 1, (4, horizon, dims)).astype(dtype)
    tok = ActionTokenizer.fit(x, vocab_size=1200)
    ids = tok.encode(x)
    out = tok.decode(ids, horizon=horizon, action_dim=dims)
    assert out.ok.all()
    assert out.actions.shape == x.shape
    error = np.sqrt(((out.actions - x) ** 2).sum(axis=1))  # orthonormal DCT: the error's norm is the coefficients'
    assert error.max() <= 0.5 / tok.scale * np.sqrt(horizon) + 1e-9
    assert [i.tolist() for i in tok.encode(out.actions)] == [i.tolist() for i in ids]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i2", "i4"])
def test_the_byte_order_of_chunks_and_a_row_of_no_ids_change_nothing(tok: ActionTokenizer, dtype: str) -> None:
    chunks = SMOOTH[:20].astype(dtype)
    swapped = chunks.astype(chunks.dtype.newbyteorder(">"))
    assert [row.tolist() for row in tok.encode(swapped)] == [row.tolist() for row in tok.encode(chunks)]
    assert ActionTokenizer.fit(swapped, 400).fingerprint == ActionTokenizer.fit(chunks, 400).fingerprint
    rows = [*tok.encode(chunks[:2]), np.array([])]  # NumPy makes floats of an empty list
    for batch in (rows, rows[::-1], rows[-1:]):
        found = tok.decode(batch, horizon=12, action_dim=3, on_error="mask")
        assert found.ok.tolist() == [len(row) > 0 for row in batch]
        assert found.errors[found.ok.tolist().index(False)] == "0 coefficients, expected 36"


def test_native_fit_covers_what_it_never_saw(tok: ActionTokenizer) -> None:
    """Any normalised chunk can be encoded, whatever the fit saw."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (np.ones((12, 3)), -np.ones((12, 3)), RNG.uniform(-1, 1, (12, 3)), np.sign(RNG.normal(size=(12, 3)))):
            assert tok.decode(tok.encode(x), horizon=12, action_dim=3).ok.all()


def test_outside_the_range_is_clamped_and_said(tok: ActionTokenizer) -> None:
    wild = SMOOTH[:2].copy()
    wild[1] *= 50
    with pytest.warns(ClampWarning, match="in chunk 1"):
        ids = tok.encode(wild)
    report = tok.encode_report(wild)
    assert (report.clamped > 0).tolist() == [False, True]
    assert [i.tolist() for i in report.ids] == [i.tolist() for i in ids]
    with pytest.raises(InputError, match="in chunk 1"):
        tok.encode(wild, on_range="raise")


@pytest.mark.parametrize("mode", ["native", "published"])
@pytest.mark.parametrize("scale", [1e-300, 1e-3, 0.1])
def test_a_scale_that_rounds_everything_to_0_is_refused(mode: Any, scale: float) -> None:
    """Before, the fit saved a tokenizer that gave every chunk the same tokens."""
    with pytest.raises(InputError, match=r"rounds every coefficient of these actions to 0.*larger one"):
        ActionTokenizer.fit(SMOOTH, vocab_size=400, scale=scale, mode=mode)
    # A robot that stands still is not a fault of the scale.
    still = ActionTokenizer.fit(np.zeros((4, 12, 3)), vocab_size=400, mode=mode)
    assert not still.decode(still.encode(np.zeros((1, 12, 3))), horizon=12, action_dim=3).actions.any()


def test_nan_is_refused_with_its_place(tok: ActionTokenizer) -> None:
    bad = SMOOTH[:3].copy()
    bad[2, 7, 1] = np.nan
    with pytest.raises(InputError, match=r"2.*7.*1"):
        tok.encode(bad)
    with pytest.raises(InputError):
        ActionTokenizer.fit(bad)


def test_random_ids_never_leave_the_range(tok: ActionTokenizer) -> None:
    """Garbage decodes, under every policy, to actions that the coefficient range allows, or to NaN where asked."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, tok.vocab_size, rng.integers(0, 60)) for _ in range(200)]
    bound = max(abs(tok.min_token), tok.max_token or 0) / tok.scale * 36**0.5 + 1e-9
    out = tok.decode(rows, horizon=12, action_dim=3, on_error="pad")
    assert np.isfinite(out.actions).all()
    assert np.abs(out.actions).max() <= bound
    masked = tok.decode(rows, horizon=12, action_dim=3, on_error="mask")
    assert np.array_equal(np.isnan(masked.actions).all(axis=(1, 2)), ~masked.ok)
    held = tok.decode(rows, horizon=12, action_dim=3, on_error="hold", hold=np.array([0.1, 0.2, 0.3]))
    assert np.allclose(held.actions[~held.ok], [0.1, 0.2, 0.3])
    assert all(bool(error) == (not ok) for error, ok in zip(out.errors, out.ok, strict=True))
    with pytest.raises(InputError, match="row 0"):
        tok.decode([[tok.vocab_size + 5]], horizon=12, action_dim=3)


@pytest.mark.parametrize("hold", [np.zeros(2), np.zeros((4, 3)), "rest", [[0.0], [1.0, 2.0]]])
def test_an_action_to_hold_of_another_shape_is_refused_before_a_row_fails(tok: ActionTokenizer, hold: Any) -> None:
    ids = tok.encode(np.zeros((2, 12, 3)))
    with pytest.raises(InputError, match=r"decode: hold .*\(3,\) or \(2, 3\)"):
        tok.decode(ids, horizon=12, action_dim=3, on_error="hold", hold=hold)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["native", "published", "wide", "FAST+"])
def test_every_walk_through_allowed_next_decodes(what: str, request: pytest.FixtureRequest) -> None:
    """10,000 random walks, none of which may fail; the wide fit has ids that end inside a character."""
    if what == "FAST+":
        walker = ActionTokenizer.load(request.getfixturevalue("shared_data") / "fast" / "universal")
    elif what == "wide":
        walker = ActionTokenizer.fit(SMOOTH, vocab_size=1500, scale=100, mode="published")
    else:
        walker = ActionTokenizer.fit(SMOOTH, vocab_size=400, mode=what)  # type: ignore[arg-type]
    rng = np.random.default_rng(2)
    for number in range(2500 if what == "wide" else 10_000):
        horizon, dims = ((12, 3), (1, 1), (2, 5))[number % 3]
        ids: list[int] = []
        while len(choices := walker.allowed_next(ids, horizon=horizon, action_dim=dims)):
            ids.append(int(rng.choice(choices)))
        out = walker.decode([ids], horizon=horizon, action_dim=dims, on_error="mask")
        assert out.ok.all(), (ids, out.errors)


def test_allowed_next_refuses_what_cannot_be_completed(tok: ActionTokenizer) -> None:
    """And says why."""
    ids = tok.encode(SMOOTH[0])[0].tolist()
    assert len(tok.allowed_next(ids, horizon=12, action_dim=3)) == 0
    with pytest.raises(InputError, match="36"):
        tok.allowed_next([*ids, ids[0]], horizon=12, action_dim=3)
    with pytest.raises(InputError, match="outside the vocabulary"):
        tok.allowed_next([10**6], horizon=12, action_dim=3)
    published = ActionTokenizer.fit(SMOOTH, vocab_size=1500, scale=100, mode="published")
    lone = next(i for i, piece in enumerate(published.bpe.pieces) if piece[0] & 0xC0 == 0x80)
    with pytest.raises(InputError, match="no coefficients"):
        published.allowed_next([lone], horizon=12, action_dim=3)


def test_save_and_load_are_the_same_tokenizer(two: ActionTokenizer, tmp_path: Path) -> None:
    two.save(tmp_path / "tok")
    loaded = ActionTokenizer.load(tmp_path / "tok")
    assert loaded.fingerprint == two.fingerprint
    chunk = SMOOTH[:5] * 3 + 1
    assert [i.tolist() for i in loaded.encode(chunk, embodiment="a")] == [
        i.tolist() for i in two.encode(chunk, embodiment="a")
    ]
    with pytest.raises(InputError, match="overwrite"):
        two.save(tmp_path / "tok")
    (tmp_path / "tok" / "processor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"processor_config\.json"):
        ActionTokenizer.load(tmp_path / "tok")
    with pytest.raises(InputError):
        ActionTokenizer.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format_version": 4}, "written by a newer fasttok"),
        ({"format_version": 3}, r"vocabulary\.json is missing"),
        ({"format_version": 1}, "format version 1"),
        ({"gripper": "keep"}, r"processor_config\.json: fasttok: unknown key \$\.gripper"),
        ({"max_token": "high"}, r"processor_config\.json: fasttok: .*\$\.max_token"),
        ({"embodiments": {"a": {"action_dim": 3}}}, r"missing required field `horizon`"),
        ({"embodiments": {"a": {"action_dim": 3, "horizon": 1, "gripper": "open"}}}, r"gripper"),
    ],
)
def test_our_block_of_the_folder_is_checked(
    two: ActionTokenizer, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    two.save(tmp_path / "tok")
    file = tmp_path / "tok" / "processor_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"fasttok": config["fasttok"] | change}))
    with pytest.raises(InputError, match=says):
        ActionTokenizer.load(tmp_path / "tok")
    file.write_text(json.dumps(config | {"a key of another processor": 1}))
    assert ActionTokenizer.load(tmp_path / "tok").fingerprint == two.fingerprint


def test_a_published_folder_can_be_given_its_range(shared_data: Path) -> None:
    """FAST+ does not say its largest coefficient; random tokens then decode to anything that UTF-8 can hold."""
    folder = shared_data / "fast" / "universal"
    wide, bounded = ActionTokenizer.load(folder), ActionTokenizer.load(folder, max_token=354)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, 40) for _ in range(2000)]
    largest = [np.abs(t.decode(rows, horizon=2, action_dim=2, on_error="pad").actions).max() for t in (wide, bounded)]
    assert largest[0] > 100
    assert largest[1] <= 35.4 * 2
    assert [i.tolist() for i in bounded.encode(SMOOTH)] == [i.tolist() for i in wide.encode(SMOOTH)]


def test_embodiments_have_their_own_units(two: ActionTokenizer) -> None:
    small = SMOOTH[:4, :5, :2] * 0.01
    out = two.decode(two.encode(small, embodiment="b"), horizon=5, action_dim=2, embodiment="b")
    assert np.abs(out.actions - small).max() < 0.003
    with pytest.raises(InputError, match="several embodiments"):
        two.encode(small)
    with pytest.raises(InputError, match="embodiment"):
        two.encode(small, embodiment="c")
    with pytest.raises(InputError, match="2 dims"):
        two.decode([[0]], horizon=5, action_dim=3, embodiment="b")


def test_decoding_from_threads(tok: ActionTokenizer) -> None:
    """Two shapes at once: nothing is remembered between calls."""
    ids = tok.encode(SMOOTH[:50])
    expected = tok.decode(ids, horizon=12, action_dim=3).actions
    failures: list[str] = []

    def work(horizon: int, dims: int) -> None:
        for _ in range(10):
            if not np.array_equal(
                tok.decode(ids, horizon=horizon, action_dim=dims).actions.reshape(-1), wanted[horizon]
            ):
                failures.append(f"{horizon} x {dims}")

    wanted = {12: expected.reshape(-1), 36: tok.decode(ids, horizon=36, action_dim=1).actions.reshape(-1)}
    threads = [threading.Thread(target=work, args=shape) for shape in ((12, 3), (36, 1)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_encoding_from_threads(tok: ActionTokenizer) -> None:
    """One tokenizer, fresh so that its tables are built by several threads at once."""
    fresh = ActionTokenizer.fit(SMOOTH, vocab_size=400)
    expected = [row.tolist() for row in tok.encode(SMOOTH)]
    found: list[list[list[int]]] = []
    threads = [
        threading.Thread(target=lambda: found.append([r.tolist() for r in fresh.encode(SMOOTH)])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6


@given(
    step=st.integers(0, 9),
    horizon=st.integers(1, 30),
    encoding=st.lists(st.sampled_from(["absolute", "delta", "gripper"]), min_size=2, max_size=2),
)
def test_chunks_pad_as_they_should(step: int, horizon: int, encoding: list[str]) -> None:
    actions = np.arange(1.0, 21.0).reshape(10, 2)
    chunk, real = chunk_at(actions, step, horizon, encoding)
    assert real == min(horizon, 10 - step)
    assert np.array_equal(chunk[:real], actions[step : step + real])
    for dim, kind in enumerate(encoding):
        assert (chunk[real:, dim] == (0 if kind == "delta" else actions[-1, dim])).all()
    assert np.array_equal(episode_chunks(actions, horizon, encoding)[step], chunk)


@pytest.mark.parametrize("mode", ["quantile", "min_max", "mean_std"])
def test_norm_stats_invert(mode: str) -> None:
    x = RNG.normal(2.0, 3.0, (500, 3))
    x[:, 2] = 5.0  # a dim that never moves
    stats = NormStats.fit(x, mode=mode)  # type: ignore[arg-type]
    assert np.allclose(stats.unnormalize(stats.normalize(x)), x)
    assert np.isfinite(stats.normalize(x)).all()
    assert np.array_equal(NormStats.from_json(stats.to_json()).normalize(x), stats.normalize(x))
    with pytest.raises(InputError):
        stats.normalize(np.zeros((4, 5)))
