"""The same index and build on four runners: the same bytes; and the graph that would be sent to a fifth."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.common.beam import build_graph
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index, stage
from tests.chain import MIXTURE, Chain
from tests.pipelines.runners import RUNNERS, Runner, tree


def run_chain(chain: Chain, folder: Path, flags: list[str]) -> None:
    """Indexes and builds once more, on another runner, and compares every byte."""
    run_index(IndexConfig(chain.datasets, str(folder / "index")), flags)
    index, expected = tree(folder / "index"), tree(chain.index)
    assert index.keys() == expected.keys()
    assert [name for name in index if index[name] != expected[name]] == []
    config = BuildConfig(MIXTURE, str(folder / "shards"), 700, str(folder / "index"), str(chain.tokenizer), shards=3)
    run_build(config, flags)
    shards, expected = tree(folder / "shards"), tree(chain.shards)
    assert shards.keys() == expected.keys()
    assert [name for name in shards if shards[name] != expected[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.__name__)
def test_every_runner(runner: Runner, chain: Chain, tmp_path: Path) -> None:
    with runner(tmp_path) as flags:
        run_chain(chain, tmp_path, flags)


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
