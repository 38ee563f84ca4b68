"""HTML elements and whole pages; everything that is not `Markup` yet is escaped."""

import html
from importlib.resources import files

CSS = files("fasttok.common.html").joinpath("page.css").read_text(encoding="utf-8")


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
    """One element; `class_` is `class`, None attributes are left out.

    >>> tag("b", "x & y", class_="soft")
    '<b class="soft">x &amp; y</b>'
    """
    attrs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{attrs}>{''.join(map(text, children))}</{name}>")


def page(title: str, *sections: object, css: str = "") -> str:
    """A whole document.

    Args:
        title: of the window.
        sections: one after the other.
        css: rules that only this page needs, after those of all pages.

    >>> page("t", tag("p", "x")).splitlines()[-2]
    '<p>x</p>'
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    body = "\n".join(map(text, sections))
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}{css}</style></head>\n<body>\n{body}\n</body></html>\n'
