"""The package's long description leads nowhere that is not there."""

from pathlib import Path

from docsite.description import described, repository_url
from docsite.links import links

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_without_an_address_no_relative_link_is_left() -> None:
    text = described(README, "")
    assert [link.target for link in links(text) if link.relative] == []
    assert "](docs/" not in text
    assert "docs/install.md" in text  # files are named, as they lie in the source distribution
    assert "](#not-here" not in text


def test_with_an_address_all_links_lead_to_it() -> None:
    text = described(README, "https://example.org/fasttok")
    assert [link.target for link in links(text) if link.relative] == []
    assert "https://example.org/fasttok/blob/main/docs/install.md" in text


def test_the_address_is_that_of_pyproject(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n')
    assert repository_url(file) == ""
    file.write_text('[project]\nname = "x"\n[project.urls]\nRepository = "https://example.org/x/"\n')
    assert repository_url(file) == "https://example.org/x"
