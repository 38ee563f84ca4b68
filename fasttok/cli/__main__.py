"""`python -m fasttok.cli`, the same as the command `fasttok`."""

from fasttok.cli import main

main()
