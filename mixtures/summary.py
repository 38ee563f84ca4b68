"""What a mixture comes to, before anything runs: the table that `explain` prints."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttok.errors import InputError, unknown_name
from mixtures.quota import capped_quotas
from mixtures.spec import Mixture

COLUMNS = ("source", "kind", "share", "samples", "of samples", "steps held", "epochs", "chunk", "naive tokens", "note")


@dataclass(frozen=True)
class SourceSummary:
    """One line of the table; None where the INDEX is needed to know.

    Attributes:
        source: name in the mixture, with its groups in front.
        share: of all samples, as the weights say, in (0, 1].
        samples: quota of this source, exact.
        realised: samples / all samples; differs from share by less than one sample unless capped.
        kind: robot, vqa or caption.
        frames: steps (robot) or records (vqa, caption) that the INDEX holds.
        epochs: samples / frames.
        horizon: steps in a chunk.
        action_dim: numbers in a step's action.
        naive_tokens: horizon * action_dim, what binning needs per sample and FAST is measured against.
        capped: max_epochs holds the samples below the share.
    """

    source: str
    share: float
    samples: int
    realised: float
    kind: str | None = None
    frames: int | None = None
    epochs: float | None = None
    horizon: int | None = None
    action_dim: int | None = None
    naive_tokens: int | None = None
    capped: bool = False

    @property
    def row(self) -> tuple[Any, ...]:
        """The cells of `COLUMNS`."""
        chunk = f"{self.horizon} x {self.action_dim}" if self.horizon and self.action_dim else None
        note = "capped by max_epochs" if self.capped else ""
        return (
            *(self.source, self.kind, f"{self.share:.2%}", self.samples, f"{self.realised:.2%}"),
            *(self.frames, self.epochs, chunk, self.naive_tokens, note),
        )


def read_index(folder: str) -> dict[str, Any]:
    """INDEX/index.json: the counts per dataset and split, read as plain JSON.

    Raises:
        InputError: no finished INDEX there.
    """
    path = Path(folder) / "index.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: {folder} is not a finished INDEX; make one: python -m pipelines index DATASET_DIR..."
            f" --out {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("datasets"), dict):
        raise InputError(f"{path}: expected the index.json of an INDEX, with `datasets` in it")
    return value


def split_counts(index: dict[str, Any], dataset: str, split: str) -> dict[str, Any]:
    """The counts of a dataset's split in an index.json.

    Raises:
        InputError: the INDEX lacks the dataset or the split; names what it has.
    """
    known = index["datasets"]
    if dataset not in known:
        raise unknown_name(
            "dataset", dataset, known, "Index it too: python -m pipelines index DATASET_DIR... --out INDEX"
        )
    splits: dict[str, dict[str, Any]] = known[dataset]["splits"]
    if split not in splits:
        raise unknown_name(f"split of {dataset}", split, splits)
    return splits[split]


def summarise(mixture: Mixture, samples: int, index: dict[str, Any] | None = None) -> list[SourceSummary]:
    """One line a source.

    Args:
        mixture: what to explain.
        samples: size of the build that is asked about.
        index: value of `read_index`; None: shares and samples only, and max_epochs cannot be checked.

    Raises:
        InputError: a source that the INDEX lacks; caps that cannot hold the samples.

    >>> from mixtures.registry import load_mixture
    >>> [(line.source, line.samples) for line in summarise(load_mixture("demo"), 100)][0]
    ('tabletop_planar', 40)
    """
    counts = [split_counts(index, s.dataset, s.split) if index else {} for s in mixture.sources]
    frames = [int(c["steps"]) if c else None for c in counts]
    caps = [
        int(s.max_epochs * n) if s.max_epochs is not None and n is not None else None
        for s, n in zip(mixture.sources, frames, strict=True)
    ]
    names = [s.name for s in mixture.sources]
    quotas = capped_quotas([s.share for s in mixture.sources], samples, caps, names).tolist()
    lines = []
    for source, held, quota, cap in zip(mixture.sources, frames, quotas, caps, strict=True):
        dataset = index["datasets"][source.dataset] if index else {}
        entry = dataset.get("entry", {})
        robot = entry.get("kind") == "robot"
        horizon = mixture.chunk.horizon(entry.get("control_hz")) if robot else None
        dim = entry["action_dim"] if robot else None
        lines.append(
            SourceSummary(
                source="/".join((*source.group, source.name)),
                share=source.share,
                samples=quota,
                realised=quota / samples if samples else 0.0,
                kind=entry.get("kind"),
                frames=held,
                epochs=quota / held if held else None,
                horizon=horizon,
                action_dim=dim,
                naive_tokens=horizon * dim if horizon and dim else None,
                capped=cap is not None and quota == cap and quota < source.share * samples,
            )
        )
    return lines
