"""Fits a tokenizer on episodes and reports on held-out ones. `fasttok fit` and `tokenizer: fit` run this.

Every figure of the report is measured on held-out episodes, or on the only episode there is, and the report says which. Memory
does not grow with the data: actions and coefficients are kept in temporary files, and statistics are exact and read in batches.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.actions.dim_ranges import FAR, NAMES
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.embodiment_actions import SUBSETS, EmbodimentActions, Subset
from fasttok.actions.left_out import LeftOut
from fasttok.actions.normalize import NormStats
from fasttok.codec.corpus import CodeRangeError
from fasttok.codec.learn import Track
from fasttok.codec.learn_transform import TransformPlan
from fasttok.codec.spline import SplineConfig
from fasttok.common.choices import Constants, FitMode, NormMode, TransformName
from fasttok.episodes import Episode
from fasttok.errors import InputError
from fasttok.evaluation.metrics import Cell, Metrics, measure
from fasttok.fitting import clipping
from fasttok.fitting.clipping import Clipped
from fasttok.fitting.far_values import SHOWN, far_actions, far_states, seen_far
from fasttok.tokenizer import ActionTokenizer

if TYPE_CHECKING:
    from fasttok.actions.representation import Representation

GLITCHES = 0.002  # up to this share of the steps, far values are glitches to `clip` and do not widen a range
WIDE = 3.0  # if a vocabulary is too small and no value is `FAR` off, values so many half ranges off are named
MEASURED = 20_000  # maximum number of held-out chunks that the report is measured on
COMPARED_ON = 2_000  # maximum number of held-out chunks that a transform is chosen on


@dataclass(frozen=True)
class FitConfig(ChunkConfig):
    """How to fit.

    Attributes:
        vocab_size: number of ids.
        scale: factor before rounding: coarse at 1, fine at 100.
        normalize: statistics that map raw units to about [-1, 1].
        constants: what dims that never move become: zero, or low for -1, as in openpi and lerobot.
        mode: native, published for the published code's files, or fixed for control points of splines.
        transform: what turns chunks into coefficients, see `ActionTokenizer.fit`.
        points: control points of each dim in a fixed fit.
        degree: degree of the splines in a fixed fit.
        max_chunks: maximum number of chunks per embodiment to learn from, sampled evenly.
        clip: whether values outside the bounds of the statistics are cut to them, in the fit and in the tokenizer.
    """

    vocab_size: int = 1024
    scale: float = 10.0
    normalize: NormMode = "quantile"
    constants: Constants = "zero"
    mode: FitMode = "native"
    transform: TransformName = "dct"
    points: int = 10
    degree: int = 3
    max_chunks: int = 200_000
    clip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.control_hz is not None and not 0 < self.control_hz < np.inf:
            raise InputError(f"control frequency is {self.control_hz:g} Hz, expected a positive number, such as 10")
        if self.max_chunks < 1:
            raise InputError(f"max chunks is {self.max_chunks}, expected at least 1")
        if self.clip:
            clipping.check_mode(self.normalize)


@dataclass(frozen=True)
class FitReport:
    """What a fit saw and how good it is; the dicts are by embodiment.

    Attributes:
        episodes: number of episodes.
        chunks: number of chunks it learned from.
        held_out: number of chunks in held-out episodes.
        metrics: measured on held-out episodes, or on all if there is only one.
        left_out: records that could not be used.
        far: values that are far from what is usual for their dim, in words.
        clipped: what was cut to the bounds; empty if nothing was cut.
    """

    episodes: dict[str, int]
    chunks: dict[str, int]
    held_out: dict[str, int]
    metrics: dict[str, Metrics]
    left_out: LeftOut = field(default_factory=LeftOut)
    far: list[str] = field(default_factory=list)
    clipped: dict[str, Clipped] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Says what was left out, was clipped, or is far off, one line each; [] if there is nothing to say."""
        cut = [f"{name}: {what.text()}" for name, what in self.clipped.items()]
        return [*self.left_out.lines(), *cut, *(f"far off: {line}" for line in self.far)]


def fit_tokenizer(
    episodes: Iterable[Episode],
    config: FitConfig,
    represent: "Mapping[str, Representation] | None" = None,
    horizons: Mapping[str, int] | None = None,
    track: Track = lambda merges: merges,
    left_out: LeftOut | None = None,
) -> tuple[ActionTokenizer, FitReport]:
    """Fits one vocabulary on all embodiments, each normalised by its own statistics (of what is tokenised).

    Args:
        episodes: episodes to fit on, read once.
        config: how to fit.
        represent: form to which the actions of some embodiments are converted first.
        horizons: steps per chunk, for embodiments that do not take `config`'s.
        track: wraps the loop over merges, to show progress.
        left_out: for the report, what the reader of the episodes has left out once all are read.

    Raises:
        InputError: as `Dataset`, or the vocabulary is too small for the coefficient range.
    """
    with Dataset(episodes, config, represent=represent, horizons=horizons) as data:
        tok = fit_on(data, config, track)
        return tok, report(tok, data, config, left_out)


def fit_on(data: Dataset, config: FitConfig, track: Track = lambda merges: merges) -> ActionTokenizer:
    """Computes the statistics of each group, and fits one vocabulary for all.

    Raises:
        InputError: the vocabulary is too small for the coefficients; the message names the values that cause this, if any do.
    """
    stats, state_stats = {}, {}
    for name, group in data.groups.items():
        stats[name] = action_stats(group, config)
        if group.proprio.lengths:
            state_stats[name] = NormStats.of(
                functools.partial(iter, group.proprio), config.normalize, constants=config.constants
            )
    try:
        fitted = ActionTokenizer.fit(
            {name: group.relative_chunks("train", config.max_chunks) for name, group in data.groups.items()},
            config.vocab_size,
            config.scale,
            config.mode,
            stats,
            {name: group.embodiment for name, group in data.groups.items()},
            track,
            _plan(data, config),
        )
    except CodeRangeError as error:
        looks = (far_lines(data, stats, config.max_chunks, halves=halves) for halves in (FAR, WIDE))
        far = [] if config.clip else next((lines for lines in looks if lines), [])
        if not far:
            raise
        more = f"; and {len(far) - SHOWN} more dims" if len(far) > SHOWN else ""
        raise InputError(
            f"{'; '.join(far[:SHOWN])}{more}. No vocabulary is made with such values ({str(error).split(';')[0]}). If these are "
            "glitches, repair or remove the episodes, or fit with --clip (in `build`: --fit-clip), which cuts values to the "
            "usual range of their dim and counts them; else raise --vocab-size or lower --scale"
        ) from None
    return replace(fitted, state_stats=state_stats)


def _plan(data: Dataset, config: FitConfig) -> TransformPlan:
    """Returns the plan for the transform that the user asked for, to choose it on held-out episodes if there are any."""
    held_out = {
        name: np.concatenate([*group.relative_chunks("held_out", COMPARED_ON)])
        for name, group in data.groups.items()
        if config.transform != "dct" and group.actions["held_out"].rows
    }
    return TransformPlan(config.transform, held_out, SplineConfig(config.points, config.degree))


def action_stats(group: EmbodimentActions, config: FitConfig) -> NormStats:
    """Computes the statistics of the chunks that a fit learns from."""

    def rows() -> Iterable[Any]:
        chunks = group.relative_chunks("train", config.max_chunks)
        return (batch.reshape(-1, batch.shape[-1]) for batch in chunks)

    stats = NormStats.of(
        rows, config.normalize, config.clip, constants=config.constants, copies=group.embodiment.horizon
    )
    widened = [d for d, by in stats.exceptions.items() if config.normalize == "quantile" and by == NAMES["min_max"]]
    if widened:  # padding repeats an episode's last step, so that one glitch there looks like several
        far = far_actions(group, stats, "train", config.max_chunks)
        few = GLITCHES * group.count("train") if config.clip else 0
        glitches = [f.dim for f in far if f.dim in widened and f.steps <= max(1, few) and f.low < f.high]
        stats = stats.by_quantiles(glitches)
    return stats


def far_lines(
    data: Dataset, stats: Mapping[str, NormStats], most: int, subset: Subset = "train", halves: float = FAR
) -> list[str]:
    """Says where actions are more than `halves` half ranges from the middle of their dim, one line per dim."""
    lines = []
    for name, group in data.groups.items():
        if name in stats:
            what = "action minus state" if group.embodiment.relative else "action"
            if subset == "held_out" or seen_far(stats[name], halves):
                lines += [far.text(what) for far in far_actions(group, stats[name], subset, most, halves)]
    return lines


def report(tok: ActionTokenizer, data: Dataset, config: FitConfig, left_out: LeftOut | None = None) -> FitReport:
    """Measures a tokenizer on held-out chunks; `left_out` is what the readers left out."""
    every = LeftOut()
    for part in (left_out or LeftOut(), data.left_out):
        every.reasons.update(part.reasons)
        every.named += part.named
    far = [line for subset in SUBSETS for line in far_lines(data, tok.stats, config.max_chunks, subset)]
    for name, stats in tok.state_stats.items():
        if seen_far(stats):
            far += [values.text("state") for values in far_states(data.groups[name], stats)]
    cut = {name: clipping.clipped(g, tok.stats[name]) for name, g in data.groups.items()} if config.clip else {}
    return FitReport(
        episodes=data.total,
        chunks={name: min(config.max_chunks, g.count("train")) for name, g in data.groups.items()},
        held_out={name: g.count("held_out") if data.held_out[name] else 0 for name, g in data.groups.items()},
        metrics={name: measure_group(tok, group, name, MEASURED) for name, group in data.groups.items()},
        left_out=every,
        far=[*dict.fromkeys(far)],
        clipped=cut,
    )


def measure_group(tok: ActionTokenizer, group: EmbodimentActions, name: str | None, most: int) -> Metrics:
    """Measures metrics on at most `most` held-out chunks of a group."""
    chunks, reference = group.sample("held_out", most)
    return measure(tok, chunks, name, reference)


def measured_on(held_out: Mapping[str, int]) -> str:
    """Says in words what figures were measured on; `held_out` counts what is held out of each embodiment.

    >>> measured_on({"arm": 3, "planar": 1}), measured_on({"arm": 0})
    ('held-out episodes', 'the only episode, which the fit saw')
    >>> measured_on({"arm": 3, "planar": 0})
    'held-out episodes (planar: the only episode, which the fit saw)'
    """
    seen = [name for name, count in held_out.items() if not count]
    if len(seen) == len(held_out):
        return "the only episode, which the fit saw"
    return "held-out episodes" + (f" ({', '.join(seen)}: the only episode, which the fit saw)" if seen else "")


def report_rows(tok: ActionTokenizer, report: FitReport) -> list[dict[str, Cell]]:
    """Returns the report as rows, one per embodiment.

    >>> import numpy as np
    >>> from fasttok.actions.embodiment import Embodiment
    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256, embodiments={"arm": Embodiment(15, 1)})
    >>> done = FitReport({"arm": 1}, {"arm": 4}, {"arm": 4}, {"arm": measure(tok, chunks)})
    >>> report_rows(tok, done)[0]["naive tokens"]
    15
    """
    rows = []
    for name, metrics in report.metrics.items():
        embodiment = tok.embodiments[name]
        rows.append(
            {
                "embodiment": name,
                "dims": embodiment.action_dim,
                "Hz": embodiment.control_hz,
                "horizon": embodiment.horizon,
                "episodes": report.episodes[name],
                "chunks": report.chunks[name],
                "held out": report.held_out[name],
                **metrics.row(),
            }
        )
    return rows


def relative_pairs(what: Embodiment) -> dict[str, int]:
    """Returns the state column of each relative dim, by the dim's number as text; {} if no dim is relative.

    >>> relative_pairs(Embodiment(10, 3, relative=(0, 2), relative_to=(4, 1)))
    {'0': 4, '2': 1}
    """
    return {str(d): c for d, c in zip(what.relative, what.state_columns, strict=True)}


def runs(numbers: Sequence[int]) -> str:
    """Writes numbers as text, neighbours as a range.

    >>> runs([0, 1, 2, 5, 4])
    '0-2, 5, 4'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)


def relative_lines(tok: ActionTokenizer) -> list[str]:
    """Says which dims are relative to the state, one line per embodiment.

    >>> import numpy as np
    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> relative_lines(ActionTokenizer.fit(chunks, 256, embodiments={"": Embodiment(15, 1, relative=(0,))}))
    ['action dim 0 relative to column 0 of the state (proprio) at the first step of the chunk']
    """
    lines = []
    for name, what in tok.embodiments.items():
        if what.relative:
            dims, columns = runs(what.relative), runs(what.state_columns)
            many = "s" * (len(what.relative) > 1)
            line = f"action dim{many} {dims} relative to column{many} {columns} of the state ({what.state_key or 'proprio'})"
            lines.append(f"{name}: {line} at the first step of the chunk".lstrip(": "))
    return lines


def exceptions(tok: ActionTokenizer) -> list[str]:
    """Says which dims are not normalised as the user asked, and what they are normalised by instead, one line for each way.

    >>> import numpy as np
    >>> x = np.zeros((1000, 2))
    >>> x[:5, 1] = 1.0
    >>> exceptions(ActionTokenizer.fit({"arm": x.reshape(100, 10, 2)}, 256, stats={"arm": NormStats.fit(x)}))
    ['arm: action dim 0 by constant, 0', 'arm: action dim 1 by min..max']
    """
    lines = []
    for what, every in (("action", tok.stats), ("state", tok.state_stats)):
        for name, stats in every.items():
            found = stats.exceptions
            for by in dict.fromkeys(found.values()):
                dims = [str(d) for d, other in found.items() if other == by]
                lines.append(f"{name}: {what} dim{'s' * (len(dims) > 1)} {', '.join(dims)} by {by}".lstrip(": "))
    return lines
