"""Runs `fasttok-evaluate` of a checkout in another project's environment.

python evaluate_here.py CHECKOUT ARGUMENTS ...
"""

import sys

sys.path.insert(0, sys.argv[1])

from train.evaluate import command

if __name__ == "__main__":
    command(sys.argv[2:])
