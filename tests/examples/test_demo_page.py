"""The demo's page says what its numbers say, no more, and beside each number what it is compared with."""

import numpy as np
import pytest

from examples.demo_page import films, outcome, training
from examples.demo_summary import AnswerCount, DemoSummary, EpisodeCount
from fasttok.common import html
from tests.html_checks import assert_whole
from train.judging.film_recorder import Film


def summary(policy: int, blind: int, episodes: int = 120) -> DemoSummary:
    """A demo's numbers."""
    ours, theirs, expert = (EpisodeCount(n, episodes) for n in (policy, blind, episodes))
    return DemoSummary(ours, theirs, expert, AnswerCount(117, 400, 0.2425), 337)


@pytest.mark.parametrize(
    ("policy", "blind", "claim"),
    [
        (80, 20, "evidence, from one run, that this robot acts on the scene before it and not only by habit"),
        (31, 26, "too small a difference to show"),
        (10, 26, "but not that the robot acts on the scene before it"),
        (26, 26, "but not that the robot acts on the scene before it"),
    ],
)
def test_the_sentence_claims_what_the_numbers_show(policy: int, blind: int, claim: str) -> None:
    said = outcome.verdict(summary(policy, blind))
    assert said.startswith(
        f"The robot succeeded in {policy} of 120 new episodes and one that acts blindly in {blind} of 120, "
    )
    assert claim in said
    assert "prove" not in said  # one run proves little
    assert said.endswith("it says nothing about real robots, other tasks or scenes unlike these.")
    assert said.count(".") == 1  # one sentence


def test_every_number_at_the_top_has_its_baseline() -> None:
    page = html.page("t", *outcome.opening(summary(80, 20), 3700, 1000, 24_000))
    assert_whole(page)
    plain = page.replace("\u00a0", " ")
    assert "<b>67 %</b><span>of 120 tasks done; blind 17 %, expert 100 %</span>" in plain
    assert "<b>29 %</b><span>of 400 answers right; always the most common one: 24 %</span>" in plain
    assert "<b>3.7</b><span>action values per FAST id; one bin for each value: 1.0</span>" in plain


def test_the_numbers_stand_beside_those_of_the_others() -> None:
    world = {"embodiment": "arm", "split": "seen", "episodes": 40, "success": 0.5, "followed": 0.75}
    results = {"world": [world | {"ms_per_prediction": 10.0, "batch": 20}]}
    played = [world | {"policy": who, "success": share} for who, share in (("expert", 1.0), ("blind", 0.1))]
    page = html.page("t", *outcome.numbers(results, played, 1000.0))
    assert_whole(page)
    assert page.index("50 % [35, 65]") < page.index("100 % [91, 100]") < page.index("10 % [4, 23]")


def test_losses_stand_beside_guessing() -> None:
    shown = [training.LossPanel("ce_fast", "L_FAST", "nats per FAST id", 6.25, "all ids alike")]
    log = {"step": np.arange(1.0, 9.0), "ce_fast": np.linspace(8, 4, 8), "n_fast": np.full(8, 5.0)}
    nothing = {"step": np.array([1.0, 1.5]), "ce_fast": np.array([8.0, 0.0]), "n_fast": np.array([5.0, 0.0])}
    assert '<td class="num">8</td>' in html.page("t", *training.section({"insulated": nothing}, shown))
    page = html.page("t", *training.section({"VLM alone": {}, "insulated": log}, shown))
    assert_whole(page)
    assert "guessing: all ids alike" in page
    assert '<td class="num">6.25</td><td>all ids alike</td>' in page


def test_the_filmed_episodes_are_played_by_everybody() -> None:
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    filmed = [Film("reach it", done, 1_000_000 + i, frames, np.array([0, 3])) for i, done in enumerate((False, True))]
    world = films.beside("planar/seen", filmed)
    assert [player.who for player in world.players] == ["policy", "expert", "blind"]
    assert all(set(player.films) == {1_000_000, 1_000_001} for player in world.players)
    assert all(world.players[1].success)  # the expert
    rules: dict[str, None] = {}
    top = films.hero([world], rules)
    assert "seed 1000001, success" in top[0]  # a success, if there is one
    page = html.page("t", *top, *films.section([world], rules), css="".join(rules))
    assert_whole(page)
    assert page.count('role="group"') == 3
    assert films.hero([], rules) == []
