"""Files of ids say what made them; `decode` refuses what another tokenizer, embodiment or shape made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.cli import main
from fasttok.errors import InputError
from fasttok.storage.ids_origin import IdsOrigin
from fasttok.storage.streams import FILE_KINDS, RowWriter, read_chunks, read_encoded, read_ids

RNG = np.random.default_rng(19)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (300, 8, 3)), axis=1), -1, 1)
SHAPE = ("--horizon", 8, "--action-dim", 3)


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two of one shape, fitted on other halves."""
    folder = tmp_path_factory.mktemp("tokenizers")
    ActionTokenizer.fit(CHUNKS[:150], vocab_size=300).save(folder / "one")
    ActionTokenizer.fit(CHUNKS[150:] * [1, 0.5, 0.9], vocab_size=300).save(folder / "two")
    return folder / "one", folder / "two"


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_ids_of_another_tokenizer_are_refused(
    tokenizers: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    one, two = tokenizers
    data, ids = tmp_path / "chunks.npz", tmp_path / f"ids.{kind}"
    np.savez(data, actions=CHUNKS)
    assert call("encode", one, data, "--out", ids) == 0
    first, second = (ActionTokenizer.load(path).fingerprint for path in tokenizers)
    assert {origin for origin, _ in read_encoded(str(ids))} == {IdsOrigin(1, first, None, 8, 3)}
    assert call("decode", two, ids, "--out", tmp_path / "back.npz", "--on-error", "mask", *SHAPE) == 1
    said = capsys.readouterr().err
    for words in (str(ids), first, second, str(two), "other actions", "Decode them with the tokenizer that made them"):
        assert words in said
    assert not (tmp_path / "back.npz").exists()
    assert call("decode", one, ids, "--out", tmp_path / "back.npz") == 0, "the file says the shape"
    assert "does not say" not in capsys.readouterr().err
    again = ActionTokenizer.load(one)
    with np.load(tmp_path / "back.npz") as back:
        assert np.array_equal(back["actions"], again.decode(again.encode(CHUNKS), horizon=8, action_dim=3).actions)


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_ids_that_say_nothing_are_decoded_with_a_note(
    tokenizers: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    one = tokenizers[0]
    rows = ActionTokenizer.load(one).encode(CHUNKS)
    path = tmp_path / f"ids.{kind}"
    with RowWriter(str(path), {"ids": np.int32, "lengths": np.int64}) as writer:
        writer.write(ids=rows, lengths=[len(row) for row in rows])
    assert [row.tolist() for batch in read_ids(str(path)) for row in batch] == [row.tolist() for row in rows]
    assert call("decode", one, path, "--out", tmp_path / "back.npz", *SHAPE) == 0
    said = capsys.readouterr().err
    assert said.count("does not say which tokenizer made its ids") == 1
    assert ActionTokenizer.load(one).fingerprint in said


def lines(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_row_counts(tokenizers: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Joined files: the row that something else made is named, and nothing is written."""
    one, two = tokenizers
    data = tmp_path / "chunks.npz"
    np.savez(data, actions=CHUNKS[:5])
    for path, name in ((one, "a"), (two, "b")):
        assert call("encode", path, data, "--out", tmp_path / f"{name}.jsonl") == 0
        assert call("encode", path, data, "--out", tmp_path / f"{name}.parquet") == 0
    (tmp_path / "both.jsonl").write_text((tmp_path / "a.jsonl").read_text() + (tmp_path / "b.jsonl").read_text())
    pq.write_table(
        pa.concat_tables([pq.read_table(tmp_path / f"{name}.parquet") for name in "ab"]), tmp_path / "both.parquet"
    )
    for kind in ("jsonl", "parquet"):
        capsys.readouterr()
        assert call("decode", one, tmp_path / f"both.{kind}", "--out", tmp_path / "x.npz") == 1
        assert f"both.{kind}: row 5: the ids were made by tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()
    lines(tmp_path / "a.jsonl", lambda rows: rows[3].pop("fasttok"))
    assert call("decode", one, tmp_path / "a.jsonl", "--out", tmp_path / "x.jsonl", *SHAPE) == 0
    assert "row 3 is the first such row" in capsys.readouterr().err


def test_another_embodiment_or_shape_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal shapes, equal vocabulary: other units."""
    chunks = {"arm": CHUNKS * [90, 2, 0.1], "planar": CHUNKS * 5}
    stats = {name: NormStats.fit(x.reshape(-1, 3)) for name, x in chunks.items()}
    what = {name: Embodiment(horizon=8, action_dim=3) for name in chunks}
    ActionTokenizer.fit(chunks, vocab_size=300, stats=stats, embodiments=what).save(tmp_path / "tok")
    np.savez(tmp_path / "chunks.npz", actions=chunks["arm"])
    ids, out = tmp_path / "ids.npz", tmp_path / "back.npz"
    assert call("encode", tmp_path / "tok", tmp_path / "chunks.npz", "--out", ids, "--embodiment", "arm") == 0
    for words, says in (
        (("--embodiment", "planar"), "the ids were made with --embodiment arm, not planar"),
        (("--embodiment", "arm", "--horizon", 3, "--action-dim", 8), "the ids were made with --horizon 8, not 3"),
        (("--embodiment", "arm", "--action-dim", 2), "the ids were made with --action-dim 3, not 2"),
    ):
        capsys.readouterr()
        assert call("decode", tmp_path / "tok", ids, "--out", out, "--on-error", "pad", *words) == 1
        assert says in capsys.readouterr().err
    assert not out.exists()
    assert call("decode", tmp_path / "tok", ids, "--out", out, "--embodiment", "arm") == 0


def test_chunks_of_several_lengths_come_back(tokenizers: tuple[Path, Path], tmp_path: Path) -> None:
    """JSON lines and Parquet say the shape of each row; an npz of such ids says none."""
    one = tokenizers[0]
    mixed = [CHUNKS[0], CHUNKS[1][:5], CHUNKS[2][:5], CHUNKS[3]]
    data = tmp_path / "chunks.jsonl"
    data.write_text("".join(json.dumps({"actions": chunk.tolist()}) + "\n" for chunk in mixed))
    for kind in ("jsonl", "parquet"):
        assert call("encode", one, data, "--out", tmp_path / f"ids.{kind}") == 0
        assert call("decode", one, tmp_path / f"ids.{kind}", "--out", tmp_path / f"back_{kind}.jsonl") == 0
        back = [chunk for batch in read_chunks(str(tmp_path / f"back_{kind}.jsonl")) for chunk in batch]
        assert [chunk.shape for chunk in back] == [chunk.shape for chunk in mixed]
    assert call("encode", one, data, "--out", tmp_path / "ids.npz") == 0
    origin, _ = next(read_encoded(str(tmp_path / "ids.npz")))
    assert origin is not None
    assert (origin.horizon, origin.action_dim) == (None, 3)


def test_ids_that_do_not_decode_are_named_by_file_and_row(
    tokenizers: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ActionTokenizer.load(tokenizers[0]).encode(np.tile(CHUNKS, (15, 1, 1)))  # more than one batch
    path = tmp_path / "ids.jsonl"
    path.write_text("".join(json.dumps({"ids": row.tolist()}) + "\n" for row in rows) + '{"ids": [0]}\n')
    assert call("decode", tokenizers[0], path, "--out", tmp_path / "x.npz", *SHAPE) == 1
    assert f"{path}: row 4500 (8 steps x 3 dims): 1 coefficients, expected 24" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("nothing", "fasttok is not JSON"),
        (3, "fasttok"),
        ({"tokenizer": 3}, "fasttok"),
        ({"format_version": 9}, "newer fasttok"),
        (
            {"format_version": 1, "tokenizer": "a", "embodiment": None, "horizon": 1, "action_dim": 1, "x": 1},
            "unknown key",
        ),
    ],
)
def test_what_is_not_ours_is_said(tmp_path: Path, said: Any, says: str) -> None:
    (tmp_path / "ids.jsonl").write_text(json.dumps({"ids": [1], "fasttok": said}) + "\n")
    with pytest.raises(InputError, match=rf"ids\.jsonl: row 0: .*{says}"):
        list(read_encoded(str(tmp_path / "ids.jsonl")))
    np.savez(tmp_path / "ids.npz", ids=[1], lengths=[1], fasttok=json.dumps(said))
    with pytest.raises(InputError, match="fasttok"):
        list(read_encoded(str(tmp_path / "ids.npz")))


def test_npz_ids_are_whole_numbers_and_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "ids.npz", ids=[1.5], lengths=[1])
    with pytest.raises(InputError, match="whole numbers"):
        list(read_ids(str(tmp_path / "ids.npz")))
    for strange in (np.array({"a": 1}, object), np.array(["a", "b"]), np.zeros(3), np.array("x" * 100_000)):
        np.savez(tmp_path / "ids.npz", ids=[1], lengths=[1], fasttok=strange)
        with pytest.raises(InputError, match=r"ids\.npz: fasttok is"):
            list(read_ids(str(tmp_path / "ids.npz")))
    (tmp_path / "ids.jsonl").write_text('{"ids": [true]}\n')
    with pytest.raises(InputError, match="whole numbers"):
        list(read_ids(str(tmp_path / "ids.jsonl")))
    (tmp_path / "ids.jsonl").write_text('{"ids": [100000000000000000000]}\n')
    with pytest.raises(InputError, match="whole numbers"):
        list(read_ids(str(tmp_path / "ids.jsonl")))
