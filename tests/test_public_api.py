"""What docs/api.md calls public is there: every name on the page can be imported, or says which extra it needs."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
OPTIONAL = {"pipelines.adapters.torch": "torch", "pipelines.adapters.grain": "grain"}


def test_the_page_lists_names() -> None:
    assert len(NAMES) > 15
    assert "fasttok.ActionTokenizer" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_public_name_can_be_imported(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if module in OPTIONAL:
        pytest.importorskip(OPTIONAL[module])
    assert hasattr(importlib.import_module(module), attribute)
