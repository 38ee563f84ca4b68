"""Episodes -> chunks -> a fitted tokenizer with a held-out report: what `fasttok fit` and `tokenizer: fit` run.

Every figure reported is measured on held-out episodes; which ones is a function of the episode's place alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.bpe import Mode
from fasttok.chunks import episode_chunks, horizon_steps
from fasttok.embodiment import Embodiment
from fasttok.episodes import Episode, as_float
from fasttok.errors import InputError
from fasttok.metrics import Metrics, measure
from fasttok.normalize import Mode as NormMode
from fasttok.normalize import NormStats
from fasttok.tokenizer import ActionTokenizer

HELD_OUT_EVERY = 10  # one episode in so many is held out, where there are enough


@dataclass(frozen=True)
class FitConfig:
    """How to fit.

    Attributes:
        horizon: steps of a chunk, or None: `seconds` times each embodiment's control frequency.
        control_hz: for data that do not say theirs. action_key: step feature that holds the actions.
        max_chunks: most chunks per embodiment that are learned from, spread evenly over all.
    """

    horizon: int | None = None
    seconds: float = 1.0
    vocab_size: int = 1024
    scale: float = 10.0
    normalize: NormMode = "quantile"
    mode: Mode = "native"
    control_hz: float | None = None
    action_key: str = "action"
    max_chunks: int = 200_000

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < 1:
            raise InputError(f"horizon is {self.horizon}, expected at least 1 step")
        if not (np.isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"seconds is {self.seconds}, expected a positive number")
        if self.max_chunks < 1:
            raise InputError(f"max chunks is {self.max_chunks}, expected at least 1")


@dataclass
class Group:
    """One embodiment's data while it is collected: chunks (n, T, D) per episode, learned from or held out, and proprio."""

    embodiment: Embodiment
    train: list[NDArray] = field(default_factory=list)
    held_out: list[NDArray] = field(default_factory=list)
    proprio: list[NDArray] = field(default_factory=list)


@dataclass(frozen=True)
class FitReport:
    """What a fit saw and how good it is. `metrics`: per embodiment, on held-out episodes (all, where there is only one)."""

    episodes: dict[str, int]
    chunks: dict[str, int]
    held_out: dict[str, int]
    metrics: dict[str, Metrics]


def collect(episodes: Iterable[Episode], config: FitConfig) -> dict[str, Group]:
    """Chunks by embodiment.

    Raises:
        InputError: no episodes, an action that is missing, not finite or of another size than its embodiment's others, or no
            control frequency to turn seconds into steps.
    """
    groups: dict[str, Group] = {}
    for number, episode in enumerate(episodes):
        name = str(episode.metadata.get("embodiment") or episode.metadata.get("dataset") or "robot")
        action = action_of(episode, config.action_key)
        if name not in groups:
            groups[name] = Group(_embodiment(name, episode, action, config))
        group = groups[name]
        if action.shape[1] != group.embodiment.action_dim:
            raise InputError(
                f"{episode.where}: action has {action.shape[1]} dims, embodiment {name!r} has {group.embodiment.action_dim}"
            )
        encoding = group.embodiment.action_encoding or ("absolute",) * action.shape[1]
        side = group.held_out if _is_held_out(episode, number) else group.train
        side.append(episode_chunks(action, group.embodiment.horizon, encoding))
        if "proprio" in episode.steps:
            group.proprio.append(as_float(episode.steps["proprio"]))
    if not groups:
        raise InputError("no episodes: nothing to fit on")
    for group in groups.values():
        if not group.train:  # a handful of episodes, all held out by chance
            group.train = group.held_out
    return groups


def action_of(episode: Episode, key: str) -> NDArray[np.float32]:
    """The action column as (T, D) float32.

    Raises:
        InputError: there is none, or it holds NaN or inf (with step and dim).
    """
    if key not in episode.steps:
        raise InputError(
            f"{episode.where}: no step feature {key!r}; there are {', '.join(sorted(episode.steps))} (--action-key)"
        )
    values = episode.steps[key]
    if isinstance(values, list):
        raise InputError(f"{episode.where}: {key!r} holds bytes, expected numbers; choose another --action-key")
    action = as_float(values)
    bad = np.argwhere(~np.isfinite(action))
    if len(bad):
        step, dim = bad[0]
        raise InputError(
            f"{episode.where}: {key} is {action[step, dim]} at step {step}, dim {dim}; `pipelines index` rejects such episodes"
        )
    return action


def fit_tokenizer(episodes: Iterable[Episode], config: FitConfig) -> tuple[ActionTokenizer, FitReport]:
    """Fits one vocabulary on all embodiments, each normalised by its own statistics of what is tokenised.

    Raises:
        InputError: as `collect`, or the vocabulary is too small for the coefficient range.
    """
    groups = collect(episodes, config)
    train = {name: _thin(group.train, config.max_chunks) for name, group in groups.items()}
    stats = {
        name: NormStats.fit(chunks.reshape(-1, chunks.shape[-1]), config.normalize) for name, chunks in train.items()
    }
    fitted = ActionTokenizer.fit(train, config.vocab_size, config.scale, config.mode, stats)
    state_stats = {
        name: NormStats.fit(np.concatenate(group.proprio), config.normalize)
        for name, group in groups.items()
        if group.proprio
    }
    tok = ActionTokenizer(
        fitted.bpe,
        fitted.scale,
        fitted.min_token,
        fitted.max_token,
        stats,
        state_stats,
        {name: group.embodiment for name, group in groups.items()},
    )
    report = FitReport(
        episodes={name: len(g.train) + len(g.held_out) for name, g in groups.items()},
        chunks={name: len(chunks) for name, chunks in train.items()},
        held_out={name: sum(map(len, g.held_out)) for name, g in groups.items()},
        metrics={name: measure(tok, np.concatenate(g.held_out or g.train), name) for name, g in groups.items()},
    )
    return tok, report


def _embodiment(name: str, episode: Episode, action: NDArray, config: FitConfig) -> Embodiment:
    hz = episode.metadata.get("control_hz") or config.control_hz
    if config.horizon is not None:
        horizon = config.horizon
    elif hz is not None:
        horizon = horizon_steps(config.seconds, float(hz))
    else:
        raise InputError(
            f"{name}: the data do not say their control frequency, so {config.seconds:g} s is no number of steps; pass "
            "--control-hz, or the chunk length in steps with --horizon"
        )
    encoding = tuple(episode.metadata.get("action_encoding") or ())
    return Embodiment(horizon, action.shape[1], None if hz is None else float(hz), encoding)


def _is_held_out(episode: Episode, number: int) -> bool:
    """By a hash of the episode's place, so that it does not depend on the order of reading."""
    where = episode.where
    place = f"{where.file.rsplit('/', 1)[-1]}:{where.number}" if where.file else str(number)
    return hashlib.sha256(place.encode()).digest()[0] % HELD_OUT_EVERY == 0


def _thin(parts: Sequence[NDArray], most: int) -> NDArray:
    chunks = np.concatenate(parts)
    return chunks if len(chunks) <= most else chunks[np.linspace(0, len(chunks) - 1, most).astype(np.int64)]


def report_rows(tok: ActionTokenizer, report: FitReport) -> list[dict[str, Any]]:
    """The report as rows: one per embodiment."""
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
