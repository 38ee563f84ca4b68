"""Every relative link and anchor of README, docs and the pages that they lead to is there, as GitHub names anchors."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from docsite import repository
from docsite.links import Link, anchors, links, moved, resolved

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES if path.is_file()]


def broken(root: Path, page: str) -> list[str]:
    """What a page links to that is not there, with its line."""
    text = (root / page).read_text(encoding="utf-8")
    found = []
    for link in links(text):
        path = page if not link.path else resolved(page, link)
        if link.path and not link.relative:
            continue
        if path.startswith("..") or not (root / path).exists():
            found.append(f"{page}:{link.line}: {link.target}")
        elif (
            link.anchor
            and path.endswith(".md")
            and link.anchor not in anchors((root / path).read_text(encoding="utf-8"))
        ):
            found.append(f"{page}:{link.line}: {link.target} (no such heading)")
    return found


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken(ROOT, page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(
        "# A\n[1](b.md) [2](#a) [3](#b) [4](../up.py) `[5](c.md)`\n```\n[6](d.md)\n```\n[7](https://x.org) [8](../../out.md)\n"
    )
    (tmp_path / "up.py").touch()
    assert [line.split(": ", 1)[1] for line in broken(tmp_path, "docs/a.md")] == [
        "b.md",
        "#b (no such heading)",
        "../../out.md",
    ]


class _Loader(yaml.SafeLoader):
    """mkdocs.yml names a Python function, which is of no interest here."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def named(nav: Any) -> list[str]:
    """Pages of a nav, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in named(part)]


def test_the_pages_of_the_site_are_there() -> None:
    """Pages that mkdocs.yml does not name come behind the guides (docsite/hooks.py)."""
    nav = named(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"])
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in nav if page not in pages and not page.startswith("reference/")] == []


def test_the_site_loads_nothing_from_the_web() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    assert config["theme"]["font"] is False
    assert "extra_javascript" not in config
    assert config["extra_css"] == ["site.css"]  # docsite/hooks.py adds it to the site
    assert "//" not in (ROOT / "docsite" / "site.css").read_text(encoding="utf-8")


def test_pages_outside_docs_come_along_with_what_they_link_to() -> None:
    linked = repository.linked(ROOT)
    assert {"CHANGELOG.md", "train/config.py", "pipelines/datasets/entries"} <= set(linked)
    assert "pipelines/datasets/entries/kuka.yaml" in linked  # of a folder that a page links to
    assert repository.page(ROOT, "train/config.py").startswith("# train/config.py\n\n```python\n")


def test_links_are_moved_to_where_the_site_has_their_pages() -> None:
    text = "[a](../train/config.py) [b](train.md#where) [c](images/report.jpg) [d](https://x.org) `[e](../x.py)`"
    assert repository.rewritten(ROOT, "docs/weights.md", text) == (
        "[a](repository/train/config.py.md) [b](train.md#where) [c](images/report.jpg) [d](https://x.org) `[e](../x.py)`"
    )
    assert repository.rewritten(ROOT, "CHANGELOG.md", "[a](docs/train.md)") == "[a](../train.md)"


def test_moving_nothing_changes_nothing() -> None:
    for page in PAGES[:20]:
        text = page.read_text(encoding="utf-8")
        assert moved(text, lambda link: link.target) == text


def test_links_in_code_are_no_links() -> None:
    assert links("````\n```\n[a](b.md)\n```\n````\n``x ` [c](d.md)`` [e](f.md)") == [Link(6, "f.md")]
