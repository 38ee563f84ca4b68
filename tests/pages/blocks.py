"""The code of README and docs: blocks between fences, the commands in them, and why a block is not run.

A block that cannot run says so in its first line, which readers see: `# not run: REASON`. A reason is one of `REASONS`, and
may name the test that does it: `# not run: needs lerobot; see tests/interop/test_lerobot_export.py`.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "examples/**/*.md")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"^# not run: (?P<reason>[^;\n]+)(?:; see (?P<test>\S+))?$")
# A reason begins with one of these. What is named after it is checked, as far as a machine without it can.
REASONS = (
    "needs the network",
    "needs a GPU",
    "needs a TPU",
    "needs hours",
    "needs a robot",
    "needs a cluster",
    "needs a cloud account",
    "needs a server",
    "needs your own data",
    "needs lerobot",
    "needs openpi",
    "needs PyTorch",
    "needs transformers",
    "signatures only",
    "part of a longer program",
    "the model is another",
)
NAMES = ("pipelines", "mixtures", "train", "evaluate", "export", "serve", "study")
SCRIPTS = ("fasttok", *(f"fasttok-{name}" for name in NAMES))
ENDS = {"&&", "||", ";", "|", "&"}


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        page: path of the page, relative to the checkout.
        line: number of its first line of code.
        language: as the fence says; "" if it says none.
        code: its lines, without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        """Where it is, as editors take it."""
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> re.Match[str] | None:
        """The reason in its first line, if it has one."""
        return NOT_RUN.match(self.code.partition("\n")[0])


@dataclass(frozen=True)
class Typed:
    """A command as a reader would type it.

    Attributes:
        place: where it is.
        words: the command and its arguments, without redirections.
        written: files that it is redirected into.
    """

    place: str
    words: tuple[str, ...]
    written: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.place} {shlex.join(self.words)}"


def pages() -> list[Path]:
    """README and docs."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def blocks(path: Path) -> list[Block]:
    """The blocks of a page."""
    text = path.read_text(encoding="utf-8")
    page = str(path.relative_to(ROOT))
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 2,
            match["language"],
            re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
        )
        for match in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Typed]:
    """Our commands in a block of a shell, or in one without a language; lines of a continued command are one.

    >>> [" ".join(one.words) for one in commands(Block("p.md", 1, "", "# a\\nfasttok info > a.txt && make demo  # b\\nls\\n"))]
    ['fasttok info', 'make demo']
    """
    if block.language not in ("", "bash", "sh", "shell", "console") or re.search("[─│┌└►]", block.code):  # or a drawing
        return
    prompted = re.search(r"^\$ ", block.code, re.MULTILINE) is not None
    number = block.line
    for line in re.split(r"(?<!\\)\n", block.code):
        place, number = f"{block.page}:{number}", number + line.count("\n") + 1
        if prompted and not line.startswith("$ "):
            continue
        for words, written in _split(line.removeprefix("$ ").replace("\\\n", " ")):
            if is_ours(words):
                yield Typed(place, words, written)


def is_ours(words: tuple[str, ...]) -> bool:
    """Whether it is a command of this repository."""
    if not words or words[0].endswith("/"):  # a folder in a drawing
        return False
    name = Path(words[0]).name
    if name in ("python", "python3"):
        ours = r"(-m )?(examples|benchmarks|train|pipelines|mixtures|fasttok|tests)[./ ]"
        return re.match(ours, " ".join(words[1:]) + " ") is not None
    return name in SCRIPTS or name == "make"


def _split(line: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The words of each command of a line, and the files that it is redirected into."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    written: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # a quotation mark that is none: prose, or what a command printed
        return
    into = False
    for token in [*tokens, ";"]:
        if token in ENDS:
            while words and re.match(r"^\w+=", words[0]):
                del words[0]
            yield tuple(words), tuple(written)
            words, written = [], []
        elif token in (">", ">>"):
            into = True
            continue
        elif into:
            written.append(token)
        elif token != "<":
            words.append(token)
        into = False
