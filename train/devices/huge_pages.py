"""Gives a process that computes on a CPU its memory in huge pages, which the process keeps.

Each training step allocates the same large arrays again. By default, glibc returns their pages to the system after every step,
and gets them back 4 KB at a time, which takes a third of the CPU time. glibc reads its settings only when a process begins. So a
command that was started without these settings restarts itself at once, with the same process number (`exec`).
"""

import os
import platform
import sys
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,  # transparent huge pages
        "arena_max": 1,  # one heap, which all threads reuse
        "mmap_threshold": 32 << 20,  # the largest value that glibc takes; only larger arrays get a mapping of their own
        "trim_threshold": 4 << 30,  # free bytes that the process may keep
        "top_pad": 256 << 20,  # bytes that it asks the system for at once
    }.items()
)


def begin_again(environment: Mapping[str, str] = os.environ) -> None:
    """Restarts this process with TUNABLES, unless the variable is set already or the system has no glibc.

    Args:
        environment: environment of this process.
    """
    if sys.platform != "linux" or VARIABLE in environment or not sys.executable or platform.libc_ver()[0] != "glibc":
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, VARIABLE: TUNABLES})
