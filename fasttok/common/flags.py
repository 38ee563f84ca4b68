"""What the help of a command says of a flag."""

from typing import Any


def optional(metavar: str | None = None) -> Any:
    """Returns what to write into Annotated for a flag whose default is empty: else its help would end with "(default: )".

    Args:
        metavar: what the help shows in the place of the flag's value; None for what its type says.
    """
    try:
        from tyro.conf import arg
    except ModuleNotFoundError:  # train.config is also used where nobody types a command (benchmarks/train_step.py)
        return None
    return arg(metavar=metavar, help_behavior_hint="(optional)")


OPTIONAL = optional()
