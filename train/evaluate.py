"""What a trained run can do: closed loop in an environment, VQA, and action error.

    python -m train.evaluate --run RUN --env examples.tabletop.env:make --episodes 40

Success and language following are counted apart: an episode can concern the named object and still fail.
"""

import importlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tyro
from numpy.typing import NDArray

from fasttok.console import emit_json, log, progress, run, table
from fasttok.errors import InputError, require

Observation = dict[str, NDArray]


class Env(Protocol):
    """What an environment is to the evaluation; a factory is `make(embodiment=..., split=...) -> Env`."""

    embodiment: str
    action_dim: int
    max_steps: int
    instruction: str

    def reset(self, seed: int) -> Observation:
        """Starts an episode: {"image/<slot>": (h, w, 3) uint8, "state": (S,) float32 raw units}."""
        ...

    def step(self, action: NDArray) -> Observation:
        """Takes one action (D,) in raw units."""
        ...

    def success(self) -> bool:
        """Whether the instruction is fulfilled."""
        ...

    def followed(self) -> bool:
        """Whether the behaviour concerned the object that the instruction names."""
        ...


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluates a run: success and language following in a world, VQA accuracy.

    Example: python -m train.evaluate --run RUN --env examples.tabletop.env:make --episodes 40 --vqa data/tabletop_vqa
    """

    run: Path
    """Folder of `python -m train`."""
    env: str = ""
    """module:factory of the environment."""
    embodiments: tuple[str, ...] = ()
    """Embodiments to evaluate; all that the run knows by default."""
    splits: tuple[str, ...] = ("seen", "held_out")
    """Splits that the factory understands."""
    episodes: int = 40
    """Episodes per embodiment and split."""
    batch: int = 20
    """Episodes that run side by side."""
    execute: float = 0.5
    """Share of each predicted chunk that is executed before the next prediction."""
    decode: Literal["flow", "tokens"] = "flow"
    """Act by sampling the expert's flow, or by the backbone's action tokens."""
    flow_steps: int = 10
    """Euler steps."""
    vqa: Path | None = None
    """Folder of a VQA dataset with a dataset.yaml; its val split is asked."""
    vqa_questions: int = 400
    """Most questions to ask."""
    seed: int = 1_000_000
    """Seed of the first episode."""
    out: Path | None = None
    """JSON file for the results."""
    rollouts: Path | None = None
    """npz file for the frames of a few episodes."""
    json: bool = False
    """Print JSON on stdout."""


def load_factory(name: str) -> Any:
    """The factory named module:attribute.

    Raises:
        InputError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--env {name!r}: {error}; expected module:factory, such as examples.tabletop.env:make"
        ) from None


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Runs what was asked for and prints a table.

    Raises:
        InputError: no such run, environment or dataset, or nothing asked for.
    """
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "evaluation")
    from train.player import Player, answer_questions

    if not config.env and config.vqa is None:
        raise InputError("nothing to evaluate: pass --env module:factory, --vqa FOLDER, or both")
    player = Player.load(config.run, config.flow_steps, config.batch)
    results: dict[str, Any] = {"run": str(config.run), "step": player.step, "world": [], "vqa": None}
    frames: dict[str, NDArray] = {}
    if config.env:
        factory = load_factory(config.env)
        for embodiment in config.embodiments or player.embodiments:
            for split in config.splits:
                results["world"].append(closed_loop(config, player, factory, embodiment, split, frames))
    if config.vqa is not None:
        results["vqa"] = answer_questions(player, config.vqa, config.vqa_questions)
    show(results, config.json)
    if config.rollouts is not None:
        np.savez_compressed(config.rollouts, **frames)  # type: ignore[arg-type]
    if config.out is not None:
        config.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def closed_loop(
    config: EvaluateConfig, player: Any, factory: Any, embodiment: str, split: str, frames: dict[str, NDArray]
) -> dict[str, Any]:
    """Success and following of `episodes` episodes, side by side in groups of `batch`; frames of the first two are kept."""
    succeeded: list[bool] = []
    followed: list[bool] = []
    seconds, predictions = 0.0, 0
    with progress(f"{embodiment}, {split}", config.episodes, "episodes") as advance:
        for first in range(0, config.episodes, config.batch):
            seeds = range(config.seed + first, config.seed + min(first + config.batch, config.episodes))
            envs = [factory(embodiment=embodiment, split=split) for _ in seeds]
            seen = [env.reset(seed) for env, seed in zip(envs, seeds, strict=True)]
            tasks = [env.instruction for env in envs]
            films: list[list[NDArray]] = [[o["image/primary"]] for o in seen[:2]] if first == 0 else []
            done = [False] * len(envs)
            steps, taken = max(1, round(config.execute * player.horizon(embodiment))), 0
            while taken < envs[0].max_steps and not all(done):
                began = time.monotonic()
                chunks = player.act(embodiment, tasks, seen, config.decode)
                seconds, predictions = seconds + time.monotonic() - began, predictions + 1
                for k in range(min(steps, envs[0].max_steps - taken)):
                    for i, env in enumerate(envs):
                        if done[i]:
                            continue
                        seen[i] = env.step(chunks[i, k])
                        done[i] = env.success()
                        if i < len(films):
                            films[i].append(seen[i]["image/primary"])
                taken += steps
            succeeded += done
            followed += [env.followed() for env in envs]
            for i, film in enumerate(films):
                frames[f"{embodiment}/{split}/{i}"] = np.stack(film)
                frames[f"{embodiment}/{split}/{i}/text"] = np.array(f"{tasks[i]}|{'success' if done[i] else 'failure'}")
            advance(len(envs))
    return {
        "embodiment": embodiment,
        "split": split,
        "episodes": len(succeeded),
        "success": float(np.mean(succeeded)),
        "followed": float(np.mean(followed)),
        "ms_per_prediction": 1000 * seconds / max(predictions, 1),
        "batch": config.batch,
    }


def show(results: dict[str, Any], as_json: bool) -> None:
    """The results on stdout."""
    if as_json:
        emit_json(results)
        return
    if results["world"]:
        rows = [[w["embodiment"], w["split"], w["episodes"], f"{100 * w['success']:.0f} %", f"{100 * w['followed']:.0f} %",
                 w["ms_per_prediction"]] for w in results["world"]]  # fmt: skip
        table("closed loop", ["embodiment", "split", "episodes", "success", "followed", "ms per prediction"], rows)
    if results["vqa"]:
        v = results["vqa"]
        row = [v["questions"], f"{100 * v['accuracy']:.1f} %", f"{100 * v['baseline']:.1f} %"]
        table("VQA, exact match", ["questions", "accuracy", "most common answer of the question's kind"], [row])
    log(f"evaluated step {results['step']} of {results['run']}")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(EvaluateConfig, prog="python -m train.evaluate"))))
