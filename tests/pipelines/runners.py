"""Flags of the runners on which an index and a build must give the same bytes; services run as long as the flags are used."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@contextmanager
def processes(_folder: Path) -> Iterator[list[str]]:
    """Two processes of Beam's direct runner."""
    yield ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


@contextmanager
def portable(folder: Path) -> Iterator[list[str]]:
    """Beam's own portable job service."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)]
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while service.poll() is None:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
    finally:
        service.terminate()
        service.wait()


@contextmanager
def dask(_folder: Path) -> Iterator[list[str]]:
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask: pip install 'fasttok-vla[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        runner = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
        yield [runner, f"--dask_client_address={cluster.scheduler_address}"]
        for client in list(distributed.Client._instances):  # Beam leaves its own open
            client.close()


Runner = Callable[[Path], AbstractContextManager[list[str]]]
RUNNERS: tuple[Runner, ...] = (processes, portable, dask)
