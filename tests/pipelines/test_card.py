"""The README beside the manifest says what is in it, and nothing that data say can break out of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fasttok import ActionTokenizer
from mixtures.registry import load_mixture
from pipelines.builder.card import LICENCES, card
from pipelines.shards.manifest import Manifest
from tests.chain import MIXTURE, Chain


def front(text: str) -> dict[str, Any]:
    _, matter, _ = text.split("---\n", 2)
    value: dict[str, Any] = yaml.safe_load(matter)
    return value


def test_the_built_card_has_counts_licences_and_tokenizer(chain: Chain) -> None:
    text = (chain.shards / "README.md").read_text()
    manifest, tok = Manifest.load(str(chain.shards)), ActionTokenizer.load(chain.tokenizer)
    assert front(text) == {
        "pretty_name": "tabletop",
        "license": "apache-2.0",
        "task_categories": ["robotics", "visual-question-answering", "image-to-text"],
        "size_categories": ["n<1K"],
        "tags": ["fasttok", "fast-action-tokens", "vision-language-action"],
    }
    assert f"{tok.vocab_size} ids, scale 10, native fit" in text
    assert f"fingerprint `{tok.fingerprint}`" in text
    arm = manifest.sources["tabletop_arm"]
    assert f"| tabletop_arm | arm | {arm.mean_action_tokens:.1f} | 140 |" in text
    assert "planned 700 = written 700 + rejected 0" in text
    assert "30.00 % | 30.00 %" in text
    assert "**Apache-2.0**: tabletop_planar" in text
    assert str(chain.shards) not in text
    assert "Rejected rows" not in text


def test_licences_are_grouped_and_the_missing_ones_called_out(chain: Chain) -> None:
    manifest = Manifest.load(str(chain.shards))
    given = {
        "tabletop_planar": "CC BY 4.0",
        "tabletop_arm": "",
        "tabletop_vqa": "CC-BY-4.0",
        "tabletop_captions": "ask us",
    }
    sources = {name: replace(source, license=given[name]) for name, source in manifest.sources.items()}
    sources["tabletop_vqa"] = replace(sources["tabletop_vqa"], citation="who2025what", homepage="https://example.org")
    text = card(replace(manifest, sources=sources), load_mixture(MIXTURE), {"crc": 3, "image": 1})
    assert front(text)["license"] == ["cc-by-4.0", "other", "unknown"]
    assert "**not stated** - find out before you pass these rows on: tabletop_arm; 210 rows" in text
    assert "tabletop_vqa (cite `who2025what`; https://example.org); 140 rows" in text
    assert text.index("**not stated**") > text.index("**ask us**")
    assert "| crc | 3 |" in text
    assert "cc-by-4.0" in LICENCES


def test_names_from_data_stay_text(chain: Chain, tmp_path: Path) -> None:
    manifest = Manifest.load(str(chain.shards))
    bad = "a|b`c`\n---\n<script>alert(1)</script>"
    sources = {f"{name}{bad}": replace(source, license=bad, citation=bad) for name, source in manifest.sources.items()}
    mixture = replace(load_mixture(MIXTURE), name=bad, description=bad)
    text = card(replace(manifest, sources=sources), mixture)
    assert front(text)["pretty_name"] == "a|b`c` --- <script>alert(1)</script>"
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert "`c`" not in body
    table = [line for line in body.splitlines() if line.startswith("| tabletop_")]
    assert len(table) == 4 * 1 + 2  # sources, and the robots' FAST ids
    assert {line.replace("\\|", "").count("|") for line in table[:4]} == {14}
