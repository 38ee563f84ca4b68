"""The same index and build on four runners: the same bytes; and the graph that would be sent to a fifth."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.beam import build_graph
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index, stage
from tests.chain import Chain


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def run_chain(chain: Chain, folder: Path, flags: list[str]) -> None:
    """Indexes and builds once more, on another runner, and compares every byte."""
    run_index(IndexConfig(chain.datasets, str(folder / "index")), flags)
    index, expected = tree(folder / "index"), tree(chain.index)
    assert index.keys() == expected.keys()
    assert [name for name in index if index[name] != expected[name]] == []
    config = BuildConfig("demo", str(folder / "shards"), 700, str(folder / "index"), str(chain.tokenizer), shards=3)
    run_build(config, flags)
    shards, expected = tree(folder / "shards"), tree(chain.shards)
    assert shards.keys() == expected.keys()
    assert [name for name in shards if shards[name] != expected[name]] == []


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[str]:
    """Address of Beam's own portable job service."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)]
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while process.poll() is None:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_several_processes(chain: Chain, tmp_path: Path) -> None:
    run_chain(chain, tmp_path, ["--direct_num_workers=2", "--direct_running_mode=multi_processing"])


@pytest.mark.slow
def test_portable_job_service(chain: Chain, tmp_path: Path, job_service: str) -> None:
    flags = ["--runner=PortableRunner", f"--job_endpoint={job_service}", "--environment_type=LOOPBACK"]
    run_chain(chain, tmp_path, flags)


@pytest.mark.slow
def test_dask_cluster(chain: Chain, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask: pip install 'fasttok-vla[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        runner = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
        run_chain(chain, tmp_path, [runner, f"--dask_client_address={cluster.scheduler_address}"])
        for client in list(distributed.Client._instances):  # Beam leaves its own open
            client.close()


def graph(folder: str) -> Any:
    """The index job's graph, serialised as it is sent to a remote runner."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.transforms.environments import DockerEnvironment

    flags = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/tmp", "--job_name=index"]
    pipeline = beam.Pipeline(runner="DirectRunner", options=PipelineOptions(flags[1:]))
    build_graph(pipeline, stage(folder))
    environment = DockerEnvironment.from_container_image("region-docker.pkg.dev/p/fasttok:0.1.0")
    return pipeline.to_runner_api(default_environment=environment)


def test_the_graph_is_linear_small_and_names_our_image() -> None:
    """What Dataflow would be sent: kilobytes, whatever the number of files, as jobs are listed on a worker."""
    proto = graph("gs://bucket/INDEX")
    data = proto.SerializeToString()
    assert len(data) < 40_000
    assert b"pkg.dev/p/fasttok" in data
    readers: dict[str, int] = {}
    for transform in proto.components.transforms.values():
        empty = set(transform.inputs.values()) == set(transform.outputs.values())
        if not transform.subtransforms and not empty:
            for collection in transform.inputs.values():
                readers[collection] = readers.get(collection, 0) + 1
    assert readers
    assert set(readers.values()) == {1}  # nothing branches


def test_the_image_has_the_versions_that_are_tested() -> None:
    root = Path(__file__).resolve().parents[2]
    pinned = [line for line in (root / "constraints.txt").read_text().splitlines() if line.startswith("apache-beam==")]
    image = (root / "examples" / "dataflow" / "Dockerfile").read_text()
    assert f"_sdk:{pinned[0].split('==')[1]}\n" in image
