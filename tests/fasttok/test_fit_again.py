"""The command that `fasttok eval --target-error` prints: it works as it is, and makes the same tokenizer at another scale."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.actions.dataset import Dataset
from fasttok.cli.commands import main
from fasttok.codec.corpus import CodeRangeError
from fasttok.episodes import Episode
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from fasttok.fitting.fit_again import config_like, fit_command

RNG = np.random.default_rng(0)
WALKS = np.cumsum(RNG.normal(0, 0.05, (30, 60, 3)), axis=1)
WALKS[..., 2] = 4.5  # never moves


@pytest.mark.parametrize(
    ("flags", "target", "size"),
    [
        ("--horizon 20 --normalize min_max --vocab-size 700", 0.02, 700),
        ("--control-hz 12 --clip --constants low --gain 2 1 1", 0.01, 1024),
        ("--horizon 8 --relative-to 0=1 1=0 --normalize mean_std --mode published --scale 2", 0.01, 1024),
        ("--horizon 5 --scale 2 --vocab-size 80", 0.002, 1280),
        ("--horizon 10 --normalize none --action-key proprio --transform rotation", 0.02, 1024),
    ],
)
def test_the_printed_command_makes_the_same_tokenizer_at_another_scale(
    flags: str,
    target: float,
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", action=WALKS, proprio=WALKS[..., [1, 0, 2]] + 0.01)
    main(["fit", "d.npz", "--out", "tok", *flags.split()])
    capsys.readouterr()
    keys = ["--action-key", "proprio"] if "action-key" in flags else []
    main(["eval", "tok", "d.npz", "--target-error", str(target), *keys])
    said = next(line for line in capsys.readouterr().err.splitlines() if "fasttok fit " in line)
    main(shlex.split(said.partition(": fasttok ")[2]))
    before, after = ActionTokenizer.load("tok"), ActionTokenizer.load("tokenizer")
    assert (after.mode, after.vocab_size <= size, after.transforms) == ("native", True, {})
    assert f"scale {after.scale:g} has a rounding error of at most {target:g}" in said
    assert f" --vocab-size {size} " in said or size == 1024
    assert [replace(one, control_hz=None) for one in before.embodiments.values()] == [*after.embodiments.values()]
    assert [one.to_json() for one in after.stats.values()] == [one.to_json() for one in before.stats.values()]


@pytest.mark.parametrize(("flags", "names"), [("apart", ["a", "b"]), ("together", ["arm"])])
def test_the_printed_command_makes_the_same_embodiments(
    flags: str,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, unit in (("a", 1.0), ("b", 90.0)):
        np.savez(f"{name}.npz", action=WALKS * unit, embodiment="arm")
    main(["fit", "a.npz", "b.npz", "--out", "tok", "--horizon", "10", "--embodiments", flags])
    capsys.readouterr()
    main(["eval", "tok", "a.npz", "b.npz", "--target-error", "0.02"])
    said = next(line for line in capsys.readouterr().err.splitlines() if "fasttok fit " in line)
    assert f" --embodiments {flags} " in said
    main(shlex.split(said.partition(": fasttok ")[2]))
    assert [*ActionTokenizer.load("tokenizer").embodiments] == names


def episodes(hz: dict[str, float]) -> list[Episode]:
    return [
        Episode({"action": walk}, {"embodiment": name, "control_hz": rate})
        for name, rate in hz.items()
        for walk in WALKS[:12]
    ]


def test_robots_of_several_frequencies_keep_the_seconds_of_a_chunk() -> None:
    config = FitConfig(seconds=0.8, vocab_size=600)
    every = episodes({"arm": 10.0, "planar": 5.0})
    tok, _ = fit_tokenizer(every, config)
    with Dataset(every, FitConfig(), tok.embodiments) as data:
        found = config_like(tok, data, FitConfig(scale=12.0))
    assert fit_command(found, ["INDEX"], "val", "tok") == (
        "fasttok fit INDEX --split val --seconds 0.8 --vocab-size 600 --scale 12 --out tok"
    )
    assert {name: what.horizon for name, what in tok.embodiments.items()} == {"arm": 8, "planar": 4}


def test_a_scale_that_no_vocabulary_has_codes_for_is_said() -> None:
    tok, _ = fit_tokenizer(episodes({"arm": 10.0}), FitConfig())
    with Dataset(episodes({"arm": 10.0}), FitConfig(), tok.embodiments) as data:
        for scale in (10_000.0, 80_000.0):
            with pytest.raises(CodeRangeError, match=r"codes, and a vocabulary has at most|a token can stand for"):
                config_like(tok, data, FitConfig(scale=scale))
