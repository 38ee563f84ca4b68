"""The version, said once: packaging, `--version` and everything that records it read it here.

It has a file of its own so that `fasttok info` still works where another package has replaced `fasttok/__init__.py`.
"""

__version__ = "0.1.0"
DISTRIBUTION = "fasttok-vla"  # the name to install; `fasttok` on the package index is somebody else's package
