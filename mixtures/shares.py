"""Shares: what the policies of a mixture's groups come to, and how many samples of each source a build then has.

A group's share is split over its members in proportion to

    as_given             w                  the weights, as they stand
    proportional         n                  n frames (steps, or records) of a member; of a group, of all below it
    temperature          n ** (1 / T)       T = 1 is proportional, a large T makes all alike (Devlin 2018, Arivazhagan 2019)
    weight_times_frames  w * n              what octo's and openvla's published weights mean (`balance_weights`)

and the root's share is 1. A curriculum changes weights after given numbers of samples; each of its phases has shares and quotas
of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError
from mixtures.quota import IntArray, capped_quotas
from mixtures.spec import Group, Mixture, Source, walk

Frames = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Budget:
    """How many samples each source gives.

    Attributes:
        counts: (phases, sources) int64, exact: each within one sample of its share, unless a cap holds it or frees it.
        shares: (phases, sources) float64, each row sums to 1.
        capped: (sources,) whether max_epochs holds a source below its shares.
    """

    counts: IntArray
    shares: NDArray[np.float64]
    capped: NDArray[np.bool_]

    @property
    def quotas(self) -> IntArray:
        """(sources,) samples in all phases."""
        return self.counts.sum(axis=0)


def needs_frames(group: Group) -> list[str]:
    """The sources on whose sizes shares depend, in order."""
    if group.sized:
        return [source.name for _, source in walk(group)]
    return [name for member in group.members if isinstance(member, Group) for name in needs_frames(member)]


def shares(mixture: Mixture, frames: Frames | None = None, phase: int = -1) -> NDArray[np.float64]:
    """The share of each source, (k,) float64 in the order of `mixture.sources`, summing to 1.

    Args:
        frames: of each source by name, for the policies that read sizes.
        phase: of the curriculum; -1 for the weights as the tree has them.

    Raises:
        InputError: a policy needs sizes that are not known, or all weights of a group are 0.
    """
    weights: dict[str, float] = {}
    for change in mixture.schedule[: phase + 1]:
        weights |= dict(change.weights)
    found: list[float] = []
    _split(mixture.root, 1.0, frames, weights, found)
    total = math.fsum(found)
    return np.array([share / total for share in found])


def budget(mixture: Mixture, samples: int, frames: Frames | None = None) -> Budget:
    """Exact quotas of a build, phase by phase.

    Args:
        samples: of the build. A phase that begins later is not reached, and has no row.
        frames: of each source; where they are not known, `max_epochs` cannot be checked and does not hold.

    Raises:
        InputError: as `shares`; caps that cannot hold the samples.
    """
    names = [source.name for source in mixture.sources]
    left: list[int | None] = [cap(source.max_epochs, (frames or {}).get(source.name)) for source in mixture.sources]
    counts, parts = [], []
    for number, start, stop in phases(mixture, samples):
        parts.append(shares(mixture, frames, number))
        counts.append(capped_quotas(parts[-1], stop - start, left, names))
        left = [None if most is None else most - n for most, n in zip(left, counts[-1].tolist(), strict=True)]
    table = np.stack(counts)
    wanted = sum(part * n for part, n in zip(parts, table.sum(axis=1), strict=True))
    held = np.array([most == 0 for most in left]) & (table.sum(axis=0) < wanted)
    return Budget(table, np.stack(parts), held)


def phases(mixture: Mixture, samples: int) -> list[tuple[int, int, int]]:
    """(number of the phase, -1 without a curriculum; first sample; one past its last) of the phases that a build reaches."""
    if not mixture.schedule:
        return [(-1, 0, samples)]
    starts = [phase.after for phase in mixture.schedule]
    stops = [*starts[1:], samples]
    return [(i, a, min(b, samples)) for i, (a, b) in enumerate(zip(starts, stops, strict=True)) if a < samples]


def cap(max_epochs: float | None, frames: int | None) -> int | None:
    """Most samples of a source; None without a limit, or where its size is not known.

    >>> cap(1.5, 101), cap(None, 101)
    (151, None)
    """
    return None if max_epochs is None or frames is None else int(max_epochs * frames)


def _split(
    node: Group | Source, share: float, frames: Frames | None, weights: Mapping[str, float], found: list[float]
) -> None:
    """Appends the shares of all sources below a node, in order."""
    if isinstance(node, Source):
        found.append(share)
        return
    parts = [_part(node, member, frames, weights) for member in node.members]
    total = math.fsum(parts)
    if not total and share:
        raise InputError(
            f"all weights of group {node.name!r} are 0; give one of its members a weight, or the group none"
        )
    for member, part in zip(node.members, parts, strict=True):
        _split(member, share * (part / total) if total else 0.0, frames, weights, found)


def _part(group: Group, member: Group | Source, frames: Frames | None, weights: Mapping[str, float]) -> float:
    weight = weights.get(member.name, member.weight)
    if not group.sized:
        return weight if group.weighted else 1.0
    size = _size(member, frames, group)
    if group.policy == "weight_times_frames":
        return weight * size
    return float(size) ** (1 / group.temperature if group.policy == "temperature" else 1.0)


def _size(node: Group | Source, frames: Frames | None, policy: Group) -> int:
    if isinstance(node, Group):
        return sum(_size(member, frames, policy) for member in node.members)
    if frames is None or node.name not in frames:
        raise InputError(
            f"policy {policy.policy} of {policy.name!r} needs the number of frames of {node.name!r}, which is not known without "
            "an INDEX; pass --index INDEX"
        )
    return frames[node.name]
