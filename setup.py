"""The package's long description: README.md, with links that hold outside the repository. All else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def description() -> str:
    """README.md with links that hold anywhere; the build does not put this folder on Python's path."""
    sys.path.insert(0, str(ROOT))
    from docsite.description import described, repository_url

    return described((ROOT / "README.md").read_text(encoding="utf-8"), repository_url(ROOT / "pyproject.toml"))


setup(long_description=description(), long_description_content_type="text/markdown")
