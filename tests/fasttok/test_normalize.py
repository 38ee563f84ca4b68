"""Statistics: what each dim is normalised by, that it can be undone, and what the file says to us and to others."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.channels import Channels
from fasttok.actions.embodiment import Embodiment
from fasttok.cli.fit import Fit
from fasttok.episodes import Episode
from fasttok.episodes.episode import Where
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig, exceptions, fit_tokenizer

FITS = ("quantile", "min_max", "mean_std")


def smooth(steps: int, dims: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(np.sin(np.arange(steps)[:, None] * rng.uniform(0.05, 0.5, dims) + rng.uniform(0, 6, dims)) / 2)


def episodes(noise: float = 0.0, rare: int = 4, size: float = 1.0) -> list[Episode]:
    """40 of 100 steps; dim 6 is 0 but for `rare` steps in every fourth."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(40):
        x = smooth(100, 7, i)
        x[:, 6] = rng.normal(0, noise, 100) if noise else 0
        if i % 4 == 3:
            x[50 : 50 + rare, 6] += size
        metadata: Any = {"embodiment": "arm", "control_hz": 10.0, "action_encoding": ["absolute"] * 7}
        found.append(
            Episode({"action": x.astype(np.float32), "proprio": x.astype(np.float32)}, metadata, Where(f"e{i}"))
        )
    return found


@pytest.mark.parametrize(
    ("noise", "rare", "size"), [(0, 3, 1.0), (1e-4, 3, 1.0), (0, 1, 1.0), (1e-6, 3, 1e-2), (0, 3, -3e-9)]
)
def test_a_dim_that_seldom_moves_is_not_erased(noise: float, rare: int, size: float) -> None:
    data = episodes(noise, rare, size)
    tok, report = fit_tokenizer(data, FitConfig(horizon=10))
    whole = np.asarray(data[3].steps["action"])
    x = whole[48:58]
    done = tok.encode_report(x)
    back = tok.decode(done.ids, horizon=10, action_dim=7)
    assert back.ok.all()
    assert not done.clamped.any()
    assert np.abs(back.actions[0, :, 6] - x[:, 6]).max() < 0.3 * abs(size)
    assert tok.stats["arm"].normalized_by == ("quantile",) * 6 + ("min_max",)
    assert tok.state_stats["arm"].normalized_by[6] == "min_max"
    assert report.metrics["arm"].normalized_by[6] == "min_max"
    assert exceptions(tok) == ["arm: action dim 6 by min..max", "arm: state dim 6 by min..max"]
    state = tok.state_stats["arm"].normalize(whole)[:, 6]
    assert np.ptp(state) > 1.9
    assert abs(state).max() < 1.01


def test_one_glitch_does_not_decide_a_range() -> None:
    x = smooth(4000, 2)
    x[1000, 1] = 1e6
    assert NormStats.fit(x).normalized_by == ("quantile", "quantile")
    heavy = np.random.default_rng(0).standard_t(3, (20_000, 1))
    assert NormStats.fit(heavy).normalized_by == ("quantile",)


@pytest.mark.parametrize("mode", FITS)
@pytest.mark.parametrize("power", [-30, -12, -9, -6, 0, 6, 30])
def test_small_and_large_units_are_as_good(mode: Any, power: int) -> None:
    x = smooth(1000, 3) * 10.0**power
    stats = NormStats.fit(x, mode=mode)
    if power > -13:
        assert stats.normalized_by == (mode,) * 3
        assert np.ptp(stats.normalize(x), axis=0).min() > 1.9
        assert np.allclose(stats.unnormalize(stats.normalize(x)), x, rtol=1e-12, atol=1e-12 * 10.0**power)


@st.composite
def columns(draw: st.DrawFn) -> np.ndarray:
    """(n, D): dims that move, seldom move, tremble and jump, or never move; of any unit and offset."""
    n, seed = draw(st.integers(1, 600)), draw(st.integers(0, 10**6))
    rng, found = np.random.default_rng(seed), []
    for kind in draw(st.lists(st.sampled_from(["moves", "seldom", "trembles", "still"]), min_size=1, max_size=4)):
        x = {
            "moves": rng.normal(size=n),
            "seldom": (rng.random(n) < 0.005) * 1.0,
            "trembles": rng.normal(0, 1e-4, n) + (rng.random(n) < 0.008),
            "still": np.zeros(n),
        }[kind]
        found.append(x * 10.0 ** draw(st.integers(-10, 10)) + draw(st.sampled_from([0.0, 1.0, -1000.0, 1e-3])))
    return np.stack(found, axis=1)


@given(
    x=columns(),
    mode=st.sampled_from([*FITS, "none"]),
    narrow=st.booleans(),
    constants=st.sampled_from(["zero", "low"]),
    streamed=st.booleans(),
)
def test_normalisation_is_undone_and_read_back(
    x: np.ndarray, mode: Any, narrow: bool, constants: Any, streamed: bool
) -> None:
    if narrow or streamed:
        x = x.astype(np.float32)
    fit = (
        NormStats.of(lambda: [x], mode, constants=constants)
        if streamed
        else NormStats.fit(x, mode, constants=constants)
    )
    normal = fit.normalize(x)
    assert np.isfinite(normal).all()
    share = 1e-6 if x.dtype == np.float32 else 1e-12
    assert (np.abs(fit.unnormalize(normal).astype(float) - x) <= share * np.abs(x).max(0)).all()
    assert not fit.erased
    again = NormStats.from_json(json.loads(json.dumps(fit.to_json())))
    assert again.normalized_by == fit.normalized_by
    for name in ("mean", "std", "min", "max", "q01", "q99", "mask"):
        assert getattr(again, name).tobytes() == getattr(fit, name).tobytes(), name
    assert again.normalize(x).tobytes() == normal.tobytes()
    assert again.to_json() == fit.to_json()
    if mode != "none":  # what openpi makes of q01 and q99
        low, high = (np.array(fit.to_json()[key]) for key in ("q01", "q99"))
        wide = np.ptp(x, axis=0) == 0
        wide |= high - low > 1e-2
        theirs = (x.astype(float) - low) / (high - low + 1e-6) * 2 - 1
        assert np.allclose(theirs[:, wide], normal[:, wide], rtol=1e-3, atol=1e-3)


def test_constants_are_theirs_if_asked() -> None:
    """Openpi: (x - q01) / (q99 - q01 + 1e-6) * 2 - 1; lerobot: the same, 1e-8 only where the range is 0."""
    x = smooth(900, 3)
    x[:, 1] = 0.25
    ours, low = NormStats.fit(x), NormStats.fit(x, constants="low")
    assert (ours.normalize(x)[:, 1] == 0).all()
    assert (low.normalize(x)[:, 1] == -1).all()
    assert (low.unnormalize(np.ones((1, 3)))[:, 1] == 0.25).all()
    chunks = x.reshape(90, 10, 3)
    for stats in (ours, low):
        tok = ActionTokenizer.fit(chunks, 400, stats=stats)
        entry = stats.to_json()
        q01, q99 = np.array(entry["q01"]), np.array(entry["q99"])
        theirs = (chunks - q01) / (q99 - q01 + 1e-6) * 2 - 1
        plain = ActionTokenizer(tok.bpe, tok.scale, tok.min_token, tok.max_token)
        assert [i.tolist() for i in plain.encode(theirs)] == [i.tolist() for i in tok.encode(chunks)]
    q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
    theirs = (chunks - q01) / np.where(q99 == q01, 1e-8, q99 - q01) * 2 - 1
    assert np.allclose(theirs.reshape(-1, 3), low.normalize(x), atol=1e-12)
    assert exceptions(ActionTokenizer.fit({"arm": chunks}, 400, stats={"arm": low})) == [
        "arm: action dim 1 by constant, -1"
    ]


def test_what_a_file_lacks_is_not_made_up() -> None:
    moments = {"mean": [0.5, 0.0], "std": [0.1, 1.0]}
    ends = {"min": [0.0, -2.0], "max": [1.0, 2.0]}
    assert NormStats.from_json(moments).mode == "mean_std"
    ranged = NormStats.from_json(moments | ends)
    assert (ranged.mode, ranged.normalized_by) == ("min_max", ("min_max", "min_max"))
    assert ranged.normalize(np.array([[1.0, 2.0]])).tolist() == [[1.0, 1.0]]
    equal = {"q01": [0.5, -1.0], "q99": [0.5, 1.0]}
    assert NormStats.from_json(moments | equal).normalized_by == ("mean_std", "quantile")
    assert NormStats.from_json(moments | equal | ends).normalized_by == ("min_max", "quantile")
    for bad, says in (
        ({"mode": "quantile"} | moments | ends, "needs q01 and q99"),
        ({"mode": "min_max"} | moments | equal, "needs min and max"),
        (moments | {"q01": [0.0, 0.0]}, "only one of q01 and q99"),
    ):
        with pytest.raises(InputError, match=says):
            NormStats.from_json(bad)


def test_binary_grippers_that_seldom_close() -> None:
    x = smooth(1000, 2)
    x[:, 1] = 0
    x[500:505, 1] = 1
    for mode in (*FITS, "none"):
        what = Embodiment(10, 2, 10.0, ("absolute", "gripper"), gripper="binarize")
        channels = Channels.of(NormStats.fit(x, mode=mode), what)  # type: ignore[arg-type]
        chunks = x.reshape(100, 10, 2)
        assert np.allclose(channels.backward(channels.forward(chunks)), chunks), mode


def test_folders_of_before_read_as_they_were_and_say_what_they_lose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = smooth(1000, 2)
    x[:, 1] = 0
    x[500:505, 1] = 1
    new = ActionTokenizer.fit(
        {"arm": x.reshape(100, 10, 2)}, 400, stats={"arm": NormStats.fit(x)}, embodiments={"arm": Embodiment(10, 2)}
    )
    new.save(tmp_path / "tok")
    with caplog.at_level(logging.WARNING):
        assert ActionTokenizer.load(tmp_path / "tok").fingerprint == new.fingerprint
    assert not caplog.records
    file = tmp_path / "tok" / "norm_stats.json"
    content = json.loads(file.read_text())
    entry = content["norm_stats"]["actions"]
    block = entry.pop("fasttok")
    assert (entry["q01"][1], entry["q99"][1]) == (0.0, 1.0)
    assert (block["q01"][1], block["q99"][1]) == (0.0, 0.0)
    entry |= {"q01": block["q01"], "q99": block["q99"]}  # what fasttok 0.1.0 wrote
    file.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        old = ActionTokenizer.load(tmp_path / "tok")
    assert "action dims [1] of arm move" in caplog.text
    assert (old.stats["arm"].normalize(x)[:, 1] == 0).all()
    assert old.stats["arm"].to_json() == entry
    assert old.fingerprint != new.fingerprint


def test_bounds_that_somebody_changed_count() -> None:
    x = smooth(1000, 2)
    x[:, 1] = 0
    x[500:505, 1] = 1
    stats = NormStats.fit(x)
    entry: Any = stats.to_json()
    entry["q99"] = [entry["q99"][0], 2.0]
    changed = NormStats.from_json(entry)
    assert changed.normalized_by == ("quantile", "quantile")
    assert changed.normalize(np.array([[0.0, 2.0]]))[0, 1] == 1
    assert changed.q99[0] == stats.q99[0]


def test_values_beside_a_constant_are_outside() -> None:
    x = smooth(100, 2)
    x[:, 1] = 0.5
    stats = NormStats.fit(x, mode="min_max")
    assert stats.clipped_share(x) == 0
    x[:50, 1] = 0.6
    assert stats.clipped_share(x) == 0.25


def test_the_report_and_the_card_name_the_dim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "rare.npz", actions=np.stack([e.steps["action"] for e in episodes()]))
    Fit((str(tmp_path / "rare.npz"),), tmp_path / "tok", horizon=10).run()
    printed = capsys.readouterr()
    assert "min..max" in printed.out
    assert "action dim 6 by min..max" in printed.err
    assert "action dim 6 by min..max" in (tmp_path / "tok" / "README.md").read_text()
