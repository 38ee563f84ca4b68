"""Computes the share of each source from the policies of a mixture's groups, and its number of samples in a build.

A group's share is split over its members in proportion to

    as_given             w                  the weights, as they are
    proportional         n                  n frames (steps, or records) of a member; for a group, of all sources below it
    temperature          n ** (1 / T)       T = 1 is proportional, a large T makes shares alike (Devlin 2018, Arivazhagan 2019)
    weight_times_frames  w * n              what octo's and openvla's published weights mean (`balance_weights`)

and the root's share is 1. A curriculum changes weights after given numbers of samples; each of its phases has shares and quotas
of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError
from mixtures.quota import IntArray, capped_quotas
from mixtures.spec import Group, Mixture, Source, walk

Frames = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Allocation:
    """How many samples each source gives.

    Attributes:
        counts: (phases, sources) int64, exact: each within one sample of its share, unless max_epochs takes or gives samples.
        shares: (phases, sources) float64, each row sums to 1.
        capped: (sources,) bool, whether max_epochs keeps a source below its shares.
    """

    counts: IntArray
    shares: NDArray[np.float64]
    capped: NDArray[np.bool_]

    @property
    def quotas(self) -> IntArray:
        """(sources,) samples in all phases."""
        total: IntArray = self.counts.sum(axis=0)
        return total


def needs_frames(group: Group) -> list[str]:
    """Returns the sources whose sizes decide shares, in order.

    >>> needs_frames(Group("m", (Source("a", "a"), Source("b", "b")), policy="proportional"))
    ['a', 'b']
    """
    if group.sized:
        return [source.name for _, source in walk(group)]
    return [name for member in group.members if isinstance(member, Group) for name in needs_frames(member)]


def shares(mixture: Mixture, frames: Frames | None = None, phase: int = -1) -> NDArray[np.float64]:
    """Returns the share of each source, (k,) float64 in the order of `mixture.sources`, summing to 1.

    Args:
        mixture: the mixture.
        frames: name of a source -> its frames, for the policies that read sizes.
        phase: number of the curriculum's phase; -1 for the weights as the tree has them.

    Raises:
        InputError: a policy needs sizes that are not known, or all weights of a group are 0.

    >>> shares(Mixture("m", Group("m", (Source("a", "a", weight=3.0), Source("b", "b"))))).tolist()
    [0.75, 0.25]
    """
    weights: dict[str, float] = {}
    for change in mixture.schedule[: phase + 1]:
        weights |= dict(change.weights)
    leaves: list[float] = []
    _split(mixture.root, 1.0, frames, weights, leaves)
    total = math.fsum(leaves)
    return np.array([share / total for share in leaves])


def allocate(mixture: Mixture, samples: int, frames: Frames | None = None) -> Allocation:
    """Computes the exact quotas of a build, phase by phase.

    Args:
        mixture: the mixture to build.
        samples: number of samples of the build. A phase that begins later is not reached, and has no row.
        frames: name of a source -> its frames; `max_epochs` has no effect on a source whose frames are not known.

    Raises:
        InputError: as `shares`, or max_epochs allows fewer samples than asked for.

    >>> allocate(Mixture("m", Group("m", (Source("a", "a", weight=3.0), Source("b", "b")))), 10).quotas
    array([8, 2])
    """
    names = [source.name for source in mixture.sources]
    left: list[int | None] = [cap(source.max_epochs, (frames or {}).get(source.name)) for source in mixture.sources]
    counts, shared = [], []
    for number, start, stop in phases(mixture, samples):
        shared.append(shares(mixture, frames, number))
        try:
            counts.append(capped_quotas(shared[-1], stop - start, left, names))
        except InputError as error:
            raise InputError(
                f"phase {number + 1}, samples {start:,} to {stop:,}: {error}" if number >= 0 else str(error)
            ) from None
        left = [None if most is None else most - n for most, n in zip(left, counts[-1].tolist(), strict=True)]
    table = np.stack(counts)
    wanted = sum(share * n for share, n in zip(shared, table.sum(axis=1), strict=True))
    capped = np.array([most == 0 for most in left]) & (table.sum(axis=0) < wanted)
    return Allocation(table, np.stack(shared), capped)


def phases(mixture: Mixture, samples: int) -> list[tuple[int, int, int]]:
    """Returns (number, first sample, one past the last) of each phase that a build reaches. Without a curriculum, number is -1.

    >>> from mixtures.spec import CurriculumPhase
    >>> phases(Mixture("m", Group("m", ()), schedule=(CurriculumPhase(0, ()), CurriculumPhase(60, ()))), 100)
    [(0, 0, 60), (1, 60, 100)]
    """
    if not mixture.schedule:
        return [(-1, 0, samples)]
    starts = [phase.after for phase in mixture.schedule]
    stops = [*starts[1:], samples]
    return [(i, a, min(b, samples)) for i, (a, b) in enumerate(zip(starts, stops, strict=True)) if a < samples]


def cap(max_epochs: float | None, frames: int | None) -> int | None:
    """Returns the maximum number of samples of a source; None if there is no limit or its size is not known.

    >>> cap(1.5, 101), cap(0.29, 100), cap(None, 101)
    (151, 29, None)
    """
    return None if max_epochs is None or frames is None else int(Fraction(str(max_epochs)) * frames)


def _split(
    node: Group | Source, share: float, frames: Frames | None, weights: Mapping[str, float], leaves: list[float]
) -> None:
    """Appends the shares of all sources below a node, in order."""
    if isinstance(node, Source):
        leaves.append(share)
        return
    sizes = _relative_shares(node, frames, weights)
    total = math.fsum(sizes)
    if not total and share:
        raise InputError(
            f"every member of group {node.name!r} has weight 0; set one above 0, or set the group's own weight to 0"
        )
    for member, size in zip(node.members, sizes, strict=True):
        _split(member, share * (size / total) if total else 0.0, frames, weights, leaves)


def _relative_shares(group: Group, frames: Frames | None, weights: Mapping[str, float]) -> list[float]:
    """Returns the numbers that the shares of a group's members are proportional to."""
    given = [weights.get(member.name, member.weight) for member in group.members]
    _, power = math.frexp(max(given, default=0.0))
    given = [math.ldexp(weight, -power) for weight in given]  # exact, and no product or sum of huge weights overflows
    if not group.sized:
        return given if group.weighted else [1.0] * len(given)
    sizes = [_size(member, frames, group) for member in group.members]
    if group.policy == "weight_times_frames":
        return [weight * size for weight, size in zip(given, sizes, strict=True)]
    if group.policy == "temperature":
        largest = max(sizes) or 1  # without it, a low temperature overflows
        return [math.pow(size / largest, 1 / group.temperature) for size in sizes]
    return [float(size) for size in sizes]


def _size(node: Group | Source, frames: Frames | None, policy: Group) -> int:
    """Returns the frames of a source, or of all sources below a group."""
    if isinstance(node, Group):
        return sum(_size(member, frames, policy) for member in node.members)
    if frames is None or node.name not in frames:
        raise InputError(
            f"policy {policy.policy} of {policy.name!r} needs the number of frames of {node.name!r}, which is not known without "
            "an INDEX; pass --index INDEX"
        )
    return frames[node.name]
