"""README.md as the package's long description, which people read without the repository. The standard library only."""

import re
import tomllib
from pathlib import Path

from docsite.links import Link, moved

PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n?", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(#not-here:([^)]*)\)")


def repository_url(pyproject: Path) -> str:
    """The address of the repository, as pyproject.toml has it under `project.urls`; "" if it names none."""
    urls: dict[str, str] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    return next((url.rstrip("/") for name, url in urls.items() if name.lower() in ("repository", "source")), "")


def described(readme: str, url: str) -> str:
    """The README with links that hold anywhere.

    Args:
        readme: Markdown, with links to files of the repository.
        url: of the repository; "" if it has no address yet.

    Returns:
        With an address, links lead there. Without one, a link to a file becomes its words and the file's name in the source
        distribution, and pictures are left out.

    >>> described("see [the guide](docs/a.md#b)", "https://example.org/x")
    'see [the guide](https://example.org/x/blob/main/docs/a.md#b)'
    >>> described("see [the guide](docs/a.md#b), [a.md](docs/a.md)", "")
    'see the guide (docs/a.md), docs/a.md'
    """
    if url:
        return moved(readme, lambda link: f"{url}/blob/main/{link.target}" if link.relative else link.target)

    def plain(match: re.Match[str]) -> str:
        words, path = match[1], match[2].partition("#")[0]
        return path if words in (path, Path(path).name) else f"{words} ({path})"

    def mark(link: Link) -> str:
        return f"#not-here:{link.target}" if link.relative else link.target

    return LINK.sub(plain, moved(PICTURE.sub("", readme), mark))
