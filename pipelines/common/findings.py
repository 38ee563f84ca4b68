"""Findings: what a check reports, merged per check and source, with the first place, a count and what to do."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]


@dataclass
class Finding:
    """Something that is wrong, or worth a look.

    Attributes:
        level: an error means that the shards are not what they claim to be, or that what is learned from them cannot be trusted.
        check: name of the check, for scripts.
        where: the first place, such as a shard and a row in it.
        what: what is there, in words.
        expected: what should be there, in words.
        todo: what to do about it, in words.
        source: source of the rows, "" if the finding concerns no single source.
        count: number of rows (or files, or counts) like this.
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


class Findings:
    """Gathers findings. Findings with the same check, source and `expected` become one."""

    def __init__(self) -> None:
        self._merged: dict[tuple[str, str, str], Finding] = {}

    def add(self, level: Level, check: str, where: str, what: str, expected: str, todo: str, *, source: str = "",
            count: int = 1) -> None:  # fmt: skip
        """Adds a finding, or adds its count to an earlier one of the same kind."""
        key = (check, source or where, expected)
        if key in self._merged:
            self._merged[key].count += count
        else:
            self._merged[key] = Finding(level, check, where, what, expected, todo, source, count)

    def of(self, level: Level) -> list[Finding]:
        """Returns the findings of one level, in the order in which they were found."""
        return [finding for finding in self._merged.values() if finding.level == level]
