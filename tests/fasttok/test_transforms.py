"""Transforms other than the DCT, and fixed splines: fewer ids at the same error, exact both ways, refused by other programs."""

import base64
import functools
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.codec.learn_transform import TransformPlan
from fasttok.codec.spline import Spline, SplineConfig
from fasttok.codec.transform import Dct, Learned
from fasttok.errors import InputError
from tests.fasttok.motions import C, T, moving_together

CHUNKS = moving_together(600)
LEARNED = ["auto", "basis", "rotation", "both"]
SPECIAL = [*LEARNED, "fixed"]


@functools.cache
def made(name: Any) -> ActionTokenizer:
    """The tokenizer with a transform of that name; `fixed` has six control points a dim."""
    if name == "fixed":
        return ActionTokenizer.fit(CHUNKS, 256, mode="fixed", transform=SplineConfig(6, 3))
    return ActionTokenizer.fit(CHUNKS, 600, transform=name)


def tokens(tok: ActionTokenizer, chunks: np.ndarray) -> float:
    return float(np.mean([len(row) for row in tok.encode(chunks)]))


def rms(tok: ActionTokenizer, chunks: np.ndarray) -> float:
    back = tok.decode(tok.encode(chunks), horizon=T, action_dim=C).actions
    return float(np.sqrt(np.mean((back - chunks) ** 2)))


def test_auto_takes_what_needs_fewest_ids_at_the_same_error() -> None:
    fresh = moving_together(300, seed=1)
    tok, plain = made("auto"), made("dct")
    assert tokens(tok, fresh) < 0.85 * tokens(plain, fresh)
    assert rms(tok, fresh) < 1.03 * rms(plain, fresh)
    tried = {one.name: one for one in tok.tried[""]}
    assert set(tried) == {"dct", "basis", "rotation", "both"}
    best = min(tried.values(), key=lambda one: one.tokens)
    assert [one.name for one in tried.values() if one.chosen] == [best.name]
    assert all(one.error <= 1.001 * tried["dct"].error for one in tried.values())


def test_auto_takes_the_dct_where_nothing_pays(tmp_path: Path) -> None:
    """Dims that rest, and have nothing to do with each other."""
    rng = np.random.default_rng(2)
    coefs = np.zeros((400, T, 3))
    coefs[:, 0] = rng.uniform(-1, 1, (400, 3)) * [2, 1.4, 1]
    chunks = Dct().actions(coefs.reshape(400, -1), 1.0, T, 3)
    chunks = chunks / np.abs(chunks).max()
    auto, plain = ActionTokenizer.fit(chunks, 600, transform="auto"), ActionTokenizer.fit(chunks, 600)
    assert not auto.transforms
    assert auto.fingerprint == plain.fingerprint
    assert next(one for one in auto.tried[""] if one.chosen).name == "dct"
    for name, tok in (("a", auto), ("b", plain)):
        tok.save(tmp_path / name)
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*") if p.is_file()) for n in "ab"]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files[0])


@pytest.mark.parametrize("name", SPECIAL)
def test_ids_are_exact_both_ways(name: str) -> None:
    tok = made(name)
    ids = tok.encode(CHUNKS)
    back = tok.decode(ids, horizon=T, action_dim=C)
    assert back.ok.all()
    if name != "fixed":  # splines are a least-squares fit of what they decode to: the same up to rounding
        assert all(np.array_equal(a, b) for a, b in zip(ids, tok.encode(back.actions), strict=True))
    alone = [tok.encode(chunk)[0] for chunk in CHUNKS[:20]]
    assert all(np.array_equal(a, b) for a, b in zip(ids, alone, strict=False))
    one = tok.decode([ids[3]], horizon=T, action_dim=C).actions[0]
    assert np.array_equal(one, back.actions[3])


@pytest.mark.parametrize("name", [*SPECIAL, "dct"])
def test_no_chunks_are_no_ids(name: str) -> None:
    tok = made(name)
    assert tok.encode(CHUNKS[:0]) == tok.encode_report(CHUNKS[:0]).ids == []
    assert tok.coefficients(CHUNKS[:0]).size == 0
    assert tok.decode([], horizon=T, action_dim=C).actions.shape == (0, T, C)


@pytest.mark.parametrize("name", LEARNED)
def test_the_error_of_each_coefficient_has_the_bound_that_is_said(name: str) -> None:
    tok = made(name)
    transform = tok.transforms[""]
    assert isinstance(transform, Learned)
    exact = transform.coefficients(CHUNKS, tok.scale, rounded=False)
    off = np.abs(transform.coefficients(CHUNKS, tok.scale) - exact)
    assert off.max() <= max(0.5, transform.dead) + 1e-9
    back = tok.decode(tok.encode(CHUNKS), horizon=T, action_dim=C).actions
    worst = np.sqrt(((back - CHUNKS) ** 2).mean((1, 2))).max()
    assert worst <= transform.dead / (tok.scale * transform.finer) + 1e-9


@pytest.mark.parametrize("name", LEARNED)
def test_every_chunk_in_range_has_codes(name: str) -> None:
    """The fit saw small motions in channel 5; corners of the box are beyond all it saw, and yet are never clamped."""
    tok = made(name)
    most = np.abs(CHUNKS).max((0, 1))
    corners = np.random.default_rng(3).choice([-1.0, 1.0], (200, T, C)) * most
    still = np.broadcast_to(np.random.default_rng(4).choice([-1.0, 1.0], (200, 1, C)) * most, (200, T, C))
    for chunks in (corners, still):
        assert not tok.encode_report(chunks).clamped.any()


@pytest.mark.parametrize("name", ["basis", "rotation", "both"])
def test_the_range_does_not_depend_on_the_order_of_the_chunks(name: Any) -> None:
    """One task after the other: no batch of 1,024 chunks has both dims at the ends of their ranges."""
    rng = np.random.default_rng(6)
    motion = np.sin(rng.uniform(0, 3, (2048, 1, 1)) + rng.uniform(-3, 3, (2048, 1, 1)) * np.linspace(0, 1, 8)[:, None])
    chunks = motion * np.repeat([[[1.0, 0.5]], [[0.5, 1.0]]], 1024, axis=0)
    corners = rng.choice([-1.0, 1.0], (100, 8, 2)) * np.abs(chunks).max((0, 1))
    for given in (chunks, rng.permutation(chunks)):
        tok = ActionTokenizer.fit(given, 2000, transform=name)
        assert not tok.encode_report(np.concatenate([corners, np.abs(corners)])).clamped.any()
        limit = tok.transform().reach(np.abs(chunks).max((0, 1)), 8, tok.scale)
        assert (tok.min_token, tok.max_token) == (-np.ceil(limit), np.ceil(limit))


@pytest.mark.parametrize("name", SPECIAL)
def test_masked_sampling_always_ends_in_a_chunk(name: str) -> None:
    tok, rng = made(name), np.random.default_rng(5)
    for _ in range(5):
        row: list[int] = []
        while len(allowed := tok.allowed_next(row, horizon=T, action_dim=C)):
            row.append(int(rng.choice(allowed)))
        assert tok.decode([row], horizon=T, action_dim=C).ok.all()


def test_partial_decoding_gets_better_with_each_id() -> None:
    for name in ("rotation", "both"):
        tok = made(name)
        ids = tok.encode(CHUNKS[:50])
        errors = []
        for share in (0.0, 0.25, 0.5, 1.0):
            cut = [row[: round(share * len(row))] for row in ids]
            back = tok.decode(cut, horizon=T, action_dim=C, partial=True).actions
            errors.append(float(((back - CHUNKS[:50]) ** 2).mean()))
        assert errors == sorted(errors, reverse=True)


def test_fixed_has_always_as_many_ids_and_any_ids_decode() -> None:
    tok = made("fixed")
    assert tok.mode == "fixed"
    assert {len(row) for row in tok.encode(CHUNKS)} == {6 * C}
    drawn = np.random.default_rng(6).integers(0, 256, (50, 6 * C))
    assert tok.decode(drawn, horizon=T, action_dim=C).ok.all()
    transform = tok.transforms[""]
    assert isinstance(transform, Spline)
    exact = transform.coefficients(CHUNKS, tok.scale, rounded=False)
    coded = tok.coefficients(CHUNKS)
    assert np.abs(coded - exact).max() <= 0.5 + 1e-9
    assert coded.min() >= tok.min_token
    assert coded.max() <= tok.min_token + 255


@pytest.mark.parametrize("bins", [55_297, 65_537, 10**9])
def test_more_bins_than_codes_are_refused_by_their_number(bins: int) -> None:
    with pytest.raises(InputError, match=f"vocab size {bins}, expected at most 55296 in a fixed fit"):
        ActionTokenizer.fit(CHUNKS[:20], bins, mode="fixed", transform=SplineConfig(4, 3))


@pytest.mark.parametrize("horizon", [1, 2, 5, 12, 40, 80])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_fixed_with_a_point_for_each_step_follows_every_chunk(horizon: int, degree: int) -> None:
    rng = np.random.default_rng(horizon)
    chunks = rng.uniform(-1, 1, (300, horizon, 2))
    tok = ActionTokenizer.fit(chunks, 1024, mode="fixed", transform=SplineConfig(horizon, degree))
    decoded = tok.decode(tok.encode(chunks), horizon=horizon, action_dim=2).actions
    assert np.abs(decoded - chunks).max() < 0.02  # half a bin of a range that is a few times the chunks'


def test_fixed_takes_chunks_of_other_lengths() -> None:
    tok = made("fixed")
    long = np.repeat(CHUNKS[:5], 2, axis=1)
    assert {len(row) for row in tok.encode_report(long).ids} == {6 * C}
    short = CHUNKS[:5, :4]
    ids = tok.encode_report(short).ids
    assert {len(row) for row in ids} == {4 * C}
    assert tok.decode(ids, horizon=4, action_dim=C).ok.all()


@pytest.mark.parametrize("name", SPECIAL)
def test_a_saved_folder_is_the_same_tokenizer(name: str, tmp_path: Path) -> None:
    tok = made(name)
    tok.save(tmp_path / "tok")
    again = ActionTokenizer.load(tmp_path / "tok")
    assert again.fingerprint == tok.fingerprint != made("dct").fingerprint
    ids = tok.encode(CHUNKS)
    assert all(np.array_equal(a, b) for a, b in zip(ids, again.encode(CHUNKS), strict=True))
    ours, theirs = (one.decode(ids, horizon=T, action_dim=C).actions for one in (tok, again))
    assert np.array_equal(ours, theirs)
    assert "Only fasttok" in (tmp_path / "tok" / "README.md").read_text()


@pytest.mark.parametrize("name", ["both", "fixed"])
def test_other_programs_find_nothing_to_decode_wrongly(name: str, tmp_path: Path) -> None:
    made(name).save(tmp_path / "tok")
    assert sorted(p.name for p in (tmp_path / "tok").rglob("*")) == [
        "README.md", "norm_stats.json", "only_fasttok.py", "processor_config.json", "transform.json", "vocabulary.json",
    ]  # fmt: skip
    config = json.loads((tmp_path / "tok" / "processor_config.json").read_text())
    assert config["fasttok"]["format_version"] == 3
    assert config["auto_map"] == {"AutoProcessor": "only_fasttok.OnlyFasttok"}
    code = runpy.run_path(str(tmp_path / "tok" / "only_fasttok.py"))
    with pytest.raises(ValueError, match=r"tok: only fasttok .* wrong actions .* --transform dct"):
        code["OnlyFasttok"].from_pretrained(tmp_path / "tok", trust_remote_code=True)


def test_the_published_class_refuses_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.interop.inside.standin import UniversalActionProcessor

    made("both").save(tmp_path / "tok")
    with pytest.raises(Exception, match=r"tok"):
        UniversalActionProcessor.from_pretrained(str(tmp_path / "tok"))


def test_replacing_leaves_no_file_of_the_other_kind(tmp_path: Path) -> None:
    made("dct").save(tmp_path / "tok")
    made("both").save(tmp_path / "tok", overwrite=True)
    assert not (tmp_path / "tok" / "tokenizer.json").exists()
    made("dct").save(tmp_path / "tok", overwrite=True)
    assert not any((tmp_path / "tok" / file).exists() for file in ("transform.json", "only_fasttok.py"))
    assert ActionTokenizer.load(tmp_path / "tok").fingerprint == made("dct").fingerprint


def damage(path: Path, name: str, **changes: object) -> None:
    made(name).save(path)
    raw = json.loads((path / "transform.json").read_text())
    entry = raw["transforms"][""]
    entry["learned" if name != "fixed" else "spline"].update(changes)
    (path / "transform.json").write_text(json.dumps(raw))


def packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode()


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("both", {"basis": packed(np.ones((T, T)))}, "not orthonormal"),
        ("both", {"basis": packed(np.full((T, T), np.nan))}, "NaN"),
        ("both", {"basis": packed(np.eye(3))}, "bytes"),
        ("both", {"rotations": "no base64!"}, "base64"),
        ("both", {"order": [0] * (T * C)}, "order"),
        ("both", {"finer": 0.0}, "finer"),
        ("both", {"dead": 7.0}, "dead"),
        ("both", {"horizon": -3}, "horizon|bytes"),
        ("fixed", {"low": [float("nan")] * C}, "ranges"),
        ("fixed", {"low": [0.0]}, "ranges"),
        ("fixed", {"points": 0}, "points"),
        ("fixed", {"bins": 1}, "bins"),
        ("fixed", {"surprise": 1}, "unknown key"),
    ],
)
def test_damaged_transforms_are_refused(name: str, changes: dict[str, object], match: str, tmp_path: Path) -> None:
    damage(tmp_path / "tok", name, **changes)
    with pytest.raises(InputError, match=match):
        ActionTokenizer.load(tmp_path / "tok")


def test_missing_files_are_named(tmp_path: Path) -> None:
    for file in ("transform.json", "vocabulary.json"):
        made("both").save(tmp_path / file)
        (tmp_path / file / file).unlink()
        with pytest.raises(InputError, match=rf"{file} is missing"):
            ActionTokenizer.load(tmp_path / file)


def test_what_does_not_go_together_is_refused() -> None:
    tok = made("both")
    wrong: Any = "wavelet"
    with pytest.raises(InputError, match="learned for 12"):
        tok.encode(np.zeros((1, 5, C)))
    with pytest.raises(InputError, match="learned for 6"):
        tok.encode(np.zeros((1, T, 2)))
    with pytest.raises(InputError, match="native fit"):
        ActionTokenizer.fit(CHUNKS, 600, mode="published", transform="both")
    with pytest.raises(InputError, match="one shape"):
        ActionTokenizer.fit(iter([CHUNKS[0], CHUNKS[1, :5]]), 600, transform="both")
    with pytest.raises(InputError, match="unknown transform"):
        ActionTokenizer.fit(CHUNKS, 600, transform=wrong)


def test_each_embodiment_has_its_own_transform(tmp_path: Path) -> None:
    """Statistics, a dim that is left out, a gain, and several robots in one vocabulary."""
    raw = {"arm": CHUNKS * [90, 2, 0.1, 5, 5, 1] + 3, "planar": moving_together(300, 7)[:, :8, :2]}
    stats = {name: NormStats.fit(x.reshape(-1, x.shape[2])) for name, x in raw.items()}
    what = {
        "arm": Embodiment(T, C, action_encoding=("delta",) * 5 + ("gripper",), gripper="omit", gain=(1, 1, 2, 1, 1, 1)),
        "planar": Embodiment(8, 2),
    }
    plan = TransformPlan("both", {"arm": raw["arm"][:100]})
    tok = ActionTokenizer.fit(raw, 1024, stats=stats, embodiments=what, transform=plan)
    tok.save(tmp_path / "tok")
    again = ActionTokenizer.load(tmp_path / "tok")
    for name, x in raw.items():
        ids = again.encode(x, embodiment=name)
        back = again.decode(ids, horizon=x.shape[1], action_dim=x.shape[2], embodiment=name)
        assert back.ok.all()
        kept = ~np.isnan(back.actions[0, 0])
        assert kept.tolist() == [d != 5 for d in range(x.shape[2])]
        error = (stats[name].normalize(back.actions) - stats[name].normalize(x))[..., kept]
        assert np.sqrt((error**2).mean()) < 0.06


def test_chunks_come_from_an_iterator_once() -> None:
    tok = ActionTokenizer.fit(iter(CHUNKS), 600, transform="both")
    assert tok.fingerprint == made("both").fingerprint


def test_chunks_of_several_shapes_get_advice_that_works() -> None:
    chunks = [np.linspace(-1, 1, 2 * steps).reshape(steps, 2) for steps in (9, 6)]
    with pytest.raises(InputError, match="fit with --mode native --transform dct"):
        ActionTokenizer.fit(chunks, 300, mode="fixed")
    assert ActionTokenizer.fit(chunks, 300, mode="native", transform="dct").vocab_size > 0
