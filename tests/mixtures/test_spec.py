"""Mixture files: what they mean, and that each mistake is named with its line."""

from pathlib import Path

import pytest

from fasttok.errors import InputError
from mixtures.registry import load_mixture, preset_names
from mixtures.shares import shares
from mixtures.spec import Chunk, Resize, SourceFilters, with_overrides

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
    assert shares(mixture) == pytest.approx([3 / 5, 2 / 5 * 2 / 3, 2 / 5 / 3 / 5, 2 / 5 / 3 * 4 / 5])
    assert [s.split for s in mixture.sources] == ["train", "val", "train", "val"]
    assert mixture.paths[3] == ("web", "inner")
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
        ("weight: 3", "weight: 1e3", 9, "got '1e3'; numbers stand without quotes"),
        ("weight: 3", "weight: 3, max_epochs: 0", 9, "max_epochs must be a finite number > 0, got 0"),
        ("weight: 3", 'weight: 3, name: ""', 9, "name is empty"),
        ("weight: 3", 'weight: 3, name: "a\\nb"', 9, "expected a text of one line"),
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
        ("seed: 7", "policy: temprature", 7, "did you mean 'temperature'"),
        ("seed: 7", "policy: temperature", 7, "go together"),
        ("seed: 7", "temperature: 2", 7, "go together"),
        ("seed: 7", "policy: proportional", 9, "has no effect under policy `proportional`"),
        ("dataset: a", "include: nowhere.yaml", 9, "does not exist"),
        ("dataset: a", "include: mix.yaml", 9, "cannot contain itself"),
        ("dataset: a", "include: dmeo", 9, "did you mean 'demo'"),
        ("dataset: a", "dataset: a, group: b", 9, "either `dataset:` or `group:`"),
        ("dataset: a", "dataset: a, cameras: [primry]", 9, "did you mean 'primary'"),
        ("dataset: a", "dataset: a, cameras: {primary: front}", 9, "unknown camera slot 'front'"),
        ("dataset: a", "dataset: a, cameras: primary", 9, "cameras must be"),
        ("dataset: a", "dataset: a, resize: {height: 224}", 9, "width is missing"),
        ("dataset: a", "dataset: a, resize: 224", 9, "resize must be"),
        ("dataset: a", "dataset: a, resize: {height: 9, width: 9, fit: padd}", 9, "did you mean 'pad'"),
        ("dataset: a", "dataset: a, resize: {height: 9, width: 9, quality: 0}", 9, "integer >= 1 and <= 100"),
        ("dataset: a", "dataset: a, prompt: '{instruction}'", 9, "only field of a template is {prompt}"),
        ("dataset: a", "dataset: a, prompt: 3", 9, "prompt must be a text"),
        ("dataset: a", "dataset: a, filters: {min_step: 3}", 9, "did you mean 'min_steps'"),
        ("dataset: a", "dataset: a, filters: {min_steps: 9, max_steps: 3}", 9, "no episode passes"),
        ("dataset: a", "dataset: a, filters: {language: 'yes'}", 9, "language must be true or false"),
        ("dataset: a", "dataset: a, filters: {part: [0.9, 0.1]}", 9, "0 <= low < high <= 1"),
        ("dataset: a", "dataset: a, filters: [long]", 9, "filters must be"),
        ("dataset: a", "dataset: a, questions: [tusk]", 9, "did you mean 'task'"),
        ("dataset: a", "dataset: a, questions: [task, task]", 9, "list of different names"),
        ("dataset: a", "dataset: a, action: {form: relativ}", 9, "did you mean 'relative'"),
        ("dataset: a", "dataset: a, chunk: {steps: 0}", 9, "integer >= 1"),
        ("seed: 7", "schedule: {after: 3}", 7, "schedule must be a list"),
        ("seed: 7", "schedule: [{after: 3}]", 7, "a phase is"),
        ("seed: 7", "schedule: [{after: -3, weights: {a: 1}}]", 7, "integer >= 0"),
        ("seed: 7", "schedule: [{after: 3, weights: {webb: 1}}]", 7, "did you mean 'web'"),
        ("seed: 7", "schedule: [{after: 3, weights: {web: -1}}]", 7, "finite number > 0"),
        ("seed: 7", "schedule: [{after: 3, weights: {web: 1}}, {after: 3, weights: {web: 2}}]", 7, "integer >= 4"),
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
    assert load_mixture(write(tmp_path, "sources:\n  - {dataset: a}\n")).sources[0].weight == 1.0


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
    parts = shares(mixture, {source.name: 1000 for source in mixture.sources})
    assert sum(parts) == pytest.approx(1.0, abs=1e-12)
    assert (parts > 0).all()


def test_demo_shares() -> None:
    mixture = load_mixture("demo")
    assert dict(zip([s.name for s in mixture.sources], shares(mixture), strict=True)) == pytest.approx(
        {"tabletop_planar": 0.6, "tabletop_arm": 0.05, "tabletop_vqa": 0.3, "tabletop_captions": 0.05}
    )


def test_chunk_in_seconds_needs_a_frequency() -> None:
    with pytest.raises(InputError, match="control_hz is not known"):
        Chunk(seconds=1.0).horizon(None)


def test_what_a_source_asks_for(tmp_path: Path) -> None:
    text = """\
sources:
  - dataset: a
    chunk: {seconds: 0.5}
    cameras: {primary: wrist}
    resize: {height: 224, width: 320, fit: pad, quality: 90}
    prompt: ["do: {prompt}", "{prompt}!"]
    questions: [task, motion]
    filters: {min_steps: 5, matches: red, excludes: blue, cameras: [wrist], part: [0, 0.8], records: 10, language: true}
    weight: 1
  - {dataset: b, weight: 1, cameras: [primary, wrist], prompt: "just {prompt}"}
"""
    a, b = load_mixture(write(tmp_path, text)).sources
    assert a.chunk == Chunk(seconds=0.5)
    assert a.cameras == (("primary", "wrist"),)
    assert a.resize == Resize(224, 320, "pad", 90)
    assert a.prompts == ("do: {prompt}", "{prompt}!")
    assert a.questions == ("task", "motion")
    assert a.filters == SourceFilters(5, None, True, "red", "blue", ("wrist",), (0.0, 0.8), 10)
    assert b.cameras == (("primary", "primary"), ("wrist", "wrist"))
    assert (b.filters, b.resize, b.chunk, b.prompts) == (SourceFilters(), None, None, ("just {prompt}",))


def test_includes_are_groups_that_keep_their_own_chunks(tmp_path: Path) -> None:
    (tmp_path / "soups").mkdir()
    (tmp_path / "soups" / "inner.yaml").write_text(
        "chunk: {steps: 4}\npolicy: weight_times_frames\n"
        "sources:\n  - {dataset: x, weight: 1}\n  - {dataset: y, weight: 2, chunk: {steps: 9}}\n"
    )
    outer = write(
        tmp_path,
        "chunk: {seconds: 2}\nsources:\n  - {dataset: a, weight: 1}\n"
        "  - {include: soups/inner.yaml, weight: 3}\n  - {include: demo, weight: 4, name: rest}\n",
    )
    mixture = load_mixture(outer)
    assert [s.name for s in mixture.sources][:3] == ["a", "x", "y"]
    assert [s.chunk for s in mixture.sources][:3] == [None, Chunk(steps=4), Chunk(steps=9)]
    assert mixture.paths[1] == ("inner",)
    assert mixture.paths[-1] == ("rest", "web")
    frames = {s.name: 100 for s in mixture.sources} | {"x": 600, "y": 100}
    assert shares(mixture, frames)[:3] == pytest.approx([1 / 8, 3 / 8 * 6 / 8, 3 / 8 * 2 / 8])


def test_includes_cannot_go_in_circles_or_bring_a_schedule(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("sources:\n  - {include: mix.yaml}\n")
    with pytest.raises(InputError, match=r"b\.yaml: line 2: .*cannot contain itself"):
        load_mixture(write(tmp_path, "sources:\n  - {include: b.yaml}\n"))
    (tmp_path / "b.yaml").write_text("sources: [{dataset: a}]\nschedule: [{after: 3, weights: {a: 1}}]\n")
    with pytest.raises(InputError, match="only the outermost"):
        load_mixture(write(tmp_path, "sources:\n  - {include: b.yaml}\n"))
