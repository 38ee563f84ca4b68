"""`fasttok encode` and `decode` on files of any size, and the pages of `eval` and `inspect`."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.cli import main
from fasttok.errors import InputError
from fasttok.storage.state_column import StateColumn
from fasttok.storage.streams import BATCH, RowWriter, read_chunks, read_ids

RNG = np.random.default_rng(2)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (BATCH + 40, 8, 3)), axis=1), -1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tok") / "tok"
    ActionTokenizer.fit(CHUNKS[:500], vocab_size=400).save(path)
    return path


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


def write(path: Path) -> None:
    with RowWriter(str(path), {"actions": np.float64}) as writer:
        for start in range(0, len(CHUNKS), 1000):
            writer.write(actions=CHUNKS[start : start + 1000])


@pytest.mark.parametrize("ids", ["npz", "parquet", "jsonl"])
@pytest.mark.parametrize("data", ["npz", "parquet", "jsonl"])
def test_files_there_and_back(folder: Path, tmp_path: Path, data: str, ids: str) -> None:
    chunks, tokens, back = (
        tmp_path / f"{name}.{kind}" for name, kind in (("chunks", data), ("ids", ids), ("back", data))
    )
    write(chunks)
    tok = ActionTokenizer.load(folder)
    shape = ("--horizon", 8, "--action-dim", 3)
    assert call("encode", folder, chunks, "--out", tokens) == 0
    rows = [row.tolist() for batch in read_ids(str(tokens)) for row in batch]
    assert rows == [row.tolist() for row in tok.encode(CHUNKS)]
    assert call("decode", folder, tokens, "--out", back, *shape) == 0
    found = np.concatenate(list(read_chunks(str(back))))
    assert np.array_equal(found, tok.decode(rows, horizon=8, action_dim=3).actions)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (chunks, tokens, back))


@pytest.mark.parametrize("ids", ["npz", "parquet", "jsonl"])
@pytest.mark.parametrize("data", ["npz", "parquet", "jsonl"])
def test_files_without_rows(folder: Path, tmp_path: Path, data: str, ids: str) -> None:
    """They are written, replace older files, and each command reads what the other wrote."""
    chunks, tokens, back = (
        tmp_path / f"{name}.{kind}" for name, kind in (("chunks", data), ("ids", ids), ("back", data))
    )
    with RowWriter(str(chunks), {"actions": np.float64}, {"actions": (8, 3)}):
        pass
    with RowWriter(str(tokens), {"ids": np.int32, "lengths": np.int64}) as writer:
        writer.write(ids=[np.array([0])], lengths=[1])
    assert call("encode", folder, chunks, "--out", tokens, "--overwrite") == 0
    assert list(read_ids(str(tokens))) == []
    assert call("decode", folder, tokens, "--out", back, "--horizon", 8, "--action-dim", 3) == 0
    assert list(read_chunks(str(back))) == []
    assert call("encode", folder, back, "--out", tokens, "--overwrite") == 0
    if data == "npz":
        assert np.load(back)["actions"].shape == (0, 8, 3)


def test_a_parquet_without_rows_has_the_columns_of_one_with_rows(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"ids": np.int32, "lengths": np.int64, "reference": np.float64, "ok": bool, "error": "U1"}
    for name, count in (("none", 0), ("some", 2)):
        with RowWriter(str(tmp_path / f"{name}.parquet"), fields, {"reference": (3,)}) as writer:
            if count:
                rows: dict[str, Any] = {
                    "ids": [np.arange(2)] * count,
                    "lengths": [2] * count,
                    "reference": np.ones((count, 3)),
                }
                writer.write(None, **rows, ok=np.ones(count, bool), error=[""] * count)
    assert pq.read_schema(tmp_path / "none.parquet").equals(pq.read_schema(tmp_path / "some.parquet"))


def test_a_pipe_of_json_lines(folder: Path) -> None:
    lines = "".join(json.dumps({"actions": chunk.tolist()}) + "\n" for chunk in CHUNKS[:3])
    command = [sys.executable, "-m", "fasttok.cli"]
    encoded = subprocess.run(
        [*command, "encode", folder, "-", "--out", "-"], input=lines, capture_output=True, text=True, check=True
    )
    broken = encoded.stdout + '{"ids": [0]}\n'
    more = ["--horizon", "8", "--action-dim", "3", "--on-error", "pad"]
    decoded = subprocess.run(
        [*command, "decode", folder, "-", "--out", "-", *more], input=broken, capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in decoded.stdout.splitlines()]
    assert [row["ok"] for row in rows] == [True, True, True, False]
    assert "1 coefficients, expected 24" in rows[3]["error"]
    assert np.abs(np.array(rows[1]["actions"]) - CHUNKS[1]).max() < 0.2


def test_memory_does_not_grow_with_the_file(folder: Path, tmp_path: Path) -> None:
    """40 times the chunks, the same peak, to a few MB."""
    code = (
        "import resource, sys\nfrom fasttok.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for times in (1, 40):
        path = tmp_path / f"{times}.npz"
        with RowWriter(str(path), {"actions": np.float64}) as writer:
            for _ in range(times):
                writer.write(actions=CHUNKS)
        command = [sys.executable, "-c", code, "encode", str(folder), str(path), "--out", str(tmp_path / "ids.npz")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e3)
    data = CHUNKS.nbytes * 40 / 1e6
    assert peaks[1] - peaks[0] < data / 4, peaks


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", b"nothing", "not a readable npz"),
        ("a.parquet", b"nothing", "not a readable Parquet"),
        ("a.jsonl", b'{"actions": [[1, 2], [3]]}\n', "row 0"),
        ("a.jsonl", b'{"actions": [[1' + b"0" * 400 + b"]]}\n", "row 0"),
        ("a.jsonl", b'{"ids": [1]}\n', "line 1"),
        ("a.jsonl", b"{\n", "line 1"),
        ("a.csv", b"", r"\.parquet"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        list(read_chunks(str(path)))


def test_json_lines_may_begin_with_the_mark_that_windows_writes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"actions": [[1, 2]], "state": [5, 6]}\n')
    assert [chunks.tolist() for chunks in read_chunks(str(tmp_path / "a.jsonl"))] == [[[[1.0, 2.0]]]]
    with StateColumn(str(tmp_path / "a.jsonl"), Embodiment(1, 2, relative=(1,))) as states:
        assert states.take(1).tolist() == [[0.0, 6.0]]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    column = pa.array([[[1.0, 2.0]]])
    pq.write_table(pa.table([column, column], names=["actions", "actions"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="several columns called 'actions'"):
        list(read_chunks(str(tmp_path / "a.parquet")))


def test_nothing_is_unpickled_and_lengths_must_add_up(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", actions=np.array([{}], object))
    with pytest.raises(InputError, match="object"):
        list(read_chunks(str(tmp_path / "objects.npz")))
    for lengths, says in (([2, 2], "1 more"), ([9], "ends early"), ([-1, 6], "negative")):
        np.savez(tmp_path / "ids.npz", ids=np.arange(5), lengths=np.array(lengths))
        with pytest.raises(InputError, match=says if "more" not in says else "1 ids more"):
            list(read_ids(str(tmp_path / "ids.npz")))
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 2, 2)))
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("actions.npy", stream.getvalue()[:-8])
    with pytest.raises(InputError, match="ends early"):
        list(read_chunks(str(tmp_path / "cut.npz")))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_said(folder: Path, tmp_path: Path, save: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In the values, the header of the array, the headers of the archive, its directory; and a file that was cut."""
    ids = ActionTokenizer.load(folder).encode(CHUNKS[:300])
    good = {"encode": tmp_path / "chunks.npz", "decode": tmp_path / "ids.npz"}
    save(good["encode"], actions=CHUNKS[:300])
    save(good["decode"], ids=np.concatenate(ids), lengths=[len(row) for row in ids])
    bad, out = tmp_path / "bad.npz", tmp_path / "out.npz"
    for verb, file in good.items():
        raw, more = file.read_bytes(), ("--horizon", 8, "--action-dim", 3) if verb == "decode" else ()
        assert call(verb, folder, file, "--out", out, *more, "--overwrite") == 0
        for place in (0, 2, 8, 14, 60, 130, len(raw) // 3, len(raw) // 2, len(raw) - 60, len(raw) - 3):
            for bit in (0, 6):
                bad.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :])
                assert call(verb, folder, bad, "--out", out, *more, "--overwrite") in (0, 1)  # not a traceback
        bad.write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :])
        capsys.readouterr()
        assert call(verb, folder, bad, "--out", out, *more, "--overwrite") == 1
        assert "bad.npz: " in (said := capsys.readouterr().err)
        assert " is damaged: " in said


def test_archives_of_strange_members_are_refused(tmp_path: Path) -> None:
    header, path = io.BytesIO(), tmp_path / "strange.npz"
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (-1, 2, 2)})
    for member, content, says in (
        ("actions.npy", header.getvalue(), r"strange\.npz: actions is damaged: its shape is \(-1, 2, 2\)"),
        ("actions.npy", header.getvalue().replace(b"-1, 2, 2", b"9, 9, 9 "), "ends early"),
        ("actions.npy", header.getvalue()[:-20], "actions is damaged"),
        ("actions", header.getvalue(), "has no array 'actions'; it has none"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
        with pytest.raises(InputError, match=says):
            list(read_chunks(str(path)))


def test_text_of_parquet_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    path, text = tmp_path / "a.parquet", pa.array([b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"ids": text}), path)
    with pytest.raises(InputError, match=r"a\.parquet is damaged after row 0: .*utf-8"):
        list(read_ids(str(path)))


@pytest.mark.parametrize("kind", ["npz", "jsonl"])
@pytest.mark.parametrize(("value", "flags"), [(50.0, ("--on-range", "raise")), (1e30, ()), (float("nan"), ())])
def test_encode_names_the_file_and_the_chunk_of_it(
    folder: Path, tmp_path: Path, kind: str, value: float, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the chunk of a batch."""
    data, wrong = tmp_path / f"a.{kind}", BATCH + 21
    chunks = CHUNKS.copy()
    chunks[wrong, 4, 1] = value
    with RowWriter(str(data), {"actions": np.float64}) as writer:
        writer.write(actions=chunks)
    assert call("encode", folder, data, "--out", tmp_path / "ids.npz", *flags) == 1
    said = capsys.readouterr().err
    assert f"{data}: " in said
    assert f" chunk {wrong}," in said


def test_a_failed_run_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    bad = CHUNKS[:5].copy()
    bad[3, 2, 1] = np.nan
    np.savez(tmp_path / "bad.npz", actions=bad)
    assert call("encode", folder, tmp_path / "bad.npz", "--out", tmp_path / "ids.npz") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]


def test_pages_tables_and_the_scale_for_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        np.savez(tmp_path / f"{number}.npz", action=np.sin(np.cumsum(RNG.normal(0, 0.3, (60, 3)), axis=0)))
    data = str(tmp_path)
    assert call("fit", data, "--out", tmp_path / "tok", "--horizon", 10, "--vocab-size", 500) == 0
    capsys.readouterr()
    page = tmp_path / "eval.html"
    assert call("eval", tmp_path / "tok", data, "--html", page, "--target-error", 0.01, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"svg", "Rate and distortion", "by frequency"} <= {
        w for w in ("svg", "Rate and distortion", "by frequency") if w in page.read_text()
    }
    points = found["sweep"]
    assert len({p["scale"] for p in points}) >= 5
    errors = [p["rms"] for p in sorted(points, key=lambda p: p["scale"])]
    assert errors == sorted(errors, reverse=True), "a finer scale has a smaller error"
    for scale in {p["scale"] for p in points}:
        sizes = [p["tokens"] for p in sorted(points, key=lambda p: p["vocab_size"]) if p["scale"] == scale]
        assert sizes == sorted(sizes, reverse=True), "a larger vocabulary needs no more tokens"
    scale = found["scale_for_target"]
    assert (
        call(
            "fit",
            data,
            "--out",
            tmp_path / "fine",
            "--horizon",
            10,
            "--vocab-size",
            3000,
            "--scale",
            f"{scale:.3g}",
            "--json",
        )
        == 0
    )
    fine = json.loads(capsys.readouterr().out)["embodiments"]
    assert next(iter(fine.values()))["rms_normalized"] == pytest.approx(0.01, rel=0.05)
    page = tmp_path / "inspect.html"
    assert call("inspect", tmp_path / "tok", data, "--html", page, "--chunks", 2) == 0
    assert page.read_text().count("decoded") >= 6


def test_a_tokenizer_without_statistics_is_measured_on_data_that_names_a_robot(folder: Path, tmp_path: Path) -> None:
    """As the published folders are: chunks are taken as they are."""
    for number in range(4):
        np.savez(tmp_path / f"{number}.npz", action=np.clip(CHUNKS[number].repeat(5, axis=0), -1, 1))
    page = tmp_path / "eval.html"
    assert call("eval", folder, tmp_path, "--horizon", 8, "--html", page, "--target-error", 0.02) == 0
    assert "Rate and distortion" in page.read_text()
    assert call("inspect", folder, tmp_path, "--horizon", 8, "--html", tmp_path / "inspect.html") == 0


@pytest.mark.slow
def test_compiling_is_announced_once_and_kept(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "chunks.npz", actions=CHUNKS[:3])
    command: list[str | Path] = [sys.executable, "-m", "fasttok.cli", "encode", folder, tmp_path / "chunks.npz"]
    said = []
    for name in ("first.npz", "second.npz"):
        env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        run = [*command, "--out", tmp_path / name]
        said.append(subprocess.run(run, capture_output=True, text=True, check=True, env=env).stderr)
    assert [text.count("compiling for this machine") for text in said] == [1, 0]


def test_a_byte_order_mark_on_stdin_is_no_part_of_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    row = json.dumps({"actions": CHUNKS[0].tolist()})
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"\ufeff{row}\n{row}\n"))
    assert [batch.shape for batch in read_chunks("-")] == [(2, 8, 3)]
