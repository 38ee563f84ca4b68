"""The tokenizer folder's files: two copies of the vocabulary, and what other programs make of a folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from fasttok.storage.folder import COPIED, SUBFOLDER, TOKENIZER
from pipelines.builder.action_tokens import copy_tokenizer
from pipelines.shards.tokenizer import load_tokenizer

RNG = np.random.default_rng(11)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (200, 8, 3)), axis=1), -1, 1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    ActionTokenizer.fit(CHUNKS, vocab_size=300).save(tmp_path / "tok")
    return tmp_path / "tok"


def test_both_copies_are_written_and_deleted(saved: Path) -> None:
    for name in COPIED:
        assert (saved / name).read_bytes() == (saved / SUBFOLDER / name).read_bytes()
    (saved / "notes.txt").write_text("mine")
    place = check_output(saved, TOKENIZER, overwrite=True)
    ActionTokenizer.fit(CHUNKS, vocab_size=320).save(saved, overwrite=True)
    assert place.state == "finished"
    assert ActionTokenizer.load(saved).vocab_size == 320
    assert (saved / "notes.txt").read_text() == "mine"
    assert all(
        TOKENIZER.wrote(str(f.relative_to(saved))) for f in saved.rglob("*") if f.is_file() and f.stem != "notes"
    )


def test_two_different_vocabularies_are_refused(saved: Path, tmp_path: Path) -> None:
    before = ActionTokenizer.load(saved)
    copy = saved / SUBFOLDER / "tokenizer.json"
    copy.write_text(json.dumps(json.loads(copy.read_text()), indent=1))  # other bytes, same vocabulary
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint
    ActionTokenizer.fit(CHUNKS, vocab_size=320).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "tokenizer.json", copy)
    with pytest.raises(InputError, match=r"300 ids.*320 ids.*two different vocabularies"):
        ActionTokenizer.load(saved)


def test_either_copy_is_enough(saved: Path) -> None:
    """Folders of fasttok 0.1.0 have no second copy, those of transformers 5 have only that."""
    before = ActionTokenizer.load(saved)
    shutil.move(saved / SUBFOLDER, saved / "aside")
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint
    shutil.move(saved / "aside", saved / SUBFOLDER)
    for name in COPIED:
        (saved / name).unlink()
    assert ActionTokenizer.load(saved).fingerprint == before.fingerprint


def test_shards_get_the_vocabulary_wherever_it_lies(saved: Path, tmp_path: Path) -> None:
    """A build's copy, on a disk and on an object store, of a folder that has its vocabulary only below."""
    before = ActionTokenizer.load(saved)
    for name in COPIED:
        (saved / name).unlink()
    (saved / "cache").mkdir()
    for out in (str(tmp_path / "out"), f"memory://{tmp_path.name}/tokenizer"):
        copy_tokenizer(str(saved), out)
        assert load_tokenizer(out).fingerprint == before.fingerprint
