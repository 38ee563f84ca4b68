"""Tokenizers of PaliGemma's size, as others hand them out: where actions stand does not depend on what was added to them."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from fasttok.placement import Placement
from tests.chain import Chain
from tests.train.tiny_runs import config
from train.config import DataConfig, ModelConfig
from train.examples import Encoder
from train.setup import prepare
from train.texts.text_vocabulary import arranged, without_additions
from train.tokens import TextTokenizer

PALIGEMMA = 257_152
LOCATIONS = [*(f"<loc{i:04}>" for i in range(1024)), *(f"<seg{i:03}>" for i in range(128))]
SPECIAL = ["<pad>", "<eos>", "<bos>"]


@cache
def written(model: int, added: tuple[str, ...]) -> str:
    """tokenizer.json of byte-level BPE with `model` tokens, of which the last are <loc> and <seg> if it has PaliGemma's size."""
    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tail = LOCATIONS if model == PALIGEMMA else []
    words += [f"<unused{i}>" for i in range(model - len(words) - len(tail))] + tail
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in tail])
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in added])
    return tokenizer.to_str()


def tokenizer_of(model: int, added: Sequence[str] = ()) -> TextTokenizer:
    return TextTokenizer(Tokenizer.from_str(written(model, tuple(added))))


PADDING = tuple(f"<extra{i}>" for i in range(63))


@pytest.mark.parametrize(
    ("base", "added"),
    [
        pytest.param(PALIGEMMA, (), id="exact"),
        pytest.param(PALIGEMMA, ("<image>",), id="image"),
        pytest.param(PALIGEMMA - 1152, ("<image>",), id="loc and seg are added, too"),
        pytest.param(PALIGEMMA, ("<image>", *PADDING), id="padded to 257216", marks=pytest.mark.slow),
        pytest.param(PALIGEMMA - 1152, (), id="loc and seg are added", marks=pytest.mark.slow),
    ],
)
def test_actions_stand_before_loc_whatever_was_added(base: int, added: tuple[str, ...]) -> None:
    late = tuple(LOCATIONS) if base < PALIGEMMA else ()
    given = tokenizer_of(base, late + added)
    assert given.size == PALIGEMMA + len(added)
    text, placement = arranged(given, None, 2048, 256)
    assert (text.size, placement.size) == (PALIGEMMA, PALIGEMMA)
    assert placement == Placement(PALIGEMMA, 1152, 2048, 256)
    first = text.tokenizer.token_to_id("<loc0000>")
    assert first == PALIGEMMA - 1152
    assert placement.place([0, 2047]).tolist() == [first - 1, first - 2048]
    assert placement.place_state([255]).tolist() == [first - 2048 - 256]
    # Text that has such a word in it stays within the rows, and all else reads as before.
    [ids] = text.encode(["a <image> b"])
    assert max(ids) < PALIGEMMA
    assert text.decode(ids) == "a <image> b"
    for words in ("put it <loc0003>", "Task: x, State: 1 255;\nAction: "):
        assert text.encode([words]) == given.encode([words])
    assert (text.pad, text.bos, text.eos) == (given.pad, given.bos, given.eos)


def test_a_skip_that_is_asked_for_counts_from_the_vocabularys_end() -> None:
    """openpi: 257,152 - 1 - 128 - i."""
    _, placement = arranged(tokenizer_of(PALIGEMMA, ("<image>",)), 128, 1024, 0)
    assert placement.place([0]).tolist() == [PALIGEMMA - 1 - 128]


@pytest.mark.parametrize("size", [600, PALIGEMMA - 1, 262_144])
@pytest.mark.parametrize("added", [(), ("<image>",)])
def test_other_vocabularies_keep_what_was_added(size: int, added: tuple[str, ...]) -> None:
    given = tokenizer_of(size, added)
    text, placement = arranged(given, None, 512, 0)
    if size + len(added) == PALIGEMMA:
        assert (text.size, placement.skip) == (PALIGEMMA, 1152)
        return
    assert text is given
    assert placement == Placement(size + len(added), None, 512)
    ids = text.encode(["<image> a"])[0]
    assert not placement.is_action(ids).any()
    assert not added or size in ids
    assert max(ids) < placement.vocab_size


def test_a_vocabulary_that_needs_its_additions_keeps_them() -> None:
    """<pad>, <bos> and <eos> added last, or many words that are not ours to leave out."""
    many = tokenizer_of(PALIGEMMA - 8, tuple(f"<word{i}>" for i in range(200)))
    assert without_additions(many) is many
    late = json.loads(written(PALIGEMMA, ()))
    late["added_tokens"] = [token for token in late["added_tokens"] if token["content"] not in SPECIAL]
    for i, word in enumerate(SPECIAL):
        late["model"]["vocab"][f"<was{i}>"] = late["model"]["vocab"].pop(word)
    tokenizer = Tokenizer.from_str(json.dumps(late))
    tokenizer.add_special_tokens(SPECIAL)
    text = TextTokenizer(tokenizer)
    assert without_additions(text) is text
    assert arranged(text, None, 512, 0)[1].skip is None


def test_a_run_of_an_older_version_keeps_its_rows() -> None:
    given = tokenizer_of(PALIGEMMA, ("<image>",))
    text, placement = arranged(given, None, 512, 0, rows=PALIGEMMA + 1 + 512)
    assert text is given
    assert placement == Placement(PALIGEMMA + 1, None, 512)
    assert arranged(given, None, 512, 0, rows=PALIGEMMA)[1].skip == 1152


def test_ids_with_holes_share_no_row(tmp_path: Path) -> None:
    """The rows of a vocabulary reach to its largest id, however many tokens it has."""
    file = json.loads(written(600, ()))
    file["model"]["vocab"]["far"] = 700
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    text = TextTokenizer.load(tmp_path / "tokenizer.json")
    assert text.size == 701
    assert arranged(text, None, 512, 0)[1].place([0]).tolist() == [701]


def test_a_file_that_pads_and_cuts_does_not_change_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(written(600, ()))
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert [len(ids) for ids in TextTokenizer.load(tmp_path / "tokenizer.json").encode(["ab", "abcde"])] == [2, 5]


def test_model_and_examples_have_the_documented_rows(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(written(PALIGEMMA, ("<image>",)))
    setup = prepare(config(chain, tmp_path / "run", data={"text_tokenizer": tmp_path / "tokenizer.json"}))
    assert setup.model.vocab_size == PALIGEMMA
    assert setup.saved.text.size == PALIGEMMA
    row = next(row for row in map(setup.reader.row, range(50)) if row["kind"] == "robot")
    ids = np.array(setup.encoder.row(row | {"prompt": "see <image>"}).suffix)
    count = len(row["action_tokens"])
    assert ids[:count].tolist() == [PALIGEMMA - 1 - 1152 - i for i in row["action_tokens"].tolist()]
    assert setup.encoder.placement.is_action(ids[:count]).all()
    # A loaded run: its own file says the same.
    setup.saved.text.save(tmp_path / "own.json")
    own, model = TextTokenizer.load(tmp_path / "own.json"), dataclasses.replace(ModelConfig(), vocab_size=PALIGEMMA)
    again = Encoder(setup.encoder.robots, own, model, DataConfig(), setup.encoder.tok)
    assert again.placement == setup.encoder.placement
