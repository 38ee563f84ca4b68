"""A page as a browser's parser sees it: tags that must close, and text."""

from html.parser import HTMLParser

VOID = ("meta", "input", "img", "br", "wbr")


class ParsedPage(HTMLParser):
    """Tags and text of a page.

    Attributes:
        tags: with their attributes.
        text: all of it, in pieces.
        open: tags that were never closed.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
