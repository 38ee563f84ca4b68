"""What the help of a command says of a flag."""

from typing import Any

OPTIONAL: Any
"""In Annotated, for a flag whose default is empty: without it, the flag's help would end with "(default: )"."""

try:
    from tyro.conf import arg
except ModuleNotFoundError:  # train.config is also used where nobody types a command (benchmarks/train_step.py)
    OPTIONAL = None
else:
    OPTIONAL = arg(help_behavior_hint="(optional)")
