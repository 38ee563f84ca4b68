"""Writes the first page of `make demo`, which shows what FAST tokens are on motions of the tabletop expert.

    python -m examples.tokens_page --out demo-tokens

It needs only the light install (`pip install .`), so that there is something to look at while the rest is installed.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.commands import call
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make
from examples.tabletop.expert import Expert
from fasttok.common.console import log, run, track
from fasttok.common.output_folder import OutputKind, check_output
from fasttok.errors import InputError, unknown_name
from fasttok.storage.folder import TOKENIZER

MOTIONS, FITTED, PAGE = "motions.npz", "tokenizer", "tokens.html"
FIRST_PAGE = OutputKind("first page of the demo", marks=(), files=(MOTIONS, PAGE), inner={FITTED: TOKENIZER})


@dataclass(frozen=True)
class TokensPageConfig:
    """Records motions of the tabletop expert, fits a tokenizer on them, and draws chunks of them as tokens.

    Example: python -m examples.tokens_page --out demo-tokens
    """

    out: Path = Path("demo-tokens")
    """Folder for the motions, the tokenizer and the page."""
    overwrite: bool = False
    """Replace an earlier page in OUT."""
    embodiment: str = "planar"
    """Robot that moves: planar or arm."""
    episodes: int = 60
    """Episodes to record."""
    seed: int = 0
    """Seed of the scenes and of the expert's hand."""


def main(config: TokensPageConfig) -> None:
    """Writes the page.

    Raises:
        InputError: there is no such robot, there are too few episodes, or OUT may not be replaced.
    """
    if config.embodiment not in EMBODIMENTS:
        raise unknown_name("embodiment", config.embodiment, EMBODIMENTS)
    if config.episodes < 2:
        raise InputError(f"--episodes is {config.episodes}, expected at least 2: some are held out")
    check_output(config.out, FIRST_PAGE, overwrite=config.overwrite).begin()
    seeds = range(config.seed, config.seed + config.episodes)
    motions = {
        f"episode_{number}": motion(config.embodiment, seed)
        for number, seed in enumerate(track(seeds, "recording the expert", unit="episodes"))
    }
    np.savez(config.out / MOTIONS, **motions)  # type: ignore[arg-type]
    hz = EMBODIMENTS[config.embodiment].control_hz
    at = {name: shlex.quote(str(config.out / name)) for name in (MOTIONS, FITTED, PAGE)}
    for command in (
        f"fasttok fit {at[MOTIONS]} --out {at[FITTED]} --seconds 1.0 --control-hz {hz:g} --vocab-size 512",
        f"fasttok inspect {at[FITTED]} {at[MOTIONS]} --chunks 3 --html {at[PAGE]}",
    ):
        log(f"$ {command}")
        call(command)
    log(f"What tokens are: open {config.out / PAGE}")


def motion(embodiment: str, seed: int) -> NDArray[np.float64]:
    """Returns the actions of the expert in one episode, (T, D), in raw units.

    Args:
        embodiment: planar or arm.
        seed: seed of the scene and of the expert's hand.
    """
    env = make(embodiment)
    env.reset(seed)
    expert = Expert(env.world, env.task, env.robot, np.random.default_rng([seed, 1]))
    actions = []
    while (action := expert.act()) is not None:
        actions.append(action)
        env.step(action)
    return np.array(actions, np.float64)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(TokensPageConfig, prog="python -m examples.tokens_page"))))
