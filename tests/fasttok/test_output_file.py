"""May a command write a file? Never over its input, over another one only with --overwrite; asked before the work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.cli import main
from fasttok.common.output_file import check_output_file, in_one_step
from fasttok.errors import InputError
from fasttok.storage.streams import RowWriter, read_ids


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, and a file of chunks."""
    folder = tmp_path_factory.mktemp("files")
    chunks = np.random.default_rng(0).uniform(-1, 1, (40, 8, 2)).cumsum(1)
    np.savez(folder / "chunks.npz", actions=chunks)
    ActionTokenizer.fit(chunks, vocab_size=300).save(folder / "tok")
    return folder


def test_inputs_existing_files_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "a.npz"
    given.write_bytes(b"1")
    (tmp_path / "link.npz").symlink_to(given)
    (tmp_path / "hard.npz").hardlink_to(given)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    cases: dict[str, Any] = {
        "also what the command reads": (given, tmp_path / "x" / ".." / "a.npz", tmp_path / "link.npz", tmp_path / "hard.npz"),
        "is a folder": (tmp_path,),
        r"x\\udcff.npz': this path is not UTF-8": (tmp_path / "x\udcff.npz",),
        "is not a plain file": ("/dev/null",),
        "is a link to nothing": (tmp_path / "dangling",),
        "cannot be written": (given / "x.npz", tmp_path / ("a" * 300), "/proc/x.npz", "/proc/new/x.npz", "a\0b"),
        "expected a local file": ("s3://bucket/x.npz",),
    }  # fmt: skip
    (tmp_path / "x").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for words, paths in cases.items():
        for path in paths:
            with pytest.raises(InputError, match=words):
                check_output_file(path, [given], overwrite=True)
    with pytest.raises(InputError, match="exists; pass --overwrite to replace it, or choose another --out"):
        check_output_file(given)
    check_output_file(given, overwrite=True)
    check_output_file(tmp_path / "new" / "deeper" / "x.npz", [given])
    check_output_file("-", ["-"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_of_a_folder_of_data_is_never_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "a.npz").write_bytes(b"1")
    (tmp_path / "link").symlink_to(data)
    for path in (data / "deep" / "a.npz", tmp_path / "link" / "deep" / "a.npz"):
        with pytest.raises(
            InputError, match=r"is a file in .*data, which the command reads, so it will not be overwritten"
        ):
            check_output_file(path, [tmp_path / "other", data], overwrite=True)
    (data / "report.html").write_text("<html>")
    check_output_file(data / "report.html", [data], overwrite=True)
    check_output_file(data / "new.npz", [data])
    check_output_file(tmp_path / "data.html", [data])


def test_encode_and_decode_write_over_nothing(work: Path, tmp_path: Path, capsys: Any) -> None:
    chunks, tok, shape = work / "chunks.npz", work / "tok", ("--horizon", 8, "--action-dim", 2)
    before = chunks.read_bytes()
    assert call("encode", tok, chunks, "--out", chunks) == 1
    assert call("encode", tok, chunks, "--out", chunks, "--overwrite") == 1
    assert chunks.read_bytes() == before
    ids = tmp_path / "new" / "ids.npz"
    assert call("encode", tok, chunks, "--out", ids) == 0  # makes the folder
    first = ids.read_bytes()
    assert call("encode", tok, chunks, "--out", ids) == 1
    assert call("decode", tok, ids, "--out", ids, *shape, "--overwrite") == 1
    assert ids.read_bytes() == first
    assert call("encode", tok, chunks, "--out", ids, "--overwrite") == 0
    mine = tmp_path / "mine.jsonl"
    mine.write_text("mine")
    assert call("decode", tok, ids, "--out", mine, *shape) == 1
    assert mine.read_text() == "mine"
    assert call("decode", tok, ids, "--out", "/proc/x.npz", *shape) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "pass --overwrite to replace it" in said


def test_pages_write_over_nothing_and_are_refused_before_the_work(work: Path, tmp_path: Path, capsys: Any) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    for verb in ("eval", "inspect"):
        for html in (page, "/proc/x.html", tmp_path):
            assert call(verb, work / "tok", tmp_path / "no data", "--horizon", 8, "--html", html) == 1
            assert "--html" in capsys.readouterr().err
    assert call("inspect", work / "tok", tmp_path, "--chunks", 0) == 1
    assert "--chunks is 0" in capsys.readouterr().err
    assert page.read_text() == "mine"


def test_a_fit_that_cannot_be_saved_is_refused_before_the_fit(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "tok", "/proc/tok"):
        assert call("fit", tmp_path / "no data", "--out", out, "--horizon", 8) == 1
        assert "cannot be written" in capsys.readouterr().err


def test_two_processes_never_write_one_file(tmp_path: Path) -> None:
    """The second one says so. Before, both wrote into one half-written file, and the first one gave it its final name."""
    path = tmp_path / "made.txt"
    with in_one_step(path) as first:
        first.write_text("first")
        with pytest.raises(InputError, match=r"another process is writing .*made\.txt; wait"), in_one_step(path):
            pass
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    with pytest.raises(FileNotFoundError), in_one_step(path) as again:
        again.rename(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").unlink()
    (tmp_path / ".made.txt.part").write_text("what a kill left")
    with in_one_step(path) as last:
        last.write_text("last")
    assert [file.name for file in tmp_path.iterdir()] == ["made.txt"]
    assert path.read_text() == "last"


@pytest.mark.parametrize("name", ["ids.jsonl", "ids.npz", "ids.parquet"])
def test_two_processes_never_write_the_same_rows(name: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"ids": np.int32, "lengths": np.int64}
    with RowWriter(str(tmp_path / name), fields) as first:
        first.write(ids=[[1, 2]], lengths=[2])
        with pytest.raises(InputError, match="another process is writing"), RowWriter(str(tmp_path / name), fields):
            pass
        first.write(ids=[[3]], lengths=[1])
    assert [row.tolist() for batch in read_ids(str(tmp_path / name)) for row in batch] == [[1, 2], [3]]
    assert [file.name for file in tmp_path.iterdir()] == [name]
