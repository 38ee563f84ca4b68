"""TFDS directories of images and texts, written by TFDS and read without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fasttok.episodes.tfds import tfds
from fasttok.errors import InputError
from pipelines import vlm
from pipelines.datasets.entry_parser import parse_entry
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.pipelines import vlm_data

ENTRY = "{name: captioned, kind: vqa, format: tfds, image: image, prompt: question, target: answers, id: key}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 examples in two files, of which one has no question and one is no text."""
    root = tmp_path_factory.mktemp("tfds")
    module = tfds()
    f = module.features
    features = f.FeaturesDict(
        {
            "image": f.Image(encoding_format="jpeg"),
            "question": f.Text(),
            "answers": f.Sequence(f.Text()),
            "key": np.int64,
            "box": f.BBoxFeature(),
        }
    )

    class Captioned(module.core.GeneratorBasedBuilder):  # type: ignore[name-defined]
        name, VERSION = "captioned", module.core.Version("1.0.0")

        def _info(self) -> Any:
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for n in range(20):
                pixels = root / f"{n}.jpg"
                Image.fromarray(np.full((8, 10, 3), n, np.uint8)).save(pixels)
                question: Any = "" if n == 3 else b"\xff" if n == 4 else f"q{n}?"
                yield n, {"image": str(pixels), "question": question, "answers": [f"a{n}", "b", "b"], "key": 100 + n,
                          "box": f.BBox(0.0, 0.0, 1.0, 1.0)}  # fmt: skip

    builder = Captioned(data_dir=str(root / "data"))
    config = module.download.DownloadConfig(num_shards=2)
    builder.download_and_prepare(download_config=config)
    return Path(builder.data_dir)


@pytest.mark.parametrize("cut", [False, True])
def test_examples_are_indexed_and_their_images_found_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    if cut:
        monkeypatch.setattr("pipelines.recordings.rlds.LARGE", 1)
        monkeypatch.setattr("pipelines.recordings.rlds.PIECE", 1000)
    (written / "dataset.yaml").write_text(ENTRY)
    result = run_index(IndexConfig((str(written),), str(tmp_path / "index"), json=True), [])
    counts = result.datasets["captioned"].splits["train"]
    assert (counts.read, counts.indexed, counts.rejected) == (20, 18, {"language": 2})
    rows = [
        r
        for file in sorted((tmp_path / "index").glob("*/*/*.episodes.parquet"))
        for r in pq.read_table(file).to_pylist()
    ]
    read = vlm.open_images(parse_entry(ENTRY, "x"), str(written))
    for row in rows:
        number = int(row["id"]) - 100
        data, problem = read(row["image"], row["image_offset"], row["image_length"])
        assert (problem, data) == ("", (written.parents[2] / f"{number}.jpg").read_bytes())
        assert (row["language"], row["target"], row["answers"]) == (f"q{number}?", "b", [f"a{number}", "b", "b"])
        assert row["image_bytes"] == len(data)
        assert read(row["image"], row["image_offset"] + 1, row["image_length"])[0] == b""
    assert counts.bytes == sum(file.stat().st_size for file in written.glob("*tfrecord*"))
    for name in vlm_data.HOSTILE:
        assert read(name, 0, 100)[0] == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image: image": "image: pixels"}, "unknown feature 'pixels'"),
        ({"prompt: question": "prompt: answers"}, "names the feature 'answers' as 'prompt', which is not a text"),
        ({"image: image": "image: question"}, "which is not one image"),
        ({"format: tfds, image: image": "splits: {train: a.jsonl}"}, "its entry needs format: tfds, not jsonl"),
    ],
)
def test_entries_that_do_not_fit_the_features(
    written: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    text = ENTRY
    for old, new in change.items():
        text = text.replace(old, new)
    (written / "dataset.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        run_index(IndexConfig((str(written),), str(tmp_path / "index")), [])


def test_no_tensorflow_is_loaded(written: Path) -> None:
    code = (
        "import sys\nfrom pipelines import vlm\nfrom pipelines.datasets.entry_parser import parse_entry\n"
        f"entry = parse_entry({ENTRY!r}, 'x')\n"
        f"files = vlm.tfds.open_raw({str(written)!r}).splits['train']\n"
        f"print(sum(1 for f in files for r in vlm.read(vlm.SourceFile(entry, {str(written)!r}, 'train', f), (0, None, 0))))\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'apache_beam'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "20"), result.stderr
