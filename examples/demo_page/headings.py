"""The headings of the demo's page, and the links to them at its top."""

from fasttok.common.html import Markup, tag

TITLES = {
    "inputs": "What goes in",
    "tokens": "What the tokens are",
    "shards": "Exact shards",
    "training": "Training",
    "films": "The robot, the expert and one that acts blindly",
    "numbers": "Every number, beside its baselines",
    "made": "How this page was made",
}


def heading(name: str) -> Markup:
    """Returns the heading of a part of the page.

    >>> heading("shards")
    '<h2 id="shards">Exact shards</h2>'
    """
    return tag("h2", TITLES[name], id=name)


def links() -> Markup:
    """Returns links to all parts, in order."""
    return tag(
        "nav", *[tag("a", title, href=f"#{name}") for name, title in TITLES.items()], aria_label="parts of this page"
    )
