"""Folders of ours in the processors of other projects, in several releases of transformers; and what these save, here."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.common.choices import Mode
from fasttok.errors import InputError
from tests.interop.environments import INSIDE, PACKAGE_SETS, PackageSet, run_inside

RNG = np.random.default_rng(16)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.15, (300, 10, 7)), axis=1), -1, 1)
ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = "processing_action_tokenizer.py"
WITH_PROCESSORS = [name for name, one in PACKAGE_SETS.items() if "transformers" in one.imports]
pytestmark = pytest.mark.slow
Built = Callable[[str], PackageSet]
Record = Callable[[str, object], None]


def processor_code(which: str) -> Path:
    """The processor's code: ours of the published shape, or the published file where this machine has it.

    That file may not be committed: it is taken from FASTTOK_PUBLISHED_PROCESSOR, the reference data, or the hub's cache.
    """
    if which == "stand-in":
        return INSIDE / "standin.py"
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    given = os.environ.get("FASTTOK_PUBLISHED_PROCESSOR")
    for file in (
        *([Path(given)] if given else []),
        ROOT.parent / "shared" / "data" / "fast" / "universal" / PUBLISHED,
        *hub.glob(f"models--physical-intelligence--fast/snapshots/*/{PUBLISHED}"),
    ):
        if file.is_file():
            return file
    pytest.skip(f"needs {PUBLISHED} of physical-intelligence/fast; name it with FASTTOK_PUBLISHED_PROCESSOR")


@dataclass(frozen=True)
class Found:
    """What `inside/use_processor.py` wrote.

    Attributes:
        ids: of each chunk.
        actions: decoded again.
        again: the folder that save_pretrained left.
    """

    ids: list[list[int]]
    actions: np.ndarray
    again: Path


def use(environment: PackageSet, code: Path, folder: Path, chunks: np.ndarray, out: Path) -> Found:
    """Loads a folder by AutoProcessor with a processor's code beside it, as folders on the hub have it."""
    with_code = shutil.copytree(folder, out / "with_code")
    shutil.copyfile(code, with_code / PUBLISHED)
    config = json.loads((with_code / "processor_config.json").read_text())
    config["auto_map"] = {"AutoProcessor": f"{PUBLISHED.removesuffix('.py')}.UniversalActionProcessor"}
    (with_code / "processor_config.json").write_text(json.dumps(config))
    np.savez(out / "chunks.npz", actions=chunks)
    run_inside(environment, "use_processor.py", with_code, out / "chunks.npz", out)
    found = json.loads((out / "found.json").read_text())
    return Found(found["ids"], np.load(out / "actions.npy"), out / "again")


def lists(ids: list[np.ndarray]) -> list[list[int]]:
    return [row.tolist() for row in ids]


@pytest.mark.parametrize("mode", ["native", "published"])
@pytest.mark.parametrize("which", ["stand-in", "published code"])
@pytest.mark.parametrize("name", WITH_PROCESSORS)
def test_folders_load_in_the_processor(
    built: Built, name: str, mode: Mode, which: str, tmp_path: Path, record_property: Record
) -> None:
    """transformers 5.4 and 5.5 want the tokenizer in `bpe_tokenizer/`, others take it from the folder itself."""
    environment, code = built(name), processor_code(which)
    tok = ActionTokenizer.fit(CHUNKS, vocab_size=600, mode=mode)
    tok.save(tmp_path / "tok")
    found = use(environment, code, tmp_path / "tok", CHUNKS, tmp_path)
    expected = tok.encode(CHUNKS)
    assert found.ids == lists(expected)
    back = tok.decode(expected, horizon=10, action_dim=7).actions
    assert np.abs(found.actions - back).max() < 1e-12
    # What it saves again is the same tokenizer here.
    again = ActionTokenizer.load(found.again)
    assert (again.min_token, again.max_token, again.scale) == (tok.min_token, tok.max_token, tok.scale)
    assert again.fingerprint == tok.fingerprint
    assert lists(again.encode(CHUNKS)) == found.ids
    record_property(
        "checked", f"{which}, {mode} fit: {len(found.ids)} of 300 chunks token-equal, actions equal, saved again"
    )


@pytest.mark.parametrize("which", ["stand-in", "published code"])
@pytest.mark.parametrize("name", WITH_PROCESSORS)
def test_statistics_that_it_drops_are_missed(
    built: Built, name: str, which: str, tmp_path: Path, record_property: Record
) -> None:
    environment, code = built(name), processor_code(which)
    raw = CHUNKS * [90, 2, 0.1, 5, 5, 5, 1] + 3
    stats = NormStats.fit(raw.reshape(-1, 7))
    what = {"arm": Embodiment(10, 7)}
    tok = ActionTokenizer.fit({"arm": raw}, vocab_size=600, stats={"arm": stats}, embodiments=what)
    tok.save(tmp_path / "tok")
    found = use(environment, code, tmp_path / "tok", stats.normalize(raw), tmp_path)
    assert found.ids == lists(tok.encode(raw))
    with pytest.raises(InputError, match=f"saved by fasttok .*{tok.fingerprint}.*the statistics of arm"):
        ActionTokenizer.load(found.again)
    for file in ("processor_config.json", "norm_stats.json"):
        shutil.copy(tmp_path / "tok" / file, found.again)
    cured = ActionTokenizer.load(found.again)
    assert lists(cured.encode(raw)) == found.ids
    assert cured.fingerprint == tok.fingerprint
    record_property(
        "checked",
        f"{which}: a folder saved again, without its statistics, is refused; the message's cure works",
    )


@pytest.mark.parametrize("which", ["stand-in", "published code"])
@pytest.mark.parametrize("name", WITH_PROCESSORS)
def test_the_universal_tokenizer(
    built: Built, name: str, which: str, shared_data: Path, tmp_path: Path, record_property: Record
) -> None:
    environment, code = built(name), processor_code(which)
    universal = shared_data / "fast" / "universal"
    first = ActionTokenizer.load(universal)
    first.save(tmp_path / "tok")
    found = use(environment, code, tmp_path / "tok", CHUNKS, tmp_path)
    assert found.ids == lists(first.encode(CHUNKS))
    assert lists(ActionTokenizer.load(found.again).encode(CHUNKS)) == found.ids
    record_property("checked", f"{which}: FAST+ loaded and saved here: 300 of 300 chunks token-equal")


@pytest.mark.parametrize("which", ["as saved", "stand-in", "published code"])
@pytest.mark.parametrize("name", WITH_PROCESSORS)
def test_folders_with_a_transform_do_not_load(
    built: Built, name: str, which: str, tmp_path: Path, record_property: Record
) -> None:
    """The processor knows the DCT only, so it would decode other actions. It finds no vocabulary; AutoProcessor finds why."""
    environment = built(name)
    ActionTokenizer.fit(CHUNKS, vocab_size=600, transform="both").save(tmp_path / "tok")
    np.savez(tmp_path / "chunks.npz", actions=CHUNKS)

    def load() -> None:
        if which == "as saved":
            run_inside(environment, "use_processor.py", tmp_path / "tok", tmp_path / "chunks.npz", tmp_path)
        else:
            use(environment, processor_code(which), tmp_path / "tok", CHUNKS, tmp_path)

    with pytest.raises(AssertionError, match="only fasttok encodes and decodes" if which == "as saved" else None):
        load()
    assert not (tmp_path / "found.json").exists()
    record_property("checked", f"{which}: a folder with a learned transform does not load")
