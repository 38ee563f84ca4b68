"""`datasets draft` on the layouts of other people: the entry that it proposes finds their records."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fasttok.errors import InputError
from pipelines.catalogue.commands import DatasetDraftConfig, run_draft
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.pipelines import vlm_data

PROMPTS = {"cap": "caption en"}


@pytest.mark.parametrize("maker", [maker for maker in vlm_data.MAKERS if maker is not vlm_data.jsonl])
def test_a_draft_finds_the_records(maker: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = maker(tmp_path / "data")
    own = made.directory / "dataset.yaml"
    own.unlink()
    if maker is vlm_data.vqav2:
        (made.directory / "q.json").rename(made.directory / "v2_train_questions.json")
        (made.directory / "a.json").rename(made.directory / "v2_train_annotations.json")
    if maker is vlm_data.coco_boxes:
        (made.directory / "instances.json").rename(made.directory / "instances_train2017.json")
    run_draft(DatasetDraftConfig(str(made.directory)))
    own.write_text(capsys.readouterr().out)
    run_index(IndexConfig((str(made.directory),), str(tmp_path / "index")), [])
    rows = [
        r
        for file in sorted((tmp_path / "index").glob("*/*/*.episodes.parquet"))
        for r in pq.read_table(file).to_pylist()
    ]
    assert [(r["language"], r["target"]) for r in rows] == [(PROMPTS.get(p, p), t) for p, t, _ in made.records]


def test_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "0.jpg").write_bytes(vlm_data.encoded(0))
    (tmp_path / "my_val.jsonl").write_text(json.dumps({"image_file": "0.jpg", "question": "q?", "answer": "a"}) + "\n")
    run_draft(DatasetDraftConfig(str(tmp_path)))
    (tmp_path / "dataset.yaml").write_text(capsys.readouterr().out)
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert dataset.splits["val"].indexed == 1


def test_what_is_not_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="is not a TFDS/RLDS directory"):
        run_draft(DatasetDraftConfig(str(tmp_path)))
