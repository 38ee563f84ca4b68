"""The longest row is found among all rows, whatever the tokenizers, and what is too short is said before the first step."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from fasttok import ActionTokenizer
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from pipelines.shards import ShardReader
from pipelines.shards.manifest import LongestRow, Manifest
from pipelines.shards.records import IMAGE_COLUMNS
from tests.chain import Chain
from tests.pipelines.reshard import reshard
from tests.train.tiny_runs import config
from train.acting.robots import Robots
from train.config import DataConfig, ModelConfig
from train.examples import Encoder
from train.setup import prepare
from train.texts.row_lengths import MeasuredRow, RowLengths, longest
from train.texts.shard_texts import longest_row
from train.texts.token_bounds import costs_of_bins, token_bound
from train.tokens import BOS, EOS, PAD, TextTokenizer, robot_prompt, state_text

KINDS = ("robot", "vqa", "caption")
WORDS = [
    "grasp",
    "the",
    "red_circle",
    "star\n",
    "Ünïcode",
    "東京",
    "  ",
    "7 31",
    "Straße;",
    "<eos>",
    "\0",
    "0:1",
    "🤖",
    "a",
]


def texts(seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    states = [state_text(rng.uniform(-1.1, 1.1, rng.integers(1, 9))) for _ in range(300)]
    said = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(300)]
    return [robot_prompt(a, b) for a, b in zip(said, states, strict=True)]


def trained(tokenizer: Tokenizer, size: int = 700) -> TextTokenizer:
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "\u2581"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return TextTokenizer(tokenizer)


def own() -> TextTokenizer:
    """As the trainer makes one: each bin from 0 on is a token."""
    return TextTokenizer.train(texts(), 700)


def gemma() -> TextTokenizer:
    """SentencePiece as transformers writes it: no pre-tokenizer, spaces are letters, digits stand alone, bytes for the rest."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=PAD))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex("\u2581*[^\u2581]+|\u2581+"), "isolated"),
        ]
    )
    text = trained(tokenizer)
    file = json.loads(text.tokenizer.to_str())
    file["pre_tokenizer"] = None
    return TextTokenizer(Tokenizer.from_str(json.dumps(file)))


def few_digits() -> TextTokenizer:
    """Byte-level with a vocabulary in which some bins are one token, some two or three."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    return trained(tokenizer, 360)


def reaching() -> TextTokenizer:
    """Tokens that reach over spaces: nothing adds up."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.ByteLevel()
    return trained(tokenizer)


def growing() -> TextTokenizer:
    """A normalizer that writes more than it reads, in a way that we do not know."""
    tokenizer = Tokenizer(models.BPE(unk_token=PAD))
    tokenizer.normalizer = normalizers.Replace(Regex("[a-e]"), "xyz" * 5)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(tokenizer, 400)


def lower() -> TextTokenizer:
    """Normal forms that make up to 22 bytes of one."""
    tokenizer = Tokenizer(models.BPE(unk_token=PAD))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(tokenizer)


TOKENIZERS: list[Callable[[], TextTokenizer]] = [own, gemma, few_digits, reaching, lower, growing]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_what_is_said_of_a_tokenizer_is_so(make: Callable[[], TextTokenizer]) -> None:
    """No text has more tokens than `token_bound` says; the bins of states cost what `costs_of_bins` says."""
    text, rng = make(), np.random.default_rng(1)
    bound, costs = token_bound(text), costs_of_bins(text)
    assert (bound is None) == (make is growing)
    assert (costs is None) == (make in (reaching, growing))
    if bound is not None:
        odd = ["", " ", "  a ", "\0", *WORDS, *texts(2), "\ufdfa" * 9, "".join(map(chr, range(32, 900)))]
        for words, ids in zip(odd, text.encode(odd), strict=True):
            assert len(ids) <= bound.of(np.array(len(words.encode()), np.float64), 1)
    if costs is not None:
        assert costs[1:].any() == (make is not own)
        for dims in (1, 2, 7, 14):
            for prompt in ("x", "Task: 7 31;", "東京 128"):
                one, two = rng.integers(-1, 256, (2, dims))
                counts = [
                    len(i) for i in text.encode([robot_prompt(prompt, " ".join(map(str, b))) for b in (one, two)])
                ]
                assert counts[1] - counts[0] == costs[two + 1].sum() - costs[one + 1].sum()


@pytest.fixture(scope="module")
def others(chain: Chain) -> ActionTokenizer:
    return fit_tokenizer(open_episodes(str(chain.index)), FitConfig(vocab_size=350, scale=20))[0]


def rewritten(chain: Chain, out: Path, seed: int) -> Path:
    """The chain's shards with other texts, states and FAST ids, and a manifest that says the truth of them."""
    rng, found = random.Random(seed), dict[str, LongestRow]()

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["prompt"] = " ".join(rng.choices(WORDS, k=rng.randint(0, 7)))
            row["target"] = " ".join(rng.choices(WORDS, k=rng.randint(0, 9) * rng.randint(0, 1)))
            if row["kind"] == "robot":
                row["state"] = np.float32(row["state"]) * rng.uniform(-3, 3) * rng.choice([0, 1, 1, 100])
                row["action_tokens"] = row["action_tokens"][: rng.randint(1, len(row["action_tokens"]))]
            seen = len(row["action_tokens"]), len(row["prompt"].encode()), len(row["target"].encode())
            found[row["source"]] = found.get(row["source"], LongestRow()) | LongestRow(*seen)

    def manifest(value: dict[str, Any]) -> None:
        for name, source in value["sources"].items():
            source["longest"] = vars(found[name])

    return reshard(chain.shards, out, change, manifest)


def truth(reader: ShardReader, encoder: Encoder, kinds: tuple[str, ...]) -> int:
    """By encoding every row."""
    blind = dict.fromkeys(IMAGE_COLUMNS)
    rows = (row | blind for row in map(reader.row, range(reader.num_rows)) if row["kind"] in kinds)
    return max(len(e.prefix) + len(e.suffix) for e in map(encoder.row, rows))


@pytest.mark.parametrize("make", TOKENIZERS)
def test_no_row_is_longer_and_one_is_as_long(
    make: Callable[[], TextTokenizer], chain: Chain, others: ActionTokenizer, tmp_path: Path
) -> None:
    text, rng = make(), random.Random(make.__name__)
    shards = rewritten(chain, tmp_path / "shards", rng.randrange(99))
    for turn in range(4):
        model = ModelConfig(state=("text", "special", "continuous", "text")[turn])
        data = DataConfig(discrete=rng.choice(["fast", "bins", "none"]), subtasks=rng.choice([0.0, 0.5, 1.0]))
        kinds = rng.choice([KINDS, ("robot",), ("vqa", "caption")])
        if turn == 2:
            forget(shards)
        reader = ShardReader(str(shards))
        tok = rng.choice([ActionTokenizer.load(reader.tokenizer_folder), others])
        encoder = Encoder(Robots.of(reader.manifest, kinds), text, model, data, tok)
        found, expected = longest(reader, encoder, kinds), truth(reader, encoder, kinds)
        assert found is not None
        row = next(r for r in map(reader.row, range(reader.num_rows)) if r["sample_id"] == found.sample_id)
        assert found == MeasuredRow(expected, row["source"], row["sample_id"]), (model, data, kinds, turn)
        assert longest(reader, encoder, kinds, above=expected) is None
        again = longest(reader, encoder, kinds, above=expected - 1)
        assert again is not None
        assert again.tokens == expected


def forget(shards: Path) -> None:
    """Makes the manifest one of an older version."""
    file = shards / "manifest.json"
    value = json.loads(file.read_text())
    for source in value["sources"].values():
        source.pop("longest", None)
    file.write_text(json.dumps(value))


def test_bounds_of_the_manifest_hold_and_spare_reading(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, text = ShardReader(str(rewritten(chain, tmp_path / "shards", 5))), own()
    encoder = Encoder(
        Robots.of(reader.manifest, KINDS),
        text,
        ModelConfig(),
        DataConfig(),
        ActionTokenizer.load(reader.tokenizer_folder),
    )
    lengths = RowLengths.of(encoder, every=False)
    most = max(lengths.most(source) for source in reader.manifest.sources.values())
    found = longest(reader, encoder, KINDS)
    assert found is not None
    assert found.tokens <= most < np.inf
    monkeypatch.setattr(reader.files, "record_batch", None)
    assert longest(reader, encoder, KINDS, above=int(most)) is None  # nothing is read


def test_a_longest_row_far_behind_is_found(chain: Chain, tmp_path: Path) -> None:
    """In the last row of all, wherever a sample would have looked."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[-1]["prompt"] += " and then once more" * 40

    shards = reshard(chain.shards, tmp_path / "shards", change)
    forget(shards)
    reader = ShardReader(str(shards))
    setup = prepare(replace(config(chain, tmp_path / "run"), shards=shards))
    last = setup.encoder.row(reader.row(reader.num_rows - 1))
    needed = len(last.prefix) + len(last.suffix)
    assert setup.batcher.length == -(-needed // 8) * 8 == longest_row(reader, setup.encoder, KINDS)
    setup.batcher([last])


def test_a_length_that_is_too_short_names_the_row(chain: Chain, tmp_path: Path) -> None:
    free = prepare(config(chain, tmp_path / "run"))
    found = longest(free.reader, free.encoder, KINDS)
    assert found is not None
    short = config(chain, tmp_path / "run", data={"text_length": found.tokens - 1})
    at = f"row {found.sample_id} of source {found.source} in .* has {found.tokens} tokens"
    with pytest.raises(
        InputError, match=rf"is {found.tokens - 1}, but {at}.*text-length to {free.batcher.length} or more"
    ):
        prepare(short)
    enough = replace(short, data=replace(short.data, text_length=found.tokens))
    assert prepare(enough).batcher.length == found.tokens


def test_rows_of_a_remote_store_are_measured_without_their_images(chain: Chain, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(chain.shards), "/measured", recursive=True)
    near, far = ShardReader(str(chain.shards)), ShardReader("memory://measured")
    assert Manifest.load("memory://measured") == near.manifest
    tok = ActionTokenizer.load(near.tokenizer_folder)
    encoder = Encoder(Robots.of(near.manifest, KINDS), own(), ModelConfig(), DataConfig(), tok)
    read = []
    cat = type(store).cat_file

    def counted(self: Any, path: str, **at: Any) -> bytes:
        data: bytes = cat(self, path, **at)
        read.append(len(data))
        return data

    type(store).cat_file = counted
    try:
        assert longest(far, encoder, KINDS) == longest(near, encoder, KINDS)
    finally:
        type(store).cat_file = cat
        store.rm("/measured", recursive=True)
    assert sum(read) < sum(shard.bytes for shard in near.manifest.shards) / 2
