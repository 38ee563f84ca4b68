"""How a process that computes on a CPU gets its memory: in huge pages, which it keeps.

Each training step asks for the same large arrays again. As glibc is set by default, their pages go back to the system after every
step, and come again 4 KB at a time; a third of the CPU time goes there. glibc looks at its settings only when a process begins,
so a command that was started without them begins once more, at once and with the same number (`exec`).
"""

import os
import sys
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,  # transparent huge pages
        "arena_max": 1,  # one heap, which all threads reuse
        "mmap_threshold": 32 << 20,  # the largest that glibc takes: larger arrays alone get a mapping of their own
        "trim_threshold": 4 << 30,  # bytes that stay with the process
        "top_pad": 256 << 20,  # bytes that it asks for at once
    }.items()
)


def begin_again(environment: Mapping[str, str] = os.environ) -> None:
    """Starts this process anew with TUNABLES, unless the variable is set or the system has no glibc.

    Args:
        environment: of this process.
    """
    if sys.platform != "linux" or VARIABLE in environment or not sys.executable:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**environment, VARIABLE: TUNABLES})
