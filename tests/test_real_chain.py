"""Real robot data through the same commands: Bridge and MetaWorld episodes to shards to training steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.shards import ShardReader
from pipelines.shards.manifest import RowCounts


@pytest.mark.slow
def test_bridge_and_metaworld_through_the_whole_chain(shared_data: Path, tabletop: Path, tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(
        "name: real\ndescription: real and simulated robots with questions\nindex: index\ntokenizer: tokenizer\n"
        "chunk: {seconds: 1.0}\nunit: samples\nseed: 0\nsources:\n"
        "  - {dataset: bridge_dataset, weight: 4}\n  - {dataset: metaworld_mt50, weight: 2, split: train}\n"
        "  - {dataset: tabletop_vqa, weight: 2}\n"
    )
    rlds = [str(shared_data / "rlds" / name / "1.0.0") for name in ("bridge_dataset", "metaworld_mt50")]
    commands = [
        ["pipelines", "index", *rlds, str(tabletop / "tabletop_vqa"), "--out", "index"],
        ["fasttok.cli", "fit", "index", "--out", "tokenizer", "--vocab-size", "600"],
        ["mixtures", "explain", "mixture.yaml", "--samples", "240"],
        ["pipelines", "build", "mixture.yaml", "--out", "shards", "--samples", "240"],
        ["pipelines", "lint", "shards"],
        ["pipelines", "inspect", "shards", "--rows", "2"],
        ["train", "--shards", "shards", "--out", "run", "--steps", "2", "--batch-size", "8"],
    ]
    for words in commands:
        result = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{words}: {result.stderr}"
    index = json.loads((tmp_path / "index" / "index.json").read_text())
    for name in ("bridge_dataset", "metaworld_mt50"):
        for counts in index["datasets"][name]["splits"].values():
            assert counts["read"] == counts["indexed"] + sum(counts["rejected"].values()) > 0
    reader = ShardReader(str(tmp_path / "shards"))
    assert reader.manifest.counts == RowCounts(planned=240, written=240, rejected=0)
    bridge = reader.manifest.sources["bridge_dataset"]
    assert (bridge.control_hz, bridge.horizon, bridge.action_dim, bridge.planned) == (5, 5, 7, 120)
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss_fast"] > 0 and row["loss_flow"] > 0 for row in log)
