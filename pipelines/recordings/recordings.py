"""What `index` and `build` ask of a dataset of robot episodes, whatever its format."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fasttok.episodes import BadRecord, Episode, Where


@dataclass(frozen=True)
class Section:
    """What one job of `index` reads of a dataset.

    Attributes:
        file: path or URL that names the section.
        start: number of the first episode that it takes.
        stop: one past the last, None for all that the file contains.
        made_of: other files that it reads; if one of them changes, the section is read again.
        digest: of what else decides its episodes, such as what meta/ says of them.
        split: whose episodes it takes, of a file that contains those of several.
        offset: byte of the first episode, in a file of records that is cut.
    """

    file: str
    start: int = 0
    stop: int | None = None
    made_of: tuple[str, ...] = ()
    digest: str = ""
    split: str = ""
    offset: int = 0


class Recordings(Protocol):
    """A dataset's directory, opened."""

    @property
    def name(self) -> str:
        """The dataset's."""
        ...

    def described(self) -> list[str]:
        """Files that say how to read the others."""
        ...

    def sections(self) -> dict[str, list[Section]]:
        """Split -> what each job reads. Only the driver asks for them: they may need a list of all files."""
        ...

    def read(self, section: Section, verify: bool) -> Iterator[Episode | BadRecord]:
        """Every episode of a section in order, or why there is none; what is declared and not there is counted too."""
        ...

    def read_at(self, where: Where) -> Episode | BadRecord:
        """The episode that `read` gave this place."""
        ...
