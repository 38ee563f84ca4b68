"""Numbers that mean nothing are refused, each with its flag or its place; a vocabulary of one id is measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.cli.commands import main
from fasttok.errors import InputError
from fasttok.placement import Placement, pad
from fasttok.storage.streams import read_ids

WALKS = np.cumsum(np.random.default_rng(0).normal(0, 0.05, (12, 40, 3)), axis=1)
CHUNKS = WALKS[:, :10]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("numbers")
    np.savez(out / "data.npz", action=WALKS)
    tok = ActionTokenizer.fit(CHUNKS, 400)
    tok.save(out / "tok")
    ids = tok.encode(CHUNKS)
    np.savez(out / "ids.npz", ids=np.concatenate(ids), lengths=[len(row) for row in ids])
    return out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(
            (f"fit data.npz --out new --control-hz {hz}", f"control frequency is {hz} Hz")
            for hz in ("0", "-5", "nan", "inf")
        ),
        ("fit data.npz --out new --control-hz 10 --seconds 1e300", "1e\\+300 s at 10 Hz has more than 1000000 steps"),
        ("fit data.npz --out new --control-hz 1e10 --seconds 1e300", "has more than 1000000 steps"),
        ("fit data.npz --out new --horizon 1000000000000", "expected at most 1000000 steps"),
        ("fit data.npz --out new --horizon 10 --split test", "data.npz has no split 'test'; all episodes of npz"),
        ("eval tok data.npz --horizon 10 --split val", "data.npz has no split 'val'"),
        ("fit data.npz --out new --horizon 10 --episode-share 1e-9", "share 1e-09 takes none of the 12 episodes"),
        *((f"eval tok data.npz --max-chunks {most}", f"--max-chunks is {most}") for most in ("0", "-3")),
        *(
            (f"eval tok data.npz --horizon 10 --target-error {wanted}", f"target error is {wanted}")
            for wanted in ("nan", "inf")
        ),
        *(
            (f"decode tok ids.npz --out a.npz --horizon {n}", f"--horizon is {n}, expected at least 1")
            for n in ("0", "-5")
        ),
        ("decode tok ids.npz --out a.npz --horizon 10 --action-dim 0", "--action-dim is 0, expected at least 1"),
    ],
)
def test_flags_without_meaning_are_refused(
    words: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=says):
        main(words.split())
    assert not (folder / "new").exists()


@pytest.mark.parametrize("shape", [(0, 3), (-5, 3), (10, 0)])
def test_decoding_needs_a_step_and_a_dim(shape: tuple[int, int], folder: Path) -> None:
    tok = ActionTokenizer.load(folder / "tok")
    with pytest.raises(InputError, match=rf"decode: {shape[0]} steps x {shape[1]} dims, expected at least one of each"):
        tok.decode([[0]], horizon=shape[0], action_dim=shape[1])


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (np.array([2.0, 3.0]), "lengths is float64, expected whole numbers"),
        (np.array([True, True]), "lengths is bool"),
        (np.full(4, 2**62), "ends early"),  # whose sum is 0 in 64 bits
    ],
)
def test_lengths_are_whole_numbers(lengths: Any, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "ids.npz", ids=np.arange(5), lengths=lengths)
    with pytest.raises(InputError, match=says):
        list(read_ids(str(tmp_path / "ids.npz")))


@pytest.mark.parametrize("wrong", [[38.9], ["38"], "38", [np.float64(38.9)], [None], [2**70], np.array([38.9])])
def test_ids_are_whole_numbers(wrong: Any, folder: Path) -> None:
    """They are neither cut nor read from text, whether they come in lists or in arrays."""
    tok, lm = ActionTokenizer.load(folder / "tok"), Placement(1000, skip=None, action_vocab=400)
    for rows in (wrong, [wrong], [[0], wrong]):
        with pytest.raises(InputError, match="whole numbers"):
            tok.decode(rows, horizon=10, action_dim=3, on_error="pad")
    for takes in (lm.place, lm.place_state, lm.ids_of, lm.is_action, lm.is_text, lambda ids: pad([ids], 4, pad_id=0)):
        with pytest.raises(InputError, match="expected whole numbers"):
            takes(wrong)
    with pytest.raises(InputError, match="expected whole numbers"):
        tok.allowed_next(wrong, horizon=10, action_dim=3)


@pytest.mark.parametrize("kind", [list, tuple, np.int32, np.uint16, np.uint64])
def test_ids_of_every_whole_type_are_taken(kind: Any, folder: Path) -> None:
    tok, lm = ActionTokenizer.load(folder / "tok"), Placement(1000, skip=None, action_vocab=400)
    ids = tok.encode(CHUNKS[:2])
    rows = [row.astype(kind) if isinstance(kind, type) and issubclass(kind, np.integer) else kind(row) for row in ids]
    expected = tok.decode(ids, horizon=10, action_dim=3).actions
    assert np.array_equal(tok.decode(rows, horizon=10, action_dim=3).actions, expected)
    assert np.array_equal(lm.place(rows[0]), ids[0] + 1000)
    assert np.array_equal(pad(rows, 50, pad_id=0, eos_id=1)[0][1, : len(ids[1]) + 1], [*ids[1], 1])
    assert len(tok.allowed_next(rows[0][:1], horizon=10, action_dim=3))


@pytest.mark.parametrize("count", [4_000, 5_000, 13_107])
def test_one_reference_is_that_of_every_chunk_however_many(count: int) -> None:
    """Chunks are encoded some thousand at a time."""
    what = {"a": Embodiment(10, 3, relative=(0, 1, 2))}
    tok = ActionTokenizer.fit({"a": CHUNKS}, 900, embodiments=what)
    chunks, one = np.repeat(CHUNKS[:1], count, axis=0) + 5, np.full((1, 3), 5.0)
    many = tok.encode(chunks, reference=np.repeat(one, count, axis=0))
    for reference in (one, one[0]):
        assert all(np.array_equal(a, b) for a, b in zip(tok.encode(chunks, reference=reference), many, strict=True))
    for rows in (2, 4369, count - 1, count + 1):
        with pytest.raises(InputError, match=rf"reference has shape \({rows}, 3\), expected \({count}, 3\)"):
            tok.encode(chunks, reference=np.repeat(one, rows, axis=0))


def test_a_vocabulary_of_one_id_needs_no_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an arm that never moves: every chunk is the same."""
    data, tok = str(tmp_path / "still.npz"), str(tmp_path / "tok")
    np.savez(data, action=np.full((4, 20, 1), 2.5))
    main(["fit", data, "--out", tok, "--horizon", "5", "--vocab-size", "1"])
    assert ActionTokenizer.load(tok).vocab_size == 1
    main(["eval", tok, data])
    capsys.readouterr()
    main(["eval", tok, data, "--json"])
    (measured,) = json.loads(capsys.readouterr().out)["embodiments"].values()
    floor = measured["entropy_floor"]
    assert (floor["bits"], floor["fewest_ids"], floor["tokens_above_share"], floor["bits_per_id"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("second", ["data.npz", "./data.npz", "link.npz", "more", ".", "file:"])
def test_data_that_is_given_twice_is_refused(second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", action=WALKS)
    Path("more").mkdir()
    for link in (Path("link.npz"), Path("more", "b.npz")):
        link.symlink_to(tmp_path / "data.npz")
    second = (tmp_path / "data.npz").as_uri() if second == "file:" else second
    with pytest.raises(InputError, match=r"data\.npz.* would count twice; give one of them"):
        main(["fit", "data.npz", second, "--out", "new", "--horizon", "10"])
    assert not Path("new").exists()


def test_a_report_that_nobody_reads_to_its_end_loses_no_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", action=np.random.default_rng(0).normal(size=(3, 6, 400)))  # a long report
    words = ["fit", str(tmp_path / "wide.npz"), "--horizon", "3", "--out", str(tmp_path / "T")]
    code = f"from fasttok.cli import main; main({words})"
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert ActionTokenizer.load(tmp_path / "T").embodiments["wide"].action_dim == 400
