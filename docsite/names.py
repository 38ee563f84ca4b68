"""API pages: a section per public name of docs/api.md, which mkdocstrings fills from the docstrings."""

import re
from pathlib import Path

PACKAGES = ("fasttok", "pipelines", "train")
ABOUT = {
    "fasttok": "The tokenizer, the client of a policy server, and safe motion. `pip install .` is enough.",
    "pipelines": "Shards and their readers. No TensorFlow, no Beam.",
    "train": "A trained run, its server, and the worlds that it is judged in. Needs the extra `train`.",
}


def public(page: str) -> list[str]:
    """The names of docs/api.md, in its order.

    >>> public("| `fasttok.NormStats` | statistics |")
    ['fasttok.NormStats']
    """
    return re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)


def pages(root: Path) -> dict[str, str]:
    """The API pages.

    Args:
        root: the repository.

    Returns:
        Path below docs/ -> Markdown.
    """
    names = public((root / "docs" / "api.md").read_text(encoding="utf-8"))
    made = {}
    for package in PACKAGES:
        mine = [name for name in names if name.partition(".")[0] == package]
        sections = "".join(f"::: {name}\n\n" for name in mine)
        made[f"reference/{package}.md"] = (
            f"# API: {package}\n\n{ABOUT[package]} All public names: [api.md](../api.md).\n\n{sections}"
        )
    return made
