"""Defines how `index` and `build` read a dataset of robot episodes, whatever its format."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fasttok.episodes import BadRecord, Episode, Where


@dataclass(frozen=True)
class Section:
    """What one job of `index` reads of a dataset.

    Attributes:
        file: path or URL that names the section.
        start: number of the first episode of the section.
        stop: number of the last episode plus one, None for all that the file contains.
        made_of: other files that the section reads; if one of them changes, the section is read again.
        digest: digest of what else decides its episodes, such as what meta/ says about them; "" for nothing else.
        split: split whose episodes the section takes, if a file may have episodes of several splits; else "".
        offset: byte at which the first episode begins, in a file of records that is cut into sections.
        count: number of records that reading gives, as far as the files declare it; None if they declare none.
    """

    file: str
    start: int = 0
    stop: int | None = None
    made_of: tuple[str, ...] = ()
    digest: str = ""
    split: str = ""
    offset: int = 0
    count: int | None = None


class Recordings(Protocol):
    """A directory of a dataset that is open for reading."""

    @property
    def name(self) -> str:
        """Name of the dataset."""
        ...

    def described(self) -> list[str]:
        """Returns the files that say how to read the others."""
        ...

    def sections(self) -> dict[str, list[Section]]:
        """Returns split -> what each job reads. Only the driver calls it, because it may have to list all files."""
        ...

    def read(self, section: Section, verify: bool) -> Iterator[Episode | BadRecord]:
        """Yields every episode of a section in order, or a reject in its place; also rejects for what is declared but missing."""
        ...

    def read_at(self, where: Where) -> Episode | BadRecord:
        """Returns the episode that `read` found at this place."""
        ...
