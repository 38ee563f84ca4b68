"""The whole chain on emulated S3 and Google Cloud Storage, through their real drivers: the bytes are those of the local run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.cli import Fit
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.files import atomic_write, exists, filesystem
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.look.lint import LintConfig, run_lint
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.pipelines.object_stores import Store, gcs, s3

DATASETS = ("tabletop_planar/1.0.0", "tabletop_vqa")
MIXTURE = """name: mine
sources:
  - {dataset: tabletop_planar, weight: 2}
  - {dataset: tabletop_vqa, weight: 1}
"""
STORES = {"s3": s3, "gcs": gcs}
Emulator = Callable[[], AbstractContextManager[Store]]


@dataclass(frozen=True)
class Results:
    """What the chain came to, without what names the place.

    Attributes:
        index: files of the INDEX: bytes, or for tables that hold paths their rows.
        shards: files of SHARDS.
        tokenizer: files of the tokenizer.
        read: rows of two orders, by their ids.
    """

    index: dict[str, object]
    shards: dict[str, object]
    tokenizer: dict[str, object]
    read: list[str]


def index_config(work: str, data: str) -> IndexConfig:
    return IndexConfig(tuple(f"{data}/{name}" for name in DATASETS), f"{work}/index")


def build_config(work: str, local: Path, **more: Any) -> BuildConfig:
    (local / "mine.yaml").write_text(MIXTURE)
    return BuildConfig(
        str(local / "mine.yaml"), f"{work}/shards", 600, f"{work}/index", tokenizer=str(local / "T"), shards=4, **more
    )


def fit(work: str, local: Path) -> None:
    Fit((f"{work}/index",), local / "T", vocab_size=300).run()


def results(work: str, data: str, local: Path) -> Results:
    """Reads what `index`, `fit` and `build` left below `work`, and lints it."""
    run_lint(LintConfig(f"{work}/shards", strict=False))
    read: list[str] = []
    for options in ({}, {"cache": str(local / "cache")}):
        reader = ShardReader(f"{work}/shards", verify=True, **options)  # type: ignore[arg-type]
        for batch in reader.batches(100, "block", epochs=1):
            read += batch["sample_id"]
    read.append(str(reader.row(7)["sample_id"]))
    tokenizer = {file.name: file.read_bytes() for file in (local / "T").iterdir() if file.suffix == ".json"}
    return Results(contents(f"{work}/index", data, work), contents(f"{work}/shards", data, work), {**tokenizer}, read)


def contents(folder: str, data: str, work: str) -> dict[str, object]:
    """The files below a folder: bytes, without what names a place, and how a store tells that a file is the same."""
    fs, root = filesystem(folder)
    fs.invalidate_cache()
    found: dict[str, object] = {}
    for file in fs.find(root):
        name = file.removeprefix(root).lstrip("/")
        held = fs.cat_file(file)
        if name.endswith((".episodes.parquet", ".rejected.parquet")):
            with fs.open(file, "rb") as stream:
                rows = pq.read_table(stream).to_pylist()
            found[name] = [{**row, "file": row["file"].removeprefix(data)} for row in rows]
        elif name == "sources.arrow":
            table = pa.ipc.open_file(held).read_all().select(["dataset", "split", "file", "size"])
            found[name] = [{**row, "file": row["file"].removeprefix(data)} for row in table.to_pylist()]
        elif name.endswith((".json", ".md")):
            found[name] = held.decode().replace(data, "DATA").replace(work, "WORK")
        else:
            found[name] = held
    return found


def chain_in(work: str, data: str, local: Path) -> Results:
    run_index(index_config(work, data), [])
    fit(work, local)
    run_build(build_config(work, local), [])
    return results(work, data, local)


@pytest.fixture(scope="module")
def expected(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The local run."""
    folder = tmp_path_factory.mktemp("local")
    return chain_in(str(folder), str(chain.data), folder)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, chain: Chain) -> Iterator[Store]:
    """An emulated store that holds the datasets."""
    with STORES[request.param]() as made:
        for name in DATASETS:
            for file in (chain.data / name).rglob("*"):
                if file.is_file():
                    made.fs.pipe_file(f"{made.url}/data/{file.relative_to(chain.data)}", file.read_bytes())
        yield made


def assert_same(found: Results, expected: Results) -> None:
    for name in ("index", "shards", "tokenizer"):
        one, other = getattr(found, name), getattr(expected, name)
        assert sorted(one) == sorted(other)
        different = {file: (str(one[file])[:1500], str(other[file])[:1500]) for file in one if one[file] != other[file]}
        assert not different, json.dumps(different, indent=1)
    assert found.read == expected.read


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.01])
def test_a_store_gives_the_bytes_of_the_local_run(
    store: Store, expected: Results, tmp_path: Path, share: float
) -> None:
    """Also if requests fail: refused, cut off in the answer, or with the connection reset."""
    store.proxy.share = share
    assert_same(chain_in(f"{store.url}/run", f"{store.url}/data", tmp_path), expected)
    assert (store.proxy.faults.total() > 0) == (share > 0)


def killed(store: Store, words: list[str], writes: int) -> None:
    """Runs a command, and kills it while it writes its next object but so many."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *words],
        env={**os.environ, **store.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    store.proxy.writes, store.proxy.victim = writes, process
    said = process.communicate()[0]
    store.proxy.victim = None
    assert process.returncode == -9, said


@pytest.mark.slow
def test_killed_and_resumed_on_a_store(store: Store, expected: Results, tmp_path: Path) -> None:
    work, data = f"{store.url}/run", f"{store.url}/data"
    index = index_config(work, data)
    killed(store, ["index", *index.datasets, "--out", index.out], writes=25)
    assert not exists(f"{index.out}/index.json")
    with pytest.raises(InputError, match="cannot tell what"):
        fit(work, tmp_path)
    run_index(index, [])
    fit(work, tmp_path)
    build = build_config(work, tmp_path, resume=True)
    words: list[str] = [
        "build",
        build.mixture,
        "--out",
        build.out,
        "--index",
        f"{work}/index",
        "--samples",
        "600",
        "--shards",
        "4",
    ]
    killed(store, [*words, "--tokenizer", str(build.tokenizer)], writes=20)
    assert not exists(f"{build.out}/manifest.json")
    run_build(build, [])
    assert_same(results(work, data, tmp_path), expected)


def give_up(url: str, size: int) -> None:
    with atomic_write(url) as stream:
        stream.write(b"x" * size)
        raise ZeroDivisionError


@pytest.mark.slow
def test_what_is_given_up_half_written_never_appears(store: Store) -> None:
    """A stream that was given up wrote what it held when it was collected: half an object under its final name."""
    for size in (10, 6 << 20):  # in one request, in several
        url = f"{store.url}/half/{size}"
        with pytest.raises(ZeroDivisionError):
            give_up(url, size)
        assert not exists(url)
        assert store.fs.find(f"{store.url}/half") == []


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    url = store.url.replace("bucket", "nothing-here")
    with pytest.raises(InputError, match=f"{url}/x cannot be written"):
        run_index(IndexConfig((f"{store.url}/data/{DATASETS[0]}",), f"{url}/x"), [])
    with pytest.raises(InputError, match=f"{url}/x/index does not exist"):
        fit(f"{url}/x", tmp_path)
