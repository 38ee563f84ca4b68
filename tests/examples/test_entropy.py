"""What is left of tokens when the scene is known: right where the truth is known, and less of it in a predictable manner."""

import json
from typing import Any

import numpy as np
import pytest

from examples.tabletop.code_length import Reader, bits
from examples.tabletop.entropy import EntropyConfig, entropy_of, main, measure
from fasttok.errors import InputError


def test_no_code_is_shorter_than_the_entropy_and_many_repeats_come_near_it() -> None:
    """Two fair coins and a die of four; the first coin is told twice: 1 + 1 + 2 bits, if the scene is known."""
    rng = np.random.default_rng(0)
    scenes: list[list[tuple[int, ...]]] = []
    for scene in range(4):
        coins, die = rng.integers(2, size=(400, 2)), 10 + rng.integers(4, size=400)
        scenes.append([(20 + scene, a, a, 2 + b, d) for (a, b), d in zip(coins.tolist(), die.tolist(), strict=True)])
    found = entropy_of(scenes, 32)
    assert found.tokens == 5
    assert found.at_least <= 4.0 <= found.at_most < 4.5
    assert found.at_least > 3.9
    assert found.unknown > found.at_most + 1.5  # which of four scenes: two bits
    assert found.nats_per_token == pytest.approx(found.at_most * np.log(2) / 6)


def test_what_is_certain_takes_no_bits() -> None:
    found = entropy_of([[(scene, 7)] * 300 for scene in range(3)], 16)
    assert found.at_least == 0
    assert found.at_most < 0.1


def test_a_reader_that_forgets_is_as_one_that_never_saw() -> None:
    reader, other = Reader(), Reader()
    for sequence in [(0, 1), (0, 2), (1,), ()]:
        reader.add(sequence)
    for sequence in [(1,), ()]:
        other.add(sequence)
    seen = bits((0, 1), [reader], 3)
    reader.add((0, 1), -1)
    reader.add((0, 2), -1)
    assert bits((0, 1), [reader], 3) == bits((0, 1), [other], 3) > seen


def test_chances_of_what_may_follow_sum_to_one() -> None:
    reader = Reader()
    for sequence in [(0, 1), (0, 2), (1,), ()]:
        reader.add(sequence)
    for before in [(), (0,), (1,), (2, 2)]:
        assert sum(reader.refine(0.25, token, before) for token in (-1, 0, 1, 2)) == pytest.approx(1)


def test_a_predictable_expert_leaves_less(capsys: pytest.CaptureFixture[str]) -> None:
    few: dict[str, Any] = {"task": "reach", "scenes": 3, "repeats": 16}
    person = measure(EntropyConfig(**few))
    machine = measure(EntropyConfig(**few, tremor=False, bends=False, pauses=False, constant_pace=True))
    for one, other in zip(person, machine, strict=True):
        assert one.moment == other.moment
        assert other.at_most < one.at_most
        assert other.at_least < one.at_least <= one.at_most
    main(EntropyConfig(**few, json=True))
    assert [row["moment"] for row in json.loads(capsys.readouterr().out)] == ["start", "under way"]


def test_wrong_numbers_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="--repeats is 1"):
        EntropyConfig(repeats=1)
    with pytest.raises(InputError, match="plannar"):
        measure(EntropyConfig(embodiment="plannar"))
