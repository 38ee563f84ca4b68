"""The version number. Packaging, `--version` and everything that records a version read it from here.

It is in a file of its own so that `fasttok info` still works if another package has replaced `fasttok/__init__.py`.
"""

__version__ = "0.2.0.dev0"
DISTRIBUTION = "fasttok-vla"  # the name to install; `fasttok` on the package index is somebody else's package
