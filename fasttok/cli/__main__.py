"""Makes `python -m fasttok.cli` do the same as the command `fasttok`."""

from fasttok.cli import main

main()
