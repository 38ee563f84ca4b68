"""Builds HTML elements and whole pages. Everything that is not `Markup` yet is escaped."""

import base64
import hashlib
import html
import re
from datetime import UTC, datetime
from importlib.resources import files

from fasttok._version import __version__

LONG_WORD = 18  # characters
_FOLDER = files("fasttok.common.html")
CSS = _FOLDER.joinpath("page.css").read_text(encoding="utf-8")
SCRIPTS = {
    name: (_FOLDER.joinpath("scripts", f"{name}.js").read_text(encoding="utf-8"), wanted)
    for name, wanted in (("tables", '<table class="long'), ("tokens", 'data-token="'), ("cursor", 'class="timeline"'))
}
"""All scripts of pages: name -> (the script, a text that is in every page that needs it). They are files of this package and
contain no data."""


class Markup(str):
    """HTML that needs no escaping."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Escapes anything that is not Markup yet.

    >>> text("a < b")
    'a &lt; b'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Returns one element. `class_` becomes `class`; attributes that are None are left out.

    >>> tag("b", "x & y", class_="soft")
    '<b class="soft">x &amp; y</b>'
    """
    attrs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{attrs}>{''.join(map(text, children))}</{name}>")


def breakable(words: str) -> Markup:
    """Returns text in which a long name may continue on the next line after each _ and /, and nowhere else.

    >>> breakable("in my_data"), breakable("stanford_dataset_to_rlds")
    ('in my_data', 'stanford_<wbr>dataset_<wbr>to_<wbr>rlds')
    """
    pieces = [re.sub(r"(?<=[_/])(?=[^_/])", "\0", word) if len(word) > LONG_WORD else word for word in words.split(" ")]
    return Markup(text(" ".join(pieces)).replace("\0", "<wbr>"))


def page(title: str, *sections: object, css: str = "", command: str = "") -> str:
    """Returns a whole document, which loads nothing. It says when, by which version and by which command it was made.

    A content security policy inside the page allows the scripts of `SCRIPTS` by their digests, and no others. Text from data
    therefore cannot run, even if something failed to escape it.

    Args:
        title: title of the window.
        sections: contents of the page, one after the other.
        css: CSS rules that only this page needs; they follow the rules of all pages.
        command: the command that made the page, as it was typed; "" if no command did.

    >>> "<p>x</p>" in page("t", tag("p", "x"))
    True
    """
    body = "\n".join(map(text, sections))
    scripts = [script for script, wanted in SCRIPTS.values() if wanted in body]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{CSS}{css}</style>"
    )
    end = "".join(f"<script>{script}</script>" for script in scripts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main>\n{made(command)}{end}\n'
        "</body></html>\n"
    )


def made(command: str) -> Markup:
    """Returns the footer, which says when and by what the page was made."""
    now = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    typed = tag("pre", command) if command else Markup("")
    return tag("footer", tag("p", f"Made on {now} by fasttok {__version__}{' with:' if command else '.'}"), typed)


def _policy(scripts: list[str]) -> str:
    """Returns the content security policy of a page with these scripts."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'"
