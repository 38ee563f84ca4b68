"""`--overwrite` deletes nothing before all inputs are checked, and nothing that no command here wrote: every kind of folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.demo import DEMO
from examples.tabletop.generate import DATASETS
from fasttok.common.output_folder import OutputKind, check_output
from fasttok.errors import InputError
from fasttok.storage.folder import TOKENIZER
from pipelines.builder.config import BuildConfig
from pipelines.builder.output_kind import SHARDS
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.output_kind import INDEX
from pipelines.index.run import run_index
from tests.chain import MIXTURE, Chain
from tests.pipelines.one_question import questions
from train.export import EXPORT
from train.runs.run_folder import RUN
from train.study.tables import STUDY

KINDS = {
    "index": INDEX,
    "shards": SHARDS,
    "tokenizer": TOKENIZER,
    "run": RUN,
    "export": EXPORT,
    "study": STUDY,
    "demo": DEMO,
}
# What other tools call by the names of our marks: MosaicML's MDS, dbt, transformers, an evaluation, a web app.
FOREIGN: dict[str, Any] = {
    "index.json": {"version": 2, "shards": [{"column_names": ["image"], "format": "mds", "raw_data": {"bytes": 3}}]},
    "manifest.json": {"name": "app", "version": "1.0", "sources": [], "shards": []},
    "processor_config.json": {"image_mean": [0.5], "scale": 1.0, "fasttok": None},
    "config.json": {"model_type": "paligemma", "model": {}, "data": {}},
    "results.json": {"results": {"accuracy": 1.0}, "study": "x"},
    "steps.json": [{"title": "a"}, {"command": "b"}],
    "dataset.yaml": "mine",
    "plan/plan.json": {"plan": []},
    ".unfinished/jobs.json": {"jobs": 3},
    "train.jsonl": {"id": 1},
}


def everything(folder: Path) -> dict[str, bytes]:
    """All files and what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", [*KINDS.values(), *DATASETS.values()], ids=[*KINDS, *DATASETS])
def test_foreign_files_of_our_names_make_no_folder_ours(tmp_path: Path, kind: OutputKind) -> None:
    for file, value in FOREIGN.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    before = everything(tmp_path)
    for overwrite, resume in ((False, False), (True, False), (False, True)):
        with pytest.raises(InputError, match="will not be overwritten"):
            check_output(tmp_path, kind, overwrite=overwrite, resume=resume)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("datasets", "more"),
    [
        (("{data}/nowhere",), {}),
        (("{data}", "{data}/nowhere"), {}),
        (("{data}",), {"splits": ("trian",)}),
        (("{data}",), {"entries": ("{data}/none.yaml",)}),
        (("{data}",), {"max_bad": "many"}),
        (("{data}",), {"control_hz": ("mine=ten",)}),
        (("{data}", "{data}"), {}),
        ((), {}),
    ],
)
def test_a_typo_leaves_a_finished_index_as_it_was(
    tmp_path: Path, datasets: tuple[str, ...], more: dict[str, Any]
) -> None:
    data, out = questions(tmp_path / "data"), tmp_path / "index"
    out.mkdir()
    (out / "index.json").write_text(json.dumps({"format_version": 3, "digest": "x", "datasets": {}}))
    before = everything(tmp_path)
    given: dict[str, Any] = {
        name: tuple(text.format(data=data) for text in value) if isinstance(value, tuple) else value
        for name, value in more.items()
    }
    with pytest.raises(InputError):
        run_index(IndexConfig(tuple(d.format(data=data) for d in datasets), str(out), overwrite=True, **given), [])
    assert everything(tmp_path) == before


def test_a_build_never_replaces_the_shards_whose_tokenizer_it_takes(chain: Chain) -> None:
    before = everything(chain.shards)
    config = BuildConfig(
        MIXTURE, str(chain.shards), 100, str(chain.index), str(chain.shards / "tokenizer"), overwrite=True
    )
    with pytest.raises(InputError, match="before it is read"):
        run_build(config, [])
    assert everything(chain.shards) == before
