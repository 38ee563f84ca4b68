"""The adapters hand out the reader's own order; each part needs its package and says so when it is not there."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.shards import ShardReader
from tests.pipelines.made_shards import make_shards

COUNTS = [[300, 200], [150, 283]]
COLUMNS = ["sample_id", "action", "state", "image/wrist", "step"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("made") / "shards"
    make_shards(folder, COUNTS)
    return str(folder)


def ids(shards: str, **options: Any) -> list[Any]:
    return [batch["sample_id"] for batch in ShardReader(shards).batches(**options)]


@pytest.fixture
def torch_adapter() -> Any:
    pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    return importlib.import_module("pipelines.adapters.torch")


@pytest.fixture
def grain_adapter() -> Any:
    pytest.importorskip("grain", reason="Grain is not installed", exc_type=ImportError)
    return importlib.import_module("pipelines.adapters.grain")


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("mode", ["global", "block"])
def test_a_loader_hands_out_the_ranks_order(torch_adapter: Any, shards: str, workers: int, mode: str) -> None:
    loader = torch_adapter.data.DataLoader
    for rank in range(2):
        order = {"mode": mode, "rank": rank, "world": 2, "epochs": 2, "window": 2, "pool": 2}
        dataset = torch_adapter.ShardDataset(shards, 100, columns=COLUMNS, **order)
        found = list(loader(dataset, batch_size=None, num_workers=workers))
        assert [batch["sample_id"] for batch in found] == ids(shards, n=100, **order)
        assert found[0]["action"].shape == (50, 6)
        assert [len(row) for row in found[0]["state"]] == [int(step) % 4 for step in found[0]["step"]]


def test_a_batchs_state_resumes_with_other_workers(torch_adapter: Any, shards: str) -> None:
    whole = ids(shards, n=90, epochs=2)
    loader = torch_adapter.data.DataLoader
    at, got = None, []
    for workers, steps in ((3, 4), (2, 5), (0, 100)):
        dataset = torch_adapter.ShardDataset(shards, 90, epochs=2, columns=["sample_id"])
        if at is not None:
            dataset.load_state_dict(at)
        for _, batch in zip(range(steps), loader(dataset, batch_size=None, num_workers=workers), strict=False):
            got.append(batch["sample_id"])
            at = batch["read_state"]
    assert got == whole


def test_each_workers_own_state_resumes_that_worker(torch_adapter: Any, shards: str, monkeypatch: Any) -> None:
    """As a loader does that asks its workers for their states."""
    whole = ids(shards, n=90, epochs=2)

    class Info:
        num_workers = 3

    states, got = {}, {}
    for worker in range(3):
        Info.id = worker  # type: ignore[attr-defined]
        monkeypatch.setattr(torch_adapter.data, "get_worker_info", lambda: Info)
        dataset = torch_adapter.ShardDataset(shards, 90, epochs=2, columns=["sample_id"])
        got[worker] = [batch["sample_id"] for _, batch in zip(range(2 + worker), dataset, strict=False)]
        states[worker] = dataset.state_dict()
    for worker in range(3):
        Info.id = worker  # type: ignore[attr-defined]
        dataset = torch_adapter.ShardDataset(shards, 90, epochs=2, columns=["sample_id"])
        dataset.load_state_dict(states[worker])
        got[worker] += [batch["sample_id"] for batch in dataset]
        assert got[worker] == whole[worker::3]
    Info.num_workers = 2
    with pytest.raises(InputError, match="keep num_workers"):
        next(iter(dataset))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_pass_over_a_loader_reads_all(torch_adapter: Any, shards: str, workers: int) -> None:
    whole = ids(shards, n=90, epochs=1)
    dataset = torch_adapter.ShardDataset(shards, 90, epochs=1, columns=["sample_id"])
    loader = torch_adapter.data.DataLoader(dataset, batch_size=None, num_workers=workers)
    passes = [list(loader) for _ in range(3)]
    assert [[batch["sample_id"] for batch in one] for one in passes] == [whole] * 3
    again = torch_adapter.ShardDataset(shards, 90, epochs=1, columns=["sample_id"])
    again.load_state_dict(passes[0][-1]["read_state"])
    assert list(again) == []  # nothing is left of the pass that this position is in


def test_torch_arguments_are_checked_at_once(torch_adapter: Any, shards: str) -> None:
    with pytest.raises(InputError, match="multiple of the ranks"):
        torch_adapter.ShardDataset(shards, 100, rank=0, world=3)


def test_a_grain_source_is_the_global_order(grain_adapter: Any, shards: str) -> None:
    whole = [i for batch in ids(shards, n=100, epochs=2, seed=3) for i in batch]
    source = grain_adapter.ShardSource(shards, epochs=2, seed=3)
    assert len(source) == len(whole)
    assert [source[i]["sample_id"] for i in range(len(source))] == whole
    for i in np.random.default_rng(0).integers(0, len(whole), 50).tolist():
        assert source[i]["sample_id"] == whole[i]
        assert grain_adapter.ShardSource(shards, epochs=2, seed=3, block=1)[i]["sample_id"] == whole[i]
    with pytest.raises(IndexError):
        source[len(whole)]
    assert pickle.loads(pickle.dumps(source))[7]["sample_id"] == whole[7]
    assert repr(source) != repr(grain_adapter.ShardSource(shards, epochs=2, seed=4))
    grain = grain_adapter.grain
    data = grain.MapDataset.source(source).map(lambda row: row["sample_id"]).to_iter_dataset()
    assert list(data) == whole  # read by Grain's threads
    iterator = iter(data)
    head = [next(iterator) for _ in range(40)]
    again = iter(data)
    again.set_state(iterator.get_state())
    assert head + list(again) == whole


@pytest.mark.parametrize("mode", ["global", "block"])
def test_grain_batches_resume_from_their_state(grain_adapter: Any, shards: str, mode: str) -> None:
    order = {"mode": mode, "epochs": 2, "window": 2, "pool": 2}
    whole = ids(shards, n=100, **order)
    data = grain_adapter.ShardIterDataset(shards, 100, **order).map(lambda batch: batch["sample_id"])
    assert list(data) == whole
    iterator = iter(data)
    assert [next(iterator) for _ in range(5)] == whole[:5]
    state = iterator.get_state()
    assert next(iterator) == whole[5]
    iterator.set_state(state)
    assert list(iterator) == whole[5:]
    batch = next(iter(grain_adapter.ShardIterDataset(shards, 100, **order)))
    assert batch["action"].shape == (100, 6)


@pytest.mark.parametrize("name", ["torch", "grain"])
def test_a_missing_package_names_the_pip_line(name: str) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, found, path=None, target=None):
        if found.split('.')[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{found!r}}", name=found)
sys.meta_path.insert(0, Absent())
import pipelines.adapters.{name}
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert f"pip install 'fasttok-vla[{name}]'" in result.stderr


def test_reading_shards_imports_neither(shards: str) -> None:
    code = """
import sys
from pipelines.shards import ShardReader
next(ShardReader(sys.argv[1]).batches(8))
print([name for name in ("torch", "grain", "PIL") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code, shards], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
    assert Path(shards).is_dir()
