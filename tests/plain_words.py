"""Finds the words that CONTRIBUTING.md asks to avoid: `make lint` runs it, over all that a person reads.

    python -m tests.plain_words                      # README, docs, and the strings and comments of the packages
    python -m tests.plain_words docs/robot.md        # only these files

The list is the table in CONTRIBUTING.md; a new row there is checked from then on. A phrase is found as whole words, in any
case and over line ends. THINGS and UNIT stand for the words below.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = "CONTRIBUTING.md"
PAGES = ("README.md", LIST, "docs/**/*.md", "examples/**/*.md")
CODE = ("fasttok", "mixtures", "pipelines", "train", "examples")
CLASSES = {
    "THINGS": "ids|tokens|rows|steps|frames|samples|bytes|images|pictures|points|words|actions|chunks|questions|episodes|"
    "files|records|coefficients|numbers|values|requests|MB|GB|kB|metres|radians|degrees",
    "UNIT": "second|minute|hour|row|chunk|step|episode|sample|token|shard|batch|file|dataset|epoch|run|line|record|group|"
    "page|dim|robot|camera|image|frame|request|worker|process|core",
}
ROW = re.compile(r"^\| (`.*`) \| ([^|]+) \|", re.MULTILINE)
TOKENS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


@dataclass(frozen=True)
class Avoided:
    """A phrase of the list.

    Attributes:
        phrase: as the list has it.
        instead: what to write.
    """

    phrase: str
    instead: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the phrase.

        >>> bool(Avoided("THINGS a UNIT", "").pattern.search("11 ids a row")), bool(Avoided("mend", "").pattern.search("amends"))
        (True, False)
        """
        words = [f"(?:{CLASSES[word]})" if word in CLASSES else re.escape(word) for word in self.phrase.split()]
        return re.compile(r"(?<![\w-])" + r"\s+(?:#\s+)?".join(words) + r"(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A phrase in a file, which prints as a compiler's message does.

    Attributes:
        path: of the file, relative to the checkout.
        line: number of the line where it begins.
        text: as it stands there.
        instead: what to write.
    """

    path: str
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.text.split())!r}; write: {self.instead}"


def avoided(text: str) -> list[Avoided]:
    """The phrases of the table in CONTRIBUTING.md.

    Args:
        text: of CONTRIBUTING.md.
    """
    return [
        Avoided(phrase, " ".join(instead.split()))
        for phrases, instead in ROW.findall(text)
        for phrase in re.findall(r"`([^`]+)`", phrases)
    ]


def prose_of_page(text: str) -> Iterator[tuple[int, str]]:
    """The prose of a Markdown page, as (number of its first line, text): no code and no tables of avoided words.

    Of code blocks the comments are prose. Code between backticks becomes blanks, so that lines and places stay.

    >>> [text for _, text in prose_of_page("a `b` c\\n```\\nd  # e\\n```\\n")]
    ['a     c', '# e']
    """
    paragraph: list[str] = []
    begin, code = 1, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.lstrip().startswith("```")
        if fence or code or not line.strip() or ROW.match(line):
            if paragraph:
                yield begin, re.sub(r"`[^`]+`", lambda code: re.sub(r"[^\n]", " ", code[0]), "\n".join(paragraph))
            paragraph = []
            if code and not fence and (comment := re.search(r"(?:^|\s)(#\s.*)", line)):
                yield number, comment[1]
            code ^= fence
            continue
        if not paragraph:
            begin = number
        paragraph.append(line)


def prose_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Strings and comments of a Python file, as (number of its first line, text); names of code are not prose.

    >>> list(prose_of_code("holds = 1  # it holds\\nsay('a b')\\n"))
    [(1, '# it holds'), (2, 'a b')]
    """
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in TOKENS:
            continue
        said = token.string
        if token.type == tokenize.STRING and not said[: said.index(said[-1])].lower().count("f"):
            value = ast.literal_eval(said)
            if not isinstance(value, str):
                continue
            said = value
        yield token.start[0], re.sub(r"`[^`\n]+`", lambda code: " " * len(code[0]), said)


def find(path: Path, phrases: Sequence[Avoided]) -> Iterator[Found]:
    """Every phrase of the list in a file.

    Args:
        path: of a Markdown, YAML or Python file below the checkout.
        phrases: of the list.
    """
    text = path.read_text(encoding="utf-8")
    prose = prose_of_code(text) if path.suffix == ".py" else prose_of_page(text)
    for begin, said in prose:
        for phrase in phrases:
            for match in phrase.pattern.finditer(said):
                line = begin + said[: match.start()].count("\n")
                yield Found(str(path.relative_to(ROOT)), line, match[0], phrase.instead)


def files() -> list[Path]:
    """All that a person reads."""
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    return pages + [path for package in CODE for path in sorted((ROOT / package).rglob("*.py"))]


def main(argv: Sequence[str]) -> int:
    """Prints what was found; the exit status is 1 if there is anything."""
    phrases = avoided((ROOT / LIST).read_text(encoding="utf-8"))
    found = [one for path in [Path(word).resolve() for word in argv] or files() for one in find(path, phrases)]
    for one in found:
        print(one)
    if found:
        print(f"{len(found)} phrases that {LIST} asks to avoid")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
