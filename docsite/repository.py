"""Pages of files outside docs/ that pages link to, so that the site is whole without the repository: code, results, folders."""

import posixpath
from pathlib import Path

from docsite.links import Link, links, moved, resolved

DOCS = "docs"
SHELF = "repository"
"""Folder of the site for these pages."""
LARGEST = 200_000
"""Bytes of a file that gets a page of its own."""
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".js": "javascript",
    ".css": "css",
    ".sh": "bash",
}
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif")


def source(path: str) -> str:
    """Where the site keeps the page of a file or folder, as a path below docs/.

    Args:
        path: from the repository's root.

    >>> source("docs/train.md"), source("train/config.py"), source("CHANGELOG.md")
    ('train.md', 'repository/train/config.py.md', 'repository/CHANGELOG.md')
    """
    if path == DOCS or path.startswith(f"{DOCS}/"):
        return path.removeprefix(DOCS).strip("/") or "index.md"
    plain = path.endswith((".md", *PICTURES))
    return f"{SHELF}/{path}" if plain else f"{SHELF}/{path}.md"


def linked(root: Path) -> list[str]:
    """Files and folders outside docs/ that pages of docs/ link to, and those that these link to in turn.

    Args:
        root: the repository.

    Returns:
        Paths from `root`, sorted. A link to nothing is in none of them: the strict build names it.
    """
    waiting = sorted(path.relative_to(root).as_posix() for path in (root / DOCS).rglob("*.md"))
    seen, found = set(waiting), set()
    while waiting:
        page = waiting.pop()
        for target in _targets(root, page):
            if target in seen:
                continue
            seen.add(target)
            found.add(target)
            waiting.append(target)
    return sorted(found)


def page(root: Path, path: str) -> str:
    """The Markdown of a file or a folder outside docs/."""
    file = root / path
    if file.is_dir():
        inside = "".join(f"- [`{name}`]({posixpath.basename(path)}/{name})\n" for name in _names(file))
        return f"# {path}/\n\nFiles of this folder of the repository:\n\n{inside}"
    text = file.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    fence = "`" * max(3, 1 + max((len(run) for run in _ticks(text)), default=0))
    return f"# {path}\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def rewritten(root: Path, path: str, text: str) -> str:
    """A page with its links as the site has them.

    Args:
        root: the repository.
        path: of the page, from `root`.
        text: its Markdown.
    """
    here = posixpath.dirname(source(path))

    def move(link: Link) -> str:
        target = resolved(path, link)
        if not link.relative or target.startswith("..") or not (root / target).exists():
            return link.target
        return posixpath.relpath(source(target), here or ".") + (f"#{link.anchor}" if link.anchor else "")

    return moved(text, move)


def _targets(root: Path, path: str) -> list[str]:
    """What a page links to outside docs/ and the site can show."""
    file = root / path
    if file.is_dir():
        return [f"{path}/{name}" for name in _names(file)]
    if not path.endswith(".md"):
        return []
    found = [resolved(path, link) for link in links(file.read_text(encoding="utf-8")) if link.relative]
    return [target for target in found if _shown(root, target)]


def _shown(root: Path, target: str) -> bool:
    inside = not target.startswith(("..", f"{DOCS}/")) and target != DOCS
    return inside and (root / target).exists() and ((root / target).is_dir() or _small(root / target))


def _names(folder: Path) -> list[str]:
    """Files of a folder that get a page."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".pyc" and _small(path))


def _small(file: Path) -> bool:
    return file.stat().st_size <= LARGEST


def _ticks(text: str) -> list[str]:
    """Runs of backticks, the longest of which a fence must exceed."""
    runs, run = [], ""
    for letter in text:
        if letter == "`":
            run += letter
        elif run:
            runs.append(run)
            run = ""
    return runs
