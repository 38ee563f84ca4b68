"""What a trained run can do: closed loop in an environment, questions, and action error on held-out shards.

    fasttok-evaluate --run RUN --env examples.tabletop.env:make_vector --episodes 40

Success and language following are counted apart: an episode can concern the named object and still fail.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from fasttok.common import console
from fasttok.common.console import emit_json, log, table
from fasttok.errors import InputError, require
from train.rollouts import Film, load_factory, play


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluates a run: success and language following in a world, VQA accuracy, action error on held-out shards.

    Example: fasttok-evaluate --run RUN --env examples.tabletop.env:make_vector --vqa data/tabletop_vqa
    """

    run: Path
    """Folder of `fasttok-train`."""
    env: str = ""
    """module:factory of the environment (train/rollouts.py); one that takes `n` steps all episodes at once."""
    embodiments: tuple[str, ...] = ()
    """Embodiments to evaluate; all that the run knows by default."""
    splits: tuple[str, ...] = ("seen", "held_out")
    """Splits that the factory understands."""
    episodes: int = 40
    """Episodes per embodiment and split."""
    batch: int = 20
    """Episodes that run side by side, and rows of a prediction."""
    execute: float = 0.5
    """Share of each predicted chunk that is executed before the next prediction."""
    decode: Literal["flow", "tokens"] = "flow"
    """Act by sampling the expert's flow, or by the backbone's action tokens."""
    flow_steps: int = 10
    """Euler steps."""
    temperature: float = 0.0
    """Of action tokens: 0 takes the likeliest ones, 1 samples, as the flow does."""
    vqa: Path | None = None
    """Folder of a VQA dataset with a dataset.yaml; its val split is asked."""
    vqa_questions: int = 400
    """Most questions to ask."""
    held_out: Path | None = None
    """Shards that the run was not trained on (sources of another split): action error per dimension."""
    held_out_rows: int = 512
    """Most rows of them per embodiment."""
    checkpoint: int | None = None
    """Step of the checkpoint to evaluate; the newest by default."""
    seed: int = 1_000_000
    """Seed of the first episode."""
    out: Path | None = None
    """JSON file for the results."""
    rollouts: Path | None = None
    """npz file for the frames of a few episodes."""
    films: int = 2
    """Episodes per embodiment and split to film."""
    json: bool = False
    """Print JSON on stdout."""


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Runs what was asked for and prints a table.

    Raises:
        InputError: no such run, environment or dataset, or nothing asked for.
    """
    for package in ("jax", "optax", "orbax.checkpoint", "PIL"):
        require(package, "train", "evaluation")
    from train import rollout_videos
    from train.open_loop import action_errors
    from train.player import Player, answer_questions

    if not config.env and config.vqa is None and config.held_out is None:
        raise InputError("nothing to evaluate: pass --env module:factory, --vqa FOLDER, --held-out SHARDS, or several")
    player = Player.load(
        config.run, config.flow_steps, config.batch, step=config.checkpoint, temperature=config.temperature
    )
    results: dict[str, Any] = {"run": str(config.run), "step": player.step, "world": [], "vqa": None, "actions": []}
    shown: dict[str, list[Film]] = {}
    seeds = range(config.seed, config.seed + config.episodes)
    if config.env:
        factory = load_factory(config.env)
        for embodiment in config.embodiments or player.embodiments:
            for split in config.splits:
                found, shown[f"{embodiment}/{split}"] = play(
                    player, factory, embodiment, split, seeds, decode=config.decode, execute=config.execute,
                    batch=config.batch, films=config.films if config.rollouts else 0,
                )  # fmt: skip
                results["world"].append(found | {"batch": config.batch})
    if config.vqa is not None:
        results["vqa"] = answer_questions(player, config.vqa, config.vqa_questions)
    if config.held_out is not None:
        results["actions"] = action_errors(player, config.held_out, config.held_out_rows, config.decode)
    show(results, config.json)
    if config.rollouts is not None:
        rollout_videos.save(config.rollouts, shown)
    if config.out is not None:
        config.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def show(results: dict[str, Any], as_json: bool) -> None:
    """The results on stdout."""
    if as_json:
        emit_json(results)
        return
    if results["world"]:
        told = [name for name in ("success", "followed", "shortcut") if any(name in w for w in results["world"])]
        rows = [
            [w["embodiment"], w["split"], w["episodes"]]
            + [f"{100 * w[name]:.0f} %" if name in w else "-" for name in told]
            + [w["ms_per_prediction"]]
            for w in results["world"]
        ]
        table("closed loop", ["embodiment", "split", "episodes", *told, "ms per prediction"], rows)
    if results["vqa"]:
        v = results["vqa"]
        row = [v["questions"], f"{100 * v['accuracy']:.1f} %", f"{100 * v['baseline']:.1f} %"]
        table("VQA, exact match", ["questions", "accuracy", "most common answer of the question's kind"], [row])
    for found in results["actions"]:
        columns = ["dimension", "rmse", "mean absolute error", "spread (rmse of the mean)"]
        rows = [list(row) for row in zip(found["names"], found["rmse"], found["mae"], found["spread"], strict=True)]
        table(f"{found['embodiment']}: held-out actions by {found['decode']}, {found['rows']} chunks", columns, rows)
    log(f"evaluated step {results['step']} of {results['run']}")


def script() -> None:
    """The console script."""
    console.script("fasttok-evaluate", lambda argv: main(tyro.cli(EvaluateConfig, prog="fasttok-evaluate", args=argv)))


if __name__ == "__main__":
    script()
