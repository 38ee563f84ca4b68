"""The type of a flag that may be left out.

It is apart from flags.py because it needs tyro, and train.config is also read where nobody types a command.
"""

from typing import Annotated, TypeVar

from tyro.conf import DisallowNone

from fasttok.common.flags import OPTIONAL

T = TypeVar("T")

# The help says "(optional)" instead of "(default: None)", and does not offer the word None as a value.
Maybe = Annotated[T | None, OPTIONAL, DisallowNone]
