"""summary.json of a demo: how often its robot succeeds beside the expert and one that acts blindly, and what its VLM answers.

Written by `python -m examples.demo` when all else is done; whole, or not there.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from examples.demo_files import read_json
from fasttok.common.console import write_text
from fasttok.errors import InputError

SUMMARY, EVALUATED, BASELINES = "summary.json", "eval.json", "baselines.json"
SPLIT = "seen"  # scenes as the demonstrations have them


@dataclass(frozen=True)
class EpisodeCount:
    """Closed-loop episodes on the split `seen`, of all robots that were judged.

    Attributes:
        successes: of the episodes.
        episodes: how many were played.
    """

    successes: int
    episodes: int


@dataclass(frozen=True)
class AnswerCount:
    """Questions about pictures that training did not show.

    Attributes:
        correct: exact matches.
        questions: how many were asked.
        commonest: share in [0, 1] that is right when the most common answer of each question's kind is always given.
    """

    correct: int
    questions: int
    commonest: float


@dataclass(frozen=True)
class DemoSummary:
    """What a demo measured.

    Attributes:
        policy: the robot that was trained.
        blind: one that replays demonstrations of other scenes, in the same episodes.
        expert: the demonstrator, in the same episodes.
        vqa: answers of the trained model.
        seconds: wall time of the whole chain, rounded.
    """

    policy: EpisodeCount
    blind: EpisodeCount
    expert: EpisodeCount
    vqa: AnswerCount
    seconds: int


def count(rows: Iterable[Mapping[str, Any]], who: str, file: Path) -> EpisodeCount:
    """Successes of all embodiments on the split.

    Args:
        rows: of results, with split, episodes and success (a share).
        who: acted, for messages.
        file: that the rows are from.

    Raises:
        InputError: no episode was played.
    """
    chosen = [row for row in rows if row["split"] == SPLIT]
    episodes = sum(row["episodes"] for row in chosen)
    if not episodes:
        raise InputError(f"{file} has no episode of {who} on the split {SPLIT}; run: make demo")
    return EpisodeCount(sum(round(row["success"] * row["episodes"]) for row in chosen), episodes)


def summarize(demo: Path, seconds: float) -> DemoSummary:
    """What the demo's own files say.

    Args:
        demo: its folder.
        seconds: that the chain took.

    Raises:
        InputError: a file is missing, or nothing was measured in it.
    """
    evaluated, played = read_json(demo / EVALUATED), read_json(demo / BASELINES)
    others = {
        who: count([row for row in played if row["policy"] == who], who, demo / BASELINES)
        for who in ("blind", "expert")
    }
    vqa = evaluated["vqa"]
    if not vqa:
        raise InputError(f"{demo / EVALUATED} has no answers; run: make demo")
    return DemoSummary(
        policy=count(evaluated["world"], "the policy", demo / EVALUATED),
        blind=others["blind"],
        expert=others["expert"],
        vqa=AnswerCount(round(vqa["accuracy"] * vqa["questions"]), vqa["questions"], float(vqa["baseline"])),
        seconds=round(seconds),
    )


def write(demo: Path, seconds: float) -> DemoSummary:
    """Writes DEMO/summary.json.

    Args:
        demo: folder of a demo that is done.
        seconds: that the chain took.

    Raises:
        InputError: as `summarize`.
    """
    summary = summarize(demo, seconds)
    write_text(demo / SUMMARY, json.dumps(asdict(summary), indent=2) + "\n")
    return summary
