"""summary.json of a demo: how often its robot, the expert and a blind robot succeed, and how many questions its VLM answers.

`python -m examples.demo` writes it when everything else is done. The file is complete or missing.
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
SPLIT = "seen"  # scenes like those of the demonstrations


@dataclass(frozen=True)
class EpisodeCount:
    """Closed-loop episodes on the split `seen`, summed over all robots that were judged.

    Attributes:
        successes: number of successful episodes.
        episodes: number of episodes.
    """

    successes: int
    episodes: int


@dataclass(frozen=True)
class AnswerCount:
    """Questions about pictures that training did not show.

    Attributes:
        correct: number of answers that match exactly.
        questions: number of questions.
        commonest: share of right answers, in [0, 1], of a baseline that always gives the most common answer of a question's kind.
    """

    correct: int
    questions: int
    commonest: float


@dataclass(frozen=True)
class DemoSummary:
    """The results of a demo.

    Attributes:
        policy: episodes of the trained robot.
        blind: the same episodes, played by a robot that replays demonstrations of other scenes.
        expert: the same episodes, played by the demonstrator.
        vqa: answers of the trained model.
        seconds: wall time of the whole chain, rounded.
    """

    policy: EpisodeCount
    blind: EpisodeCount
    expert: EpisodeCount
    vqa: AnswerCount
    seconds: int


def count(rows: Iterable[Mapping[str, Any]], who: str, file: Path) -> EpisodeCount:
    """Adds up the successes of all embodiments on the split.

    Args:
        rows: rows of results, with split, episodes and success (a share).
        who: name of the one who acted, for messages.
        file: file of the rows, for messages.

    Raises:
        InputError: no episode was played.
    """
    chosen = [row for row in rows if row["split"] == SPLIT]
    episodes = sum(row["episodes"] for row in chosen)
    if not episodes:
        raise InputError(f"{file} has no episode of {who} on the split {SPLIT}; run: make demo")
    return EpisodeCount(sum(round(row["success"] * row["episodes"]) for row in chosen), episodes)


def summarize(demo: Path, seconds: float) -> DemoSummary:
    """Reads the results from the demo's own files.

    Args:
        demo: folder of the demo.
        seconds: wall time of the chain.

    Raises:
        InputError: a file is missing, or has no measurements.
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
        demo: folder of a finished demo.
        seconds: wall time of the chain.

    Raises:
        InputError: as `summarize` raises it.
    """
    summary = summarize(demo, seconds)
    write_text(demo / SUMMARY, json.dumps(asdict(summary), indent=2) + "\n")
    return summary
