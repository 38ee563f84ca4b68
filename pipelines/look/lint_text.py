"""Checks the texts of rows: reports empty ones, and those that --held-out forbids."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.common.stores import kind_at
from fasttok.common.urls import is_url
from fasttok.errors import InputError
from pipelines.common.files import filesystem
from pipelines.common.findings import Findings, Level
from pipelines.shards.manifest import Manifest

REMEMBERED = 1 << 16  # texts for which it remembers whether they match
PROMPT = "{prompt}"  # where a template of a mixture has the instruction
LOOKS_LIKE_A_FILE = re.compile(r"[\w./\\:-]+\.(txt|csv|tsv|jsonl?|ya?ml)")


@dataclass(frozen=True)
class HeldOut:
    """What must not be in the shards.

    Attributes:
        lines: whole instructions, files or FILE/EPISODE, in lower case and without blanks at their ends.
        patterns: regular expressions, searched for in prompts and in FILE/EPISODE.
    """

    lines: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()

    def matcher(self) -> Callable[[str], bool]:
        """Returns a function that says whether a text is held out, and remembers its answers."""

        @lru_cache(REMEMBERED)
        def match(text: str) -> bool:
            return text.strip().lower() in self.lines or any(pattern.search(text) for pattern in self.patterns)

        return match


def read_held_out(given: Sequence[str]) -> HeldOut:
    """Reads the values of --held-out: text files, and regular expressions.

    Raises:
        InputError: a file is missing or empty, or a value is neither a file nor a regular expression.
    """
    lines: set[str] = set()
    patterns = []
    for value in given:
        data = _file(value)
        if data is not None:
            listed = [line.strip().lower() for line in data.decode("utf-8", "replace").splitlines()]
            listed = [line for line in listed if line and not line.startswith("#")]
            if not listed:
                raise InputError(
                    f"--held-out {value}: the file contains no lines; expected an instruction or FILE/EPISODE on each"
                )
            lines.update(listed)
        elif LOOKS_LIKE_A_FILE.fullmatch(value):
            raise InputError(f"--held-out {value}: no such file; expected a text file, or a regular expression")
        else:
            try:
                patterns.append(re.compile(value, re.IGNORECASE))
            except re.error as error:
                raise InputError(f"--held-out {value!r} is neither a file nor a regular expression: {error}") from None
    return HeldOut(frozenset(lines), tuple(patterns))


def _file(name: str) -> bytes | None:
    """Returns the contents of the file with this name, None if there is none."""
    if is_url(name):
        fs, path = filesystem(name)
        return fs.cat_file(path) if kind_at(fs, path) == "file" else None
    try:
        return Path(name).read_bytes() if Path(name).is_file() else None
    except (OSError, ValueError):  # a pattern that cannot be a file's name
        return None


@dataclass(frozen=True)
class TextCheck:
    """Something that a text must not be.

    Attributes:
        level: how bad it is.
        name: name of the check, for scripts.
        what: what is wrong, in words.
        expected: what should be there, in words.
        todo: what to do about it.
    """

    level: Level
    name: str
    what: str
    expected: str
    todo: str


def empty(column: str, level: Level, todo: str) -> TextCheck:
    """Returns the check that a text is not empty.

    >>> empty("prompt", "error", "give the entry a prompt").what
    'an empty prompt'
    """
    return TextCheck(level, "empty", f"an empty {column}", f"a {column}", todo)


NO_PROMPT = empty("prompt", "error", "give the entry a prompt, or `fixed_prompt`")
NO_TARGET = empty("target", "error", "nothing can be learned from it; look at the record of its file and offset")
NO_INSTRUCTION = empty(
    "prompt",
    "warning",
    "a policy learns to act unasked; name the feature of the instruction in the dataset's entry (`language:`), or leave such "
    "episodes out (`filters: {language: true}`)",
)
FORBIDDEN = TextCheck(
    "error",
    "held-out",
    "an instruction or episode that --held-out names",
    "none of it",
    "filter it out of the source, and build again",
)


class TextChecks:
    """Checks the texts of record batches."""

    def __init__(self, manifest: Manifest, held_out: HeldOut, findings: Findings) -> None:
        self._names, self._findings = list(manifest.sources), findings
        self._robot = np.array([source.kind == "robot" for source in manifest.sources.values()])
        self._held_out = bool(held_out.lines or held_out.patterns)
        self._match = held_out.matcher()
        self._lines = held_out.lines
        templates = {template: None for source in manifest.sources.values() for template in source.prompts}
        self._templates = [_pattern(template) for template in templates if template != PROMPT]
        self._asked = np.array([bool(source.questions) for source in manifest.sources.values()])

    def add(self, shard: str, at: int, batch: pa.RecordBatch, codes: NDArray[np.int64]) -> None:
        """Checks the rows of a record batch.

        Args:
            shard: name of the file.
            at: row of the shard at which the batch begins.
            batch: the rows.
            codes: (rows,) int64, number of each row's source.
        """
        robot = self._robot[codes]
        checks = (("prompt", ~robot, NO_PROMPT), ("target", ~robot, NO_TARGET), ("prompt", robot, NO_INSTRUCTION))
        for column, rows, check in checks:
            blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(batch.column(column))), 0)
            self._report(shard, at, codes, rows & blank.to_numpy(zero_copy_only=False), check)
        if self._held_out:
            self._report(shard, at, codes, self._forbidden(batch, self._asked[codes]), FORBIDDEN)

    def _forbidden(self, batch: pa.RecordBatch, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns (rows,) bool: whether --held-out names a row's prompt, file or episode.

        An instruction is also found within a template of the mixture, and as the answer to a question about the instruction.

        Args:
            batch: the rows.
            asked: (rows,) bool, whether a row is a question about an episode.
        """
        out = _of_each(batch.column("prompt"), lambda text: any(map(self._match, [text, *self._inside(text)])))
        if asked.any():
            out |= asked & _of_each(batch.column("target"), lambda text: text.strip().lower() in self._lines)
        files = batch.column("file").dictionary_encode()
        names, file = files.dictionary.to_pylist(), files.indices.to_numpy().astype(np.int64)
        episodes = np.stack([file, batch.column("episode").to_numpy()], axis=1)
        pairs, which = np.unique(episodes, axis=0, return_inverse=True)
        hit = [self._match(f"{names[f]}/{e}") or self._match(names[f]) for f, e in pairs.tolist()]
        out |= np.array(hit, bool)[which.reshape(-1)]
        return out

    def _inside(self, prompt: str) -> list[str]:
        """Returns what may have been put into a template to make this prompt."""
        return [found["own"] for pattern in self._templates if (found := pattern.fullmatch(prompt))]

    def _report(self, shard: str, at: int, codes: NDArray[np.int64], bad: NDArray[np.bool_], check: TextCheck) -> None:
        """Adds a finding for each source that has bad rows."""
        for code in np.unique(codes[bad]).tolist():
            of = np.flatnonzero(bad & (codes == code))
            self._findings.add(
                check.level,
                check.name,
                f"{shard} row {at + of[0]}",
                check.what,
                check.expected,
                check.todo,
                source=self._names[code],
                count=len(of),
            )


def _pattern(template: str) -> re.Pattern[str]:
    """Returns a pattern of the prompts that a template makes; the group `own` is what was put into it.

    >>> _pattern("Task: {prompt}.").fullmatch("Task: lift it.")["own"]
    'lift it'
    """
    first, *rest = map(re.escape, template.split(PROMPT))
    return re.compile(first + "(?P<own>.*)" + "(?P=own)".join(rest), re.DOTALL)


def _of_each(column: pa.Array, wanted: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Returns (rows,) bool: what `wanted` says of each text of a column; equal texts are asked about once."""
    texts = column.dictionary_encode()
    said = np.array([wanted(text) for text in texts.dictionary.to_pylist()], bool)
    each: NDArray[np.bool_] = said[texts.indices.to_numpy()]
    return each
