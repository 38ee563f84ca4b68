"""Links in Markdown: where they stand, what they lead to, and the anchors of headings as GitHub names them."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_LINK = re.compile(r"(?<=\])\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A link of a page, as it is written.

    Attributes:
        line: number of its line, from 1.
        target: what is in the brackets: `../train/config.py`, `train.md#where`, `#where`, `https://...`.
    """

    line: int
    target: str

    @property
    def path(self) -> str:
        """The target without its anchor; empty for a place on the same page."""
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        """What follows `#`; empty if nothing does."""
        return self.target.partition("#")[2]

    @property
    def relative(self) -> bool:
        """Whether it leads to a file of the repository, not to the web and not within its own page."""
        return bool(self.path) and not _SCHEME.match(self.target) and not self.target.startswith("/")


def links(text: str) -> list[Link]:
    """All links and pictures of a page, without those in code.

    >>> [link.target for link in links("[a](b.md#c) `[x](no.md)` ![d](e.png)")]
    ['b.md#c', 'e.png']
    """
    return [
        Link(number, match[1]) for number, line, code in _prose(text) for match in _LINK.finditer(line) if code(match)
    ]


def moved(text: str, move: Callable[[Link], str]) -> str:
    """The page with other targets.

    Args:
        text: Markdown.
        move: the new target of a link.

    Returns:
        The same page, byte for byte but for these targets.

    >>> moved("see [a](b.md)", lambda link: "c.md")
    'see [a](c.md)'
    """
    lines = text.split("\n")
    for number, line, code in _prose(text):
        pieces, end = [], 0
        for match in _LINK.finditer(line):
            if code(match):
                pieces += [line[end : match.start(1)], move(Link(number, match[1]))]
                end = match.end(1)
        lines[number - 1] = "".join([*pieces, line[end:]])
    return "\n".join(lines)


def anchors(text: str) -> list[str]:
    r"""Anchors of a page's headings, as GitHub makes them.

    >>> anchors("# What `eval` measures: all\n## A\n## A")
    ['what-eval-measures-all', 'a', 'a-1']
    """
    found: list[str] = []
    counts: dict[str, int] = {}
    for _, line, _ in _prose(text):
        if heading := _HEADING.match(line):
            words = re.sub(r"\]\([^)]*\)", "]", heading[2])
            slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
            again = counts.get(slug, 0)
            counts[slug] = again + 1
            found.append(f"{slug}-{again}" if again else slug)
    return found


def resolved(page: str, link: Link) -> str:
    """The file that a relative link leads to, from the repository's root; begins with `..` if it leads out of it.

    >>> resolved("docs/train.md", Link(1, "../train/config.py"))
    'train/config.py'
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link.path))


def _prose(text: str) -> Iterator[tuple[int, str, Callable[[re.Match[str]], bool]]]:
    """Lines outside fenced code: number from 1, the line, and whether a match in it is outside of code spans."""
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            continue
        if mark:
            fence = mark[1]
            continue
        spans = [span.span() for span in _SPAN.finditer(line)]

        def outside(match: re.Match[str], spans: list[tuple[int, int]] = spans) -> bool:
            return not any(start < match.start() < end for start, end in spans)

        yield number, line, outside
