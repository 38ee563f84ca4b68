"""Bit-exact with the published FAST code: token lists, decoded arrays, fitted files.

`golden/` holds a small part of the reference data (a tokenizer that the published code fitted, with what it encoded and
decoded), so that these tests run anywhere; the FAST+ cases need the reference data beside the checkout.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.codec.bpe import Bpe
from fasttok.errors import InputError

HERE = Path(__file__).parent / "golden"
FITS = ("fit_15x7_v512", "fit_10x2_v700_s50")


def published(tokenizer_json: Path, scale: float, min_token: int) -> ActionTokenizer:
    return ActionTokenizer(Bpe.from_json(tokenizer_json.read_text(), str(tokenizer_json)), scale, min_token, None)


def check_fitted(folder: Path, name: str) -> None:
    meta = json.loads((folder / "fit.json").read_text())[name]
    arrays = np.load(folder / f"{name}.npz", allow_pickle=False)
    tok = published(folder / f"{name}.tokenizer.json", meta["scale"], meta["min_token"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids = tok.encode(arrays["held_out"])
    assert [i.tolist() for i in ids] == meta["held_out_tokens"]
    out = tok.decode(meta["held_out_tokens"], horizon=meta["T"], action_dim=meta["D"])
    assert out.ok.all()
    assert np.array_equal(out.actions, arrays["decoded"])


def test_small_golden_tokens_and_actions() -> None:
    check_fitted(HERE, "fit_10x2_v700_s50")


@pytest.mark.parametrize("name", FITS)
def test_fitted_tokens_and_actions(shared_data: Path, name: str) -> None:
    check_fitted(shared_data / "fast" / "golden", name)


@pytest.mark.parametrize("name", FITS)
def test_published_fit_writes_the_identical_file(shared_data: Path, name: str) -> None:
    folder = shared_data / "fast" / "golden"
    meta = json.loads((folder / "fit.json").read_text())[name]
    train = np.load(folder / f"{name}.npz", allow_pickle=False)["train"]
    tok = ActionTokenizer.fit(train, vocab_size=meta["vocab_size"], scale=meta["scale"], mode="published")
    assert tok.min_token == meta["min_token"]
    assert tok.bpe.to_json() == (folder / f"{name}.tokenizer.json").read_text()


@pytest.fixture(scope="module")
def universal(shared_data: Path) -> ActionTokenizer:
    return ActionTokenizer.load(shared_data / "fast" / "universal")


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> tuple[dict, dict, dict]:
    folder = shared_data / "fast" / "golden"
    with np.load(folder / "universal_inputs.npz") as inputs, np.load(folder / "universal_decoded.npz") as decoded:
        return json.loads((folder / "universal_tokens.json").read_text()), dict(inputs), dict(decoded)


def test_universal_tokens_and_actions(universal: ActionTokenizer, golden: tuple[dict, dict, dict]) -> None:
    reference, inputs, decoded = golden
    checked = 0
    for case, tokens in reference["tokens"].items():
        if "encode_error" in reference["meta"].get(case, {}) or not isinstance(tokens, list):
            continue
        x = inputs[case]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert [i.tolist() for i in universal.encode(x)] == tokens, case
        horizon, dim = x.shape[-2:]
        out = universal.decode(tokens, horizon=horizon, action_dim=dim)
        assert np.array_equal(out.actions, decoded[case]), case
        checked += 1
    assert checked >= 20


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.nan, "nan in chunk 0"),
        (np.inf, "inf in chunk 0"),
        ((0xD800 - 354) / 10, "code 55296"),
        pytest.param(111421.4, "code 1114", marks=pytest.mark.slow),
    ],
)
def test_what_the_published_code_crashes_on_is_a_clear_error(
    universal: ActionTokenizer, value: float, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        universal.encode(np.array([[[value]]]))


def test_bad_token_lists(universal: ActionTokenizer, golden: tuple[dict, dict, dict]) -> None:
    """Where the published code prints and returns zeros, or decodes nonsense, a row is an error; elsewhere it is equal."""
    for name, case in golden[0]["bad_decode_10x7"].items():
        out = universal.decode([case["tokens"]], horizon=10, action_dim=7, on_error="mask")
        ours_fails = case["failed"] or name in ("out_of_vocab_5000", "seventy_lone_lead_bytes")
        assert out.ok[0] != ours_fails, name
        assert bool(out.errors[0]) == ours_fails
        if ours_fails:
            assert np.isnan(out.actions).all()
        else:
            assert np.abs(out.actions).sum() == pytest.approx(case["decoded_sum_abs"], rel=1e-12)
