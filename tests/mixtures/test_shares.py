"""Policies and curricula: shares follow the stated formulas, quotas are exact in every phase."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.errors import InputError
from mixtures.parse import read_mixture
from mixtures.shares import allocate, cap, needs_frames, phases, shares
from mixtures.spec import CurriculumPhase, Group, Mixture, Policy, Source


def mixture(text: str, folder: Path) -> Mixture:
    path = folder / "m.yaml"
    path.write_text(text)
    return read_mixture(path)


def flat(
    policy: Policy, weights: list[float], temperature: float = 1.0, schedule: tuple[CurriculumPhase, ...] = ()
) -> Mixture:
    members = tuple(Source(f"s{i}", "d", weight=w) for i, w in enumerate(weights))
    return Mixture("m", Group("m", members, 1.0, policy, temperature), schedule=schedule)


sizes = st.lists(st.integers(1, 10**7), min_size=1, max_size=6)


@given(sizes, st.floats(0.2, 50))
def test_policies_are_their_formulas(frames: list[int], temperature: float) -> None:
    held = {f"s{i}": n for i, n in enumerate(frames)}
    weights = [1.0 + i for i in range(len(frames))]
    wanted: dict[Policy, np.ndarray] = {
        "as_given": np.array(weights),
        "proportional": np.array(frames, float),
        "temperature": np.array(frames, float) ** (1 / temperature),
        "weight_times_frames": np.array(weights) * np.array(frames),
    }
    for policy, parts in wanted.items():
        found = shares(flat(policy, weights, temperature), held)
        assert found == pytest.approx(parts / parts.sum(), rel=1e-9)
        assert found.sum() == pytest.approx(1.0, abs=1e-12)


@given(st.lists(st.floats(1e-300, 1.7e308), min_size=1, max_size=6), st.floats(1e-300, 1e300))
def test_no_weight_or_temperature_overflows(weights: list[float], temperature: float) -> None:
    held = {f"s{i}": 10**7 * (i + 1) for i in range(len(weights))}
    for policy in ("as_given", "temperature", "weight_times_frames"):
        found = shares(flat(policy, weights, temperature), held)
        assert found.min() >= 0
        assert found.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_cold_temperature_takes_the_largest() -> None:
    assert shares(flat("temperature", [1, 1], 0.01), {"s0": 10**6, "s1": 10}).tolist() == [1.0, 0.0]


@given(st.integers(1, 999), st.integers(1, 10**6))
def test_max_epochs_is_a_decimal_number(hundredths: int, frames: int) -> None:
    assert cap(hundredths / 100, frames) == hundredths * frames // 100


def test_a_group_counts_as_all_below_it(tmp_path: Path) -> None:
    m = mixture(
        """\
policy: proportional
sources:
  - {dataset: a}
  - group: web
    policy: temperature
    temperature: 2
    sources:
      - {dataset: b}
      - {dataset: c}
""",
        tmp_path,
    )
    found = shares(m, {"a": 500, "b": 100, "c": 400})
    assert found == pytest.approx([0.5, 0.5 * 10 / 30, 0.5 * 20 / 30])
    assert needs_frames(m.root) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"policy proportional of 'm'.*'a'.*--index"):
        shares(m)


def test_a_policy_over_one_member_needs_no_sizes() -> None:
    assert not needs_frames(flat("weight_times_frames", [3.0]).root)
    assert shares(flat("weight_times_frames", [3.0])).tolist() == [1.0]


def test_octos_weights_mean_weight_times_frames() -> None:
    """octo's make_interleaved_dataset with balance_weights: sample_weights * dataset_sizes, normalised."""
    weights, frames = [0.54087122203, 0.8341046294, 1.0, 2.0], [3_786_400, 2_455_879, 2_135_463, 237_798]
    product = np.array(weights) * np.array(frames)
    found = shares(flat("weight_times_frames", weights), {f"s{i}": n for i, n in enumerate(frames)})
    assert found == pytest.approx(product / product.sum(), rel=1e-12)


def test_a_curriculum_changes_weights_and_counts_exactly() -> None:
    m = flat(
        "as_given",
        [3.0, 1.0],
        schedule=(CurriculumPhase(0, ()), CurriculumPhase(100, (("s1", 3.0),)), CurriculumPhase(150, (("s0", 0.0),))),
    )
    plan = allocate(m, 1000, {"s0": 50, "s1": 50})
    assert plan.counts.tolist() == [[75, 25], [25, 25], [0, 850]]
    assert plan.shares.tolist() == [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]
    assert plan.quotas.tolist() == [100, 900]
    assert phases(m, 120) == [(0, 0, 100), (1, 100, 120)]  # the third is not reached
    assert allocate(m, 120).counts.tolist() == [[75, 25], [10, 10]]


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=5), st.data())
def test_caps_hold_over_all_phases(weights: list[float], data: st.DataObject) -> None:
    samples = data.draw(st.integers(1, 3000))
    cut = data.draw(st.integers(1, 2999))
    m = flat("as_given", weights, schedule=(CurriculumPhase(0, ()), CurriculumPhase(cut, (("s0", 5.0),))))
    members = (Source("s0", "d", weight=weights[0], max_epochs=2.0), *m.sources[1:])
    m = Mixture("m", Group("m", members), schedule=m.schedule)
    plan = allocate(m, samples, {source.name: 100 for source in members})
    assert plan.counts.sum() == samples
    assert plan.quotas[0] <= 200
    assert plan.counts.sum(axis=1).tolist() == [stop - start for _, start, stop in phases(m, samples)]
    if not plan.capped[0]:
        exact = plan.shares * plan.counts.sum(axis=1, keepdims=True)
        assert (np.abs(plan.counts - exact) < 1 + 1e-6).all()


def test_a_phase_that_max_epochs_stops_is_named() -> None:
    members = tuple(Source(name, "d", max_epochs=1.0) for name in ("a", "b"))
    schedule = (CurriculumPhase(0, (("b", 0.0),)), CurriculumPhase(30, (("b", 1.0),)))
    m = Mixture("m", Group("m", members), schedule=schedule)
    with pytest.raises(InputError, match=r"phase 2, samples 30 to 200: 170 .* only 70 in all \(a 20, b 50\)"):
        allocate(m, 200, {"a": 50, "b": 50})


def test_all_weights_zero_is_refused() -> None:
    m = flat("as_given", [1.0, 1.0], schedule=(CurriculumPhase(0, (("s0", 0.0), ("s1", 0.0))),))
    with pytest.raises(InputError, match="every member of group 'm' has weight 0"):
        allocate(m, 10)
