"""Describes the machine on which a number was measured."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

SECONDS = 120  # longest time to wait for an answer of JAX or of the driver
GIB = 1 << 30
ASK_JAX = "import json, jax; print(json.dumps([[d.platform, d.device_kind] for d in jax.local_devices()]))"


def hardware() -> str:
    """Returns the processor's name and how many cores this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    many = cores()
    return f"{name}, {many} core{'s' * (many > 1)}"


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """Returns the main memory of the machine in GiB, "unknown" if the system does not say it."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.1f} GiB"
    except (AttributeError, OSError, ValueError):  # not POSIX
        return "unknown"


def free_disk(folder: Path) -> str:
    """Returns the free space on the disk of a folder in GiB, "unknown" if the system does not say it."""
    try:
        return f"{shutil.disk_usage(folder).free / GIB:,.1f} GiB"
    except OSError:
        return "unknown"


def jax_devices() -> str:
    """Returns the devices that JAX computes on.

    A second process asks JAX, because a broken driver must not end this one. That process takes no memory of the devices beyond
    what it needs to find them.
    """
    if find_spec("jax") is None:
        return "JAX is not installed"
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-c", ASK_JAX],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"JAX did not answer: {error}"
    if asked.returncode:
        lines = asked.stderr.strip().splitlines()
        return f"JAX did not answer: {lines[-1] if lines else f'exit status {asked.returncode}'}"
    found = json.loads(asked.stdout.splitlines()[-1])
    counts = Counter(kind if kind == backend else f"{backend}: {kind}" for backend, kind in found)
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def nvidia_gpus() -> str:
    """Returns each GPU's name, memory and driver version as NVIDIA's driver writes them; "" without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    words = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi did not answer: {error}"
    lines = (asked.stdout if asked.returncode == 0 else asked.stderr or asked.stdout).strip().splitlines()
    return "; ".join(lines)
