"""The results of a demo: one sentence, the numbers beside their baselines, and bars of them."""

from collections.abc import Sequence
from typing import Any

from examples.demo_page.headings import heading
from examples.demo_summary import DemoSummary, EpisodeCount
from fasttok.common import html
from fasttok.common.html import Markup, tag
from train.judging import wilson
from train.study.pairs import newcombe

LIMITS = "says nothing about real robots, other tasks or scenes unlike these"


def verdict(found: DemoSummary) -> str:
    """Returns one sentence that says what the numbers of this one run show, and what they do not show.

    The robot is better than acting blindly if the 95 % interval of the difference (Newcombe) is above 0.

    >>> from examples.demo_summary import AnswerCount
    >>> few = DemoSummary(EpisodeCount(3, 48), EpisodeCount(10, 48), EpisodeCount(48, 48), AnswerCount(1, 2, 0.5), 300)
    >>> verdict(few).split(", which")[0]
    'The robot succeeded in 3 of 48 new episodes and one that acts blindly in 10 of 48'
    """
    ours, blind = found.policy, found.blind
    gain = newcombe(ours.successes, ours.episodes, blind.successes, blind.episodes)
    counts = f"The robot succeeded in {ours.successes} of {ours.episodes} new episodes"
    counts += f" and one that acts blindly in {blind.successes} of {blind.episodes}"
    if gain.low > 0:
        shows = "which is evidence, from one run, that this robot acts on the scene before it and not only by habit"
    elif gain.difference > 0:
        shows = "which is too small a difference to show that it acts on the scene before it"
    else:
        shows = (
            "which shows that the parts of the chain fit together, but not that the robot acts on the scene before it"
        )
    return f"{counts}, {shows}; it {LIMITS}."


def shares(count: EpisodeCount) -> tuple[float, float, float]:
    """Returns the share of successes, and the ends of its 95 % interval.

    >>> [round(share, 2) for share in shares(EpisodeCount(20, 40))]
    [0.5, 0.35, 0.65]
    """
    return count.successes / count.episodes, *wilson.wilson(count.successes, count.episodes)


def opening(found: DemoSummary, values: int, ids: int, samples: int) -> list[Markup]:
    """Returns the sentence, the few numbers that a reader wants first (each with its baseline), and bars.

    Args:
        found: results of the demo.
        values: number of action values in the robot rows of the shards.
        ids: number of FAST ids in these rows.
        samples: number of rows in the shards.
    """
    ours, blind, expert, vqa = found.policy, found.blind, found.expert, found.vqa
    tiles = {
        f"of {ours.episodes} tasks done; blind {said(blind)}, expert {said(expert)}": said(ours),
        f"of {vqa.questions} answers right; always the most common one: {html.percent(vqa.commonest, 0)}":
            html.percent(vqa.correct / vqa.questions, 0),
        "action values per FAST id; one bin for each value: 1.0": f"{values / ids:.1f}",
        "samples in the shards, exactly those that were planned": f"{samples:,}",
        "minutes for everything, from no data to this page": f"{found.seconds / 60:.1f}",
    }  # fmt: skip
    bars = [
        html.Bar("policy", *shares(ours), html.COMPUTED),
        html.Bar("acts blindly", *shares(blind), html.NEUTRAL),
        html.Bar("expert", *shares(expert), html.GOOD),
    ]
    right = html.Bar(
        "the robot", vqa.correct / vqa.questions, *wilson.wilson(vqa.correct, vqa.questions), html.COMPUTED
    )
    common = html.Bar("most common", vqa.commonest, vqa.commonest, vqa.commonest, html.NEUTRAL)
    return [
        tag("p", verdict(found), class_="verdict"),
        html.tiles(tiles),
        tag(
            "div",
            tag("div", html.bars(bars, "episodes with success (%)", title="Tasks done", share=True, most=1.0), class_="card"),
            tag("div", html.bars([right, common], "exact answers (%)", title="Questions answered", share=True, most=1.0),
                class_="card"),
            class_="cards",
        ),
        tag("p", "Lines are 95 % Wilson intervals. Everybody plays the same episodes, which no demonstration shows. The expert "
                 "made the demonstrations and knows the scene; the blind one replays demonstrations of other scenes.",
            class_="soft"),
    ]  # fmt: skip


def said(count: EpisodeCount) -> str:
    """Formats a share without its interval.

    >>> said(EpisodeCount(20, 40))
    '50 %'
    """
    return html.percent(count.successes / count.episodes, 0)


def numbers(results: dict[str, Any], played: Sequence[dict[str, Any]], chunk_ms: float) -> list[Markup]:
    """Returns every number of the evaluation, beside those of the expert and of a blind robot.

    Args:
        results: results of the policy.
        played: results of the others, in the same episodes.
        chunk_ms: duration of a chunk in ms.
    """
    rows = [
        [w["embodiment"], words(w["split"]), "policy", *cells(w), round(w["ms_per_prediction"], 1)]
        for w in results["world"]
    ]
    rows += [[w["embodiment"], words(w["split"]), w["policy"], *cells(w), None] for w in played]
    rows.sort(key=lambda row: row[:2])
    batch = results["world"][0]["batch"]
    return [
        heading("numbers"),
        tag("p", "Success: the task is done and stays done for 0.3 s. Followed: the first block that the robot did something "
                 "with is the one that the instruction names, done or not. Split `held out`: pairs of colour and shape, and "
                 "sentences, that no demonstration has. A prediction is one chunk, which lasts "
                 f"{chunk_ms:,.0f} ms, for {batch} episodes side by side. Brackets: 95 % Wilson intervals.", class_="soft"),
        html.table(["robot", "split", "who acts", "episodes", "success", "followed", "ms per prediction"], rows),
    ]  # fmt: skip


def cells(world: dict[str, Any]) -> list[Any]:
    """Returns the number of episodes, the success and the language following of a row of results.

    >>> cells({"episodes": 40, "success": 0.5, "followed": 1.0})
    [40, '50 % [35, 65]', '100 % [91, 100]']
    """
    n = world["episodes"]
    return [n, *(wilson.percent(round(world[name] * n), n) for name in ("success", "followed"))]


def words(split: str) -> str:
    """Returns a split's name for people.

    >>> words("held_out")
    'held out'
    """
    return split.replace("_", " ")
