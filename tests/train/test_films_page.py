"""Films side by side: the right episodes are chosen, in bounded memory, and the page shows them without a network or a script."""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from examples.tabletop.baselines import POLICIES
from examples.tabletop.baselines import play as play_baseline
from examples.tabletop.env import make, make_vector
from fasttok.errors import InputError
from tests.html_checks import assert_whole
from tests.parsed_page import ParsedPage
from train import evaluate
from train.evaluate import EvaluateConfig, main
from train.judging import rollout_videos, sprite
from train.judging.chosen_films import MOST_FRAMES, MOST_PIXELS, SmallFilms
from train.judging.companions import next_actions, offered, play_companion
from train.judging.film_recorder import Film, FilmRecorder
from train.judging.films_page import PageFacts, document
from train.judging.measurements import Decoding
from train.judging.played_world import Played, PlayedWorld, by_seed
from train.judging.wilson import wilson
from train.rollouts import RolloutOptions, SteppedEnvs, play

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>'


@dataclass
class Counting:
    """An environment whose episode of an even seed succeeds after `seed` steps; pictures say seed and step."""

    embodiment: str = ""
    split: str = ""
    side: int = 8
    max_steps: int = 40
    seed: int = 0
    step_count: int = 0

    @property
    def instruction(self) -> str:
        return f"count to {self.seed}"

    def reset(self, seed: int) -> dict[str, NDArray[Any]]:
        self.seed, self.step_count = seed, 0
        return self._seen()

    def step(self, action: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.step_count += 1
        return self._seen()

    def success(self) -> bool:
        return self.seed % 2 == 0 and self.step_count >= self.seed

    def _seen(self) -> dict[str, NDArray[Any]]:
        picture = np.full((self.side, self.side, 3), self.step_count % 256, np.uint8)
        picture[0, 0] = self.seed
        return {"image/primary": picture, "state": np.zeros(1, np.float32)}


@dataclass
class WithExpert(Counting):
    """Offers an expert, which gives up after three steps of a seed of 5, and none that acts blindly."""

    asked: list[int] = field(default_factory=list)

    def expert(self) -> NDArray[Any] | None:
        self.asked.append(self.step_count)
        return None if self.seed == 5 and self.step_count == 3 else np.ones(2)


class Still:
    """A policy that does nothing."""

    usual_decode: Decoding = "flow"

    def horizon(self, embodiment: str) -> int:
        return 4

    def act(self, embodiment: str, tasks: list[str], observations: list[Any], *_: Any, **__: Any) -> NDArray[Any]:
        return np.zeros((len(tasks), 4, 2))

    def say(self, embodiment: str, tasks: list[str], observations: list[Any]) -> list[str]:
        raise AssertionError


def films_of(seeds: range, films: SmallFilms, batch: int = 3, first: int = 0) -> tuple[tuple[int, ...], list[Film]]:
    result, filmed = play(
        Still(), Counting, "e", "s", seeds, RolloutOptions(execute=0.5, batch=batch, films=first), films
    )
    return result.each["success"], filmed


def test_the_first_failures_and_successes_are_kept() -> None:
    films = SmallFilms(each=2)
    success, first = films_of(range(3, 20), films, first=3)
    assert success == tuple(int(seed % 2 == 0) for seed in range(3, 20))
    assert [(film.seed, film.success) for film in films.films] == [(3, False), (4, True), (5, False), (6, True)]
    assert [film.seed for film in first] == [3, 4, 5]  # as --rollouts has them, whatever else is filmed
    assert [film.instruction for film in films.films] == ["count to 3", "count to 4", "count to 5", "count to 6"]
    assert [int(film.steps[-1]) for film in films.films] == [40, 4, 40, 6]
    for film in films.films:
        assert film.steps[0] == 0
        assert np.array_equal(film.frames[:, 1, 1, 0], film.steps)  # each frame is the one of its step
        assert (film.frames[:, 0, 0, 0] == film.seed).all()


def test_late_outcomes_are_found_however_late() -> None:
    films = SmallFilms(each=1)

    class Late(Counting):
        def success(self) -> bool:
            return self.seed == 16

    play(Still(), Late, "e", "s", range(17), RolloutOptions(batch=4), films)
    assert [film.seed for film in films.films] == [0, 16]


def test_nothing_is_filmed_when_there_is_enough() -> None:
    """A vector that draws when it is looked at is then looked at by the policy alone."""
    films = SmallFilms(each=1)
    films_of(range(2, 8), films, batch=2)
    films.begin([100, 101])
    active = np.ones(2, bool)

    class Unseen(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise AssertionError("it was looked at")

        def __iter__(self) -> Any:
            raise AssertionError("it was looked at")

        def __len__(self) -> int:
            return 0

    films.record(0, Unseen(), active, ~active)


def test_memory_is_bounded_for_long_episodes_and_large_pictures() -> None:
    films = SmallFilms(each=1)
    films.begin(range(2))
    active, most = np.ones(2, bool), 0
    for step in range(2000):
        seen = {"image/primary": np.full((2, 600, 900, 3), step % 256, np.uint8)} if step % 3 == 0 else {}
        films.record(step, seen, active, ~active)
        filming = list(films._filming.values())
        most = max(most, sum(frame.nbytes for one in filming for frame in one.frames))
    last = {"image/primary": np.full((2, 600, 900, 3), 7, np.uint8)}
    films.record(2000, last, ~active, active)
    films.end(["a", "b"], np.array([True, True]))
    assert most <= 2 * MOST_FRAMES * MOST_PIXELS * MOST_PIXELS * 3
    [film] = films.films
    assert film.frames.shape[1:] == (96, 144, 3)
    assert MOST_FRAMES // 3 <= len(film.frames) <= MOST_FRAMES
    assert (film.steps[0], film.steps[-1]) == (0, 2000)
    assert len(np.unique(np.diff(film.steps)[:-1])) == 1  # evenly spaced
    assert np.array_equal(film.frames[:, 0, 0, 0], [*film.steps[:-1] % 256, 7])


def test_companions_are_those_of_the_baselines() -> None:
    seeds = range(1_000_000, 1_000_008)
    assert offered(make_vector, "planar", "seen") == offered(make, "planar", "seen") == ["expert", "blind"]
    for who in offered(make_vector, "planar", "seen"):
        films = SmallFilms([1_000_002, 1_000_005])
        result = play_companion(who, make_vector, "planar", "seen", seeds, 5, films)
        known = play_baseline(make_vector("planar", "seen", 8), seeds, POLICIES[who])["success"]
        assert result.success == tuple(known.astype(int))
        assert [film.seed for film in films.films] == [1_000_002, 1_000_005]
        one_by_one = SmallFilms([1_000_002, 1_000_005])
        assert play_companion(who, make, "planar", "seen", seeds, 5, one_by_one).success == result.success
        for a, b in zip(films.films, one_by_one.films, strict=True):
            assert np.array_equal(a.frames, b.frames)
            assert np.array_equal(a.steps, b.steps)


def test_an_expert_that_gives_up_has_ended() -> None:
    assert offered(Counting, "e", "s") == []
    assert offered(WithExpert, "e", "s") == ["expert"]
    films = SmallFilms([4, 5])
    result = play_companion("expert", WithExpert, "e", "s", range(4, 7), 3, films)
    assert result.success == (1, 0, 1)
    assert [int(film.steps[-1]) for film in films.films] == [4, 3]


def test_actions_of_another_shape_are_refused() -> None:
    class Wrong(Counting):
        def expert(self) -> NDArray[Any]:
            return np.zeros((2, 2))

    class Many:
        def expert(self, active: NDArray[Any]) -> NDArray[Any]:
            return np.zeros((3, 2))

    wrong: Any = Wrong()
    with pytest.raises(InputError, match=r"Wrong.expert gave actions of shape \(2, 2\); expected \(D,\)"):
        next_actions(SteppedEnvs([wrong]), "expert", np.ones(1, bool))
    many: Any = Many()
    with pytest.raises(InputError, match=r"Many.expert gave an array of shape \(3, 2\); expected \(2, D\)"):
        next_actions(many, "expert", np.ones(2, bool))


def film(seed: int, success: bool, steps: list[int], instruction: str = "reach") -> Film:
    frames = np.random.default_rng(seed).integers(0, 255, (len(steps), 12, 16, 3), np.uint8)
    return Film(instruction, success, seed, frames, np.array(steps))


def page(instruction: str = "reach", command: str = "fasttok-evaluate --run RUN") -> str:
    mine = [film(7, False, [0, 3, 6, 8], instruction), film(9, True, [0, 3, 4], instruction)]
    expert = [film(7, True, [0, 3, 5], instruction), film(9, True, [0], instruction)]
    players = (
        Played("policy", [0, 1, 0, 1], by_seed(mine)),
        Played("expert", [1, 1, 1, 1], by_seed(expert)),
    )
    return document([PlayedWorld(instruction, "held_out", players)], PageFacts(instruction, 1200, "m:f", command))


def test_the_page_holds_what_it_must() -> None:
    text = page()
    parsed = ParsedPage(text)
    assert parsed.open == []
    read = " ".join(parsed.text)
    for part in (
        "fasttok-evaluate --run RUN",
        "step 1,200",
        "2 of 4: 50 % [15, 85]",
        "4 of 4: 100 % [51, 100]",
        "seed 7",
        "seed 9",
        "8 steps",
        "no method blind",
        "Made on 2",
    ):
        assert part in read, part
    groups = [attrs for _, attrs in parsed.tags if attrs.get("role") == "group"]
    assert [group["tabindex"] for group in groups] == ["0", "0"]
    pictures = [attrs for _, attrs in parsed.tags if attrs.get("role") == "img"]
    assert [picture["aria-label"] for picture in pictures] == [
        "policy: reach, seed 7, failure after 8 steps",
        "expert: reach, seed 7, success after 5 steps",
        "policy: reach, seed 9, success after 4 steps",
        "expert: reach, seed 9, success after 0 steps",
    ]
    assert_whole(text)
    for rule in ("prefers-reduced-motion", "prefers-color-scheme: dark", "@media print", "animation-play-state:paused"):
        assert rule in text
    last = text.rindex(".pause { display:none }")  # on paper; a later rule of the same weight would win
    assert last > text.rindex(".pause { display:inline-flex")
    names = set(re.findall(r"animation-name:([\w-]+)", text))
    assert names == {"film-4-of-4", "film-3-of-4", "film-3-of-3"}
    assert names == set(re.findall(r"@keyframes ([\w-]+)", text))


def test_the_page_asks_for_nothing_from_a_network() -> None:
    found = re.findall(r"url\(([^)]{0,40})|(?:src|href)=\"([^\"]{0,40})", page())
    assert found
    assert all(one.startswith("data:image/webp;base64,") for pair in found for one in pair if one)


def test_text_of_the_data_is_never_markup() -> None:
    text = page(HOSTILE, f"fasttok-evaluate --run '{HOSTILE}'")
    parsed = ParsedPage(text)
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "img", "iframe", "a"})
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    assert HOSTILE in "".join(parsed.text)


def test_films_are_their_frames() -> None:
    one = film(3, True, [0, 3, 6])
    flat = np.zeros((5, 12, 16, 3), np.uint8)
    flat[np.arange(5), :, 3 * np.arange(5)] = 200
    drawn = Film("reach", False, 3, flat, np.array([0, 3, 6, 9, 11]))
    made = sprite.sprite(drawn, drawn.steps)
    pixels = np.asarray(Image.open(io.BytesIO(made.data)).convert("RGB"))
    assert (made.frames, made.of, pixels.shape) == (5, 5, (12, 80, 3))
    assert np.array_equal(pixels, np.concatenate(list(flat), axis=1))  # drawn pictures come out lossless
    short = sprite.sprite(one, drawn.steps)
    assert (short.frames, short.of) == (3, 5)
    page_part = sprite.moving(short, "a")
    encoded = re.search(r"base64,([^)]+)\)", page_part)
    assert encoded is not None
    assert base64.b64decode(encoded[1]) == short.data


def test_frames_stay_if_the_world_draws_into_the_same_array() -> None:
    seen, yes, no = {"image/primary": np.zeros((1, 4, 4, 3), np.uint8)}, np.array([True]), np.array([False])
    recorder = FilmRecorder(1)
    for step in (0, 3):
        seen["image/primary"][:] = step
        recorder.record(step, seen, yes, no)
    [filmed] = recorder.finished(["x"], yes, [0])
    assert filmed.frames[:, 0, 0, 0].tolist() == [0, 3]


def test_an_interval_holds_its_share() -> None:
    for trials in (1, 5, 400):
        for successes in range(trials + 1):
            low, high = wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1


def test_a_page_of_films_is_refused_before_the_work(tmp_path: Path) -> None:
    there = tmp_path / "page.html"
    there.write_text("mine")
    with pytest.raises(InputError, match="there is no --env"):
        main(EvaluateConfig(tmp_path / "run", vqa=tmp_path, films_page=tmp_path / "new.html"))
    with pytest.raises(InputError, match="--films is 0"):
        main(EvaluateConfig(tmp_path / "run", env="m:f", films_page=tmp_path / "new.html", films=0))
    with pytest.raises(InputError, match="--films-page"):
        main(EvaluateConfig(tmp_path / "run", env="m:f", films_page=there))
    with pytest.raises(InputError, match="--films-page"):
        main(EvaluateConfig(tmp_path / "run", env="m:f", out=tmp_path / "a", films_page=tmp_path / "a"))
    assert there.read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"rollouts": "a", "env": "", "vqa": "."}, "--rollouts shows episodes in a world, and there is no --env"),
        ({"out": "a", "films_page": "a"}, "--films-page .*a is also --out; give each"),
        ({"episodes": 0}, "--episodes is 0; expected at least 1"),
        ({"batch": 0}, "--batch is 0; expected at least 1"),
        ({"execute": 0.0}, "--execute is 0; expected a share"),
        ({"execute": 1.5}, "--execute is 1.5; expected a share"),
        ({"execute": float("nan")}, "--execute is nan; expected a share"),
        ({"splits": ()}, "--splits names none"),
    ],
)
def test_flags_of_which_no_evaluation_comes_are_refused(flags: dict[str, Any], says: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"run": tmp_path / "run", "env": "m:f", **flags}
    asked |= {name: tmp_path / flags[name] for name in ("rollouts", "out", "films_page", "vqa") if name in flags}
    with pytest.raises(InputError, match=says):
        main(EvaluateConfig(**asked))


def test_what_is_named_twice_is_played_once(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[EvaluateConfig] = []

    def asked(config: EvaluateConfig, factory: object) -> tuple[evaluate.EvaluationResult, evaluate.Watched]:
        played.append(config)
        return evaluate.EvaluationResult("run", 1, (), None, ()), evaluate.Watched([], {}, [], [])

    monkeypatch.setattr(evaluate, "load_factory", lambda name: Counting)
    monkeypatch.setattr(evaluate, "_ask_server", asked)
    main(EvaluateConfig(policy="ws://x", env="m:f", embodiments=("b", "a", "b"), splits=("seen", "seen")))
    assert (played[0].embodiments, played[0].splits) == (("b", "a"), ("seen",))


def test_what_only_a_run_can_answer_is_not_asked_of_a_server(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--vqa with --policy: a server acts"):
        main(EvaluateConfig(policy="ws://x", env="m:f", vqa=tmp_path))
    with pytest.raises(InputError, match="--temperature, --checkpoint with --policy: that is the server's"):
        main(EvaluateConfig(policy="ws://x", env="m:f", checkpoint="best", temperature=0.5))


def test_a_world_without_images_cannot_be_filmed() -> None:
    class Blind(Counting):
        def _seen(self) -> dict[str, NDArray[Any]]:
            return {"state": np.zeros(1, np.float32)}

    with pytest.raises(InputError, match="nothing to film: the environment shows state"):
        play(Still(), Blind, "e", "s", range(2), RolloutOptions(films=1))


def test_films_are_kept_under_the_name_that_was_asked_for(tmp_path: Path) -> None:
    film = Film("red | blue", True, 3, np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int64))
    rollout_videos.save(tmp_path / "films", {"arm/seen": [film]})
    assert [path.name for path in tmp_path.iterdir()] == ["films"]
    [found] = rollout_videos.load(tmp_path / "films")["arm/seen"]
    assert (found.instruction, found.success, found.seed) == ("red | blue", True, 3)


def test_films_of_before_stay_if_new_ones_cannot_be_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = Film("red", True, 3, np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int64))
    rollout_videos.save(tmp_path / "films.npz", {"arm/seen": [film]})

    def half(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(KeyboardInterrupt):
        rollout_videos.save(tmp_path / "films.npz", {"arm/seen": []})
    assert len(rollout_videos.load(tmp_path / "films.npz")["arm/seen"]) == 1
