"""What MkDocs calls while it builds the site. `python -m mkdocs` in the repository's root finds this package."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from docsite import commands, names, repository

ROOT = Path(__file__).resolve().parents[1]
STYLE = Path(__file__).with_name("site.css")
CDN = re.compile(r"https://(?:unpkg\.com|cdn\.[a-z.]+)/[^\"'\s)]*")
"""Addresses that the theme's script would load parts from, for diagrams and for search in files; the site has neither."""
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^>]*|"
    r"<link\b[^>]*rel=[\"']?(?:stylesheet|preconnect|preload|icon)[^>]*href=[\"']?(?:https?:)?//[^>]*|url\([\"']?https?://[^)]*"
)
"""What a page or a style loads by itself from the web; a link that a reader may follow is none of it."""


def on_config(config: Any) -> Any:
    """Puts pages of docs/ that mkdocs.yml does not name behind the guides, so that a new page is never out of reach."""
    named = set(_named(config.nav))
    docs = ROOT / repository.DOCS
    more = [name for page in sorted(docs.rglob("*.md")) if (name := page.relative_to(docs).as_posix()) not in named]
    next(part["Guides"] for part in config.nav if "Guides" in part).extend(more)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made (of linked files outside docs/, the API and the command line), and the style."""
    for path in repository.linked(ROOT):
        name = repository.source(path)
        if path.endswith(repository.PICTURES):
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
        else:
            files.append(File.generated(config, name, content=repository.page(ROOT, path)))
    for name, text in {**names.pages(ROOT), "reference/command-line.md": commands.page(ROOT)}.items():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, STYLE.name, abs_src_path=str(STYLE)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and code in tables without the backslashes that GitHub needs there."""
    name = page.file.src_uri
    if name.startswith("reference/"):
        return markdown
    shelf = f"{repository.SHELF}/"
    path = name.removeprefix(shelf) if name.startswith(shelf) else f"{repository.DOCS}/{name}"
    if name.startswith(shelf) and not (ROOT / path).exists():
        path = path.removesuffix(".md")
    if (ROOT / path).is_file() and not path.endswith(".md"):
        return markdown  # a file of code
    return _tables(repository.rewritten(ROOT, path, markdown))


def on_post_build(config: Any) -> None:
    """Takes addresses of the web out of the theme's scripts, and proves that no page loads anything from beyond the site.

    Raises:
        PluginError: a page or a style does.
    """
    scripts = Path(config.site_dir) / "assets" / "javascripts"
    for source_map in scripts.rglob("*.map"):
        source_map.unlink()
    for script in scripts.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        if CDN.search(text):
            script.write_text(CDN.sub("", text), encoding="utf-8")
    for page in (file for kind in ("html", "css") for file in Path(config.site_dir).rglob(f"*.{kind}")):
        if found := LOADED.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page}: loads something from the web: {found[0][:200]}")


def _named(nav: Any) -> list[str]:
    """Pages of a nav, in its order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in _named(part)]


def _tables(text: str) -> str:
    r"""`a\|b` in a row of a table is a pipe in code: GitHub takes the backslash away, Python-Markdown shows it."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("|"):
            lines[number] = re.sub(r"`[^`]+`", lambda code: code[0].replace(r"\|", "|"), line)
    return "\n".join(lines)
