"""What `lint` finds: one entry for each check and source, with the first place, how many there are, and what to do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning"]


@dataclass
class Finding:
    """Something wrong, or worth a look.

    Attributes:
        level: an error means that the shards are not what they claim to be, or that what is learned from them cannot be trusted.
        check: its name, for scripts. source: of the rows, "" where it concerns no single one.
        where: the shard, and in it the first row. count: rows (or files, or counts) like this.
        what, expected, todo: in words.
    """

    level: Level
    check: str
    where: str
    what: str
    expected: str
    todo: str
    source: str = ""
    count: int = 1

    def __str__(self) -> str:
        whose = f" (source {self.source})" if self.source else ""
        more = f" ({self.count:,} in all)" if self.count > 1 else ""
        return f"{self.where}{whose}: {self.what}{more} [{self.check}]\n    expected {self.expected}\n    next: {self.todo}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Findings:
    """Gathers findings; those of one check, source and expectation become one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Finding] = {}

    def add(self, level: Level, check: str, where: str, what: str, expected: str, todo: str, *, source: str = "",
            count: int = 1) -> None:  # fmt: skip
        """Adds one, or counts it to the first of its kind."""
        key = (check, source or where, expected)
        if key in self._found:
            self._found[key].count += count
        else:
            self._found[key] = Finding(level, check, where, what, expected, todo, source, count)

    def of(self, level: Level) -> list[Finding]:
        """Those of one level, as they were found."""
        return [found for found in self._found.values() if found.level == level]
