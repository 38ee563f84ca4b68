"""Mixture files: what they mean, and that each mistake is named with its line."""

from pathlib import Path

import pytest

from fasttok.errors import InputError
from mixtures.registry import load_mixture, preset_names
from mixtures.spec import Chunk, with_overrides

NESTED = """\
name: test
description: nested
index: data/index
tokenizer: tok
chunk: {steps: 12}
unit: samples
seed: 7
sources:
  - {dataset: a, weight: 3}
  - group: web
    weight: 2
    sources:
      - {dataset: b, weight: 2, split: val}
      - group: inner
        weight: 1
        sources:
          - {dataset: c, weight: 1, max_epochs: 2}
          - {dataset: c, weight: 4, split: val, name: c_val}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mix.yaml"
    path.write_text(text)
    return path


def test_nested_groups_share_their_weight(tmp_path: Path) -> None:
    mixture = load_mixture(write(tmp_path, NESTED))
    assert [s.name for s in mixture.sources] == ["a", "b", "c", "c_val"]
    assert [s.share for s in mixture.sources] == pytest.approx([3 / 5, 2 / 5 * 2 / 3, 2 / 5 / 3 / 5, 2 / 5 / 3 * 4 / 5])
    assert sum(s.share for s in mixture.sources) == pytest.approx(1.0, abs=1e-12)
    assert [s.split for s in mixture.sources] == ["train", "val", "train", "val"]
    assert mixture.sources[3].group == ("web", "inner")
    assert mixture.sources[2].max_epochs == 2
    assert mixture.chunk == Chunk(steps=12)
    assert mixture.seed == 7
    assert mixture.index == str(tmp_path / "data/index")  # relative to the file
    assert mixture.tokenizer == str(tmp_path / "tok")


def test_digest_is_of_what_decides_the_samples(tmp_path: Path) -> None:
    base = load_mixture(write(tmp_path, NESTED))
    prose = load_mixture(write(tmp_path, NESTED.replace("nested", "words").replace("data/index", "elsewhere")))
    weight = load_mixture(write(tmp_path, NESTED.replace("weight: 3", "weight: 4")))
    assert with_overrides(base, index="x", tokenizer="fit").digest == base.digest == prose.digest
    assert weight.digest != base.digest


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("weight: 3", "weight: 0", 9, "must be a finite number > 0"),
        ("weight: 3", "weight: .nan", 9, "must be a finite number > 0"),
        ("weight: 3", "weight: .inf", 9, "must be a finite number > 0"),
        ("weight: 3", "weight: yes", 9, "must be a finite number > 0"),
        ("weight: 3", "weight: heavy", 9, "must be a finite number > 0"),
        ("weight: 3", "wieght: 3", 9, "did you mean 'weight'"),
        (", weight: 3", "", 9, "weight is missing"),
        ("dataset: a", "dataset: 5", 9, "dataset must be text"),
        ("{dataset: a, weight: 3}", "a", 8, "a source is"),
        ("dataset: a", "weights: a", 9, "either `dataset:` or `group:`"),
        ("max_epochs: 2", "max_epochs: -1", 17, "must be a finite number > 0"),
        ("chunk: {steps: 12}", "chunk: {steps: 12, seconds: 1}", 5, "chunk must be"),
        ("chunk: {steps: 12}", "chunk: {steps: 0}", 5, "integer >= 1"),
        ("chunk: {steps: 12}", "chunk: {second: 1}", 5, "did you mean 'seconds'"),
        ("chunk: {steps: 12}", "chunk: 1.0", 5, "chunk must be"),
        ("unit: samples", "unit: sampels", 6, "did you mean 'samples'"),
        ("seed: 7", "seed: -7", 7, "seed must be"),
        ("seed: 7", "sede: 7", 7, "did you mean 'seed'"),
        ("seed: 7", "name: twice", 7, "given twice"),
        ("seed: 7", "seed: [7", 8, "not valid YAML"),
        ("seed: 7", "seed: !!python/object/apply:os.system [ls]", 7, "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert NESTED.count(old) >= 1
    with pytest.raises(InputError) as caught:
        load_mixture(write(tmp_path, NESTED.replace(old, new, 1)))
    assert f"line {line}" in str(caught.value)
    assert says in str(caught.value)
    assert "mix.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a", "just words", "sources: []", "name: x", "sources: {a: 1}"])
def test_files_that_are_no_mixture(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"mix\.yaml"):
        load_mixture(write(tmp_path, text))


def test_same_source_twice_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'c' appears twice"):
        load_mixture(write(tmp_path, NESTED.replace(", name: c_val", "")))


def test_only_child_needs_no_weight(tmp_path: Path) -> None:
    assert load_mixture(write(tmp_path, "sources:\n  - {dataset: a}\n")).sources[0].share == 1.0


def test_unknown_names_help(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'demo'"):
        load_mixture("dmeo")
    with pytest.raises(InputError, match="does not exist"):
        load_mixture(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    mixture = load_mixture(name)
    assert mixture.name == name
    assert mixture.description
    assert sum(source.share for source in mixture.sources) == pytest.approx(1.0, abs=1e-12)


def test_demo_shares() -> None:
    shares = {source.name: source.share for source in load_mixture("demo").sources}
    assert shares == pytest.approx(
        {"tabletop_planar": 0.4, "tabletop_arm": 0.3, "tabletop_vqa": 0.2, "tabletop_captions": 0.1}
    )


def test_chunk_in_seconds_needs_a_frequency() -> None:
    with pytest.raises(InputError, match="control_hz is not known"):
        Chunk(seconds=1.0).horizon(None)
