"""Exact counts and even order: what the tables promise must hold for any shares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.errors import InputError
from mixtures.quota import capped_quotas, interleave, positions, quotas, sequence

shares = st.lists(st.floats(0.0, 1e6, allow_subnormal=False), min_size=1, max_size=12).filter(lambda s: max(s) > 0)
counts = st.lists(st.integers(0, 60), min_size=1, max_size=7).filter(any)


@given(shares, st.integers(0, 10**9))
def test_quotas_sum_exactly_and_stay_within_one_of_the_share(weights: list[float], n: int) -> None:
    found = quotas(weights, n)
    exact = np.array(weights) / sum(weights) * n
    assert found.sum() == n
    assert (np.abs(found - exact) < 1 + 1e-6).all()
    assert (found[np.array(weights) == 0] == 0).all()


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [0.0, 0.0], [float("nan")], [float("inf"), 1.0], []])
def test_quotas_refuses_what_is_no_share(bad: list[float]) -> None:
    with pytest.raises(InputError, match="shares must be"):
        quotas(bad, 10)


@given(shares, st.integers(0, 10_000), st.data())
def test_caps_hold_and_the_rest_is_redistributed(weights: list[float], n: int, data: st.DataObject) -> None:
    caps = [data.draw(st.one_of(st.none(), st.integers(0, 6000))) for _ in weights]
    limits = [(n if cap is None else cap) if w > 0 else 0 for w, cap in zip(weights, caps, strict=True)]
    if sum(limits) < n:
        with pytest.raises(InputError, match="max_epochs allows only"):
            capped_quotas(weights, n, caps)
        return
    found = capped_quotas(weights, n, caps)
    assert found.sum() == n
    assert (found <= limits).all()
    free = np.flatnonzero((found < limits) & (np.array(weights) > 0))
    exact = np.array(weights)[free] / sum(np.array(weights)[free]) * found[free].sum() if len(free) else np.zeros(0)
    # One sample either way by rounding, and one more where a source was about to hit its cap.
    assert (np.abs(found[free] - exact) <= 2).all()


@given(counts)
def test_interleave_is_the_stated_rule_with_exact_counts(number: list[int]) -> None:
    order = interleave(number)
    rule = sorted(((2 * j + 1) * np.lcm.reduce([max(c, 1) for c in number], dtype=object) // c, i)
                  for i, c in enumerate(number) for j in range(c))  # fmt: skip
    assert order.tolist() == [i for _, i in rule]
    assert np.bincount(order, minlength=len(number)).tolist() == number


@given(counts)
@settings(max_examples=60)
def test_every_window_is_near_the_shares(number: list[int]) -> None:
    order = interleave(number)
    k, total = sum(c > 0 for c in number), sum(number)
    for i, c in enumerate(number):
        share = c / total
        ahead = np.concatenate([[0], np.cumsum(order == i)]) - share * np.arange(total + 1)
        assert np.abs(ahead).max() <= (1 - share + share * (k - 1)) / 2 + 1e-9  # any prefix
        assert ahead.max() - ahead.min() <= 1 - share + share * (k - 1) + 1e-9  # any window


@pytest.mark.slow
@given(counts, st.integers(0, 500), st.integers(0, 300))
def test_sequence_is_random_access_and_periodic(number: list[int], start: int, length: int) -> None:
    period = sum(number)
    source, draw = sequence(number, start, start + length)
    whole, draws = sequence(number, 0, start + length)
    assert source.tolist() == whole[start:].tolist()
    assert draw.tolist() == draws[start:].tolist()
    assert whole.tolist() == [interleave(number)[p % period] for p in range(start + length)]
    assert positions(number, source, draw).tolist() == list(range(start, start + length))
    for i in range(len(number)):  # draws of a source run through 0, 1, 2, ...
        assert draws[whole == i].tolist() == list(range(int((whole == i).sum())))


def test_sequence_is_exact_far_out_and_for_large_weights() -> None:
    weights = [2**29 - 1, 7, 123_456_789]
    start = 10**12 + 17
    source, draw = sequence(weights, start, start + 500)
    assert positions(weights, source, draw).tolist() == list(range(start, start + 500))


large = st.lists(st.integers(0, 2**52), min_size=1, max_size=4).filter(any)


@given(large, st.integers(0, 2**54))
def test_billions_of_rows_of_a_source_are_in_order(weights: list[int], start: int) -> None:
    source, draw = sequence(weights, start, start + 20)
    assert positions(weights, source, draw).tolist() == list(range(start, start + 20))
    for position, i, j in zip(range(start, start + 20), source.tolist(), draw.tolist(), strict=True):
        period, own = divmod(j, weights[i])
        before = [
            ((2 * own + 1) * w - (k > i)) // weights[i] for k, w in enumerate(weights)
        ]  # times of others, in halves
        others = sum((n + 1) // 2 for k, n in enumerate(before) if k != i and weights[k])
        assert position == period * sum(weights) + own + others


def test_what_max_epochs_allows_names_sources_with_a_weight() -> None:
    with pytest.raises(InputError, match=r"only 30 in all \(a 10, c 20\)"):
        capped_quotas([1.0, 0.0, 1.0], 31, [10, 50, 20], ["a", "b", "c"])


def test_order_refuses_fractions() -> None:
    with pytest.raises(InputError, match="integers"):
        interleave([0.5, 0.5])


@pytest.mark.parametrize("n", [-1, 2**53 + 1, 10**17])
def test_more_samples_than_floats_count_are_refused(n: int) -> None:
    assert int(quotas([1, 1, 1], 2**53).sum()) == 2**53
    with pytest.raises(InputError, match="cannot split"):
        quotas([1, 1, 1], n)
