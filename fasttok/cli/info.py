"""`fasttok info`: versions for a bug report, and the foreign package that may own the import name."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fasttok._version import DISTRIBUTION, __version__
from fasttok.common.console import emit_json, log, table


@dataclass(frozen=True)
class Info:
    """Versions for a bug report, and what a tokenizer folder holds.

    Example: fasttok info TOKENIZER
    """

    tokenizer: Positional[tuple[Path, ...]] = ()
    """Tokenizer folder, optional."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints versions and tokenizers."""
        from importlib.metadata import PackageNotFoundError, version

        if self.tokenizer:
            from fasttok.tokenizer import ActionTokenizer
        values = {
            DISTRIBUTION: __version__,
            "python": sys.version.split()[0],
            "machine": platform.platform(),
        }
        for package in ("numpy", "scipy", "numba", "tokenizers", "pyarrow", "apache-beam", "tensorflow", "jax"):
            try:
                values[package] = version(package)
            except PackageNotFoundError:
                values[package] = "not installed"
        for folder in self.tokenizer:
            tok = ActionTokenizer.load(folder)
            values[str(folder)] = (
                f"{tok.mode}, {tok.vocab_size} ids, scale {tok.scale:g}, coefficients {tok.min_token}..{tok.max_token}, "
                f"embodiments: {', '.join(tok.embodiments) or 'none'}, fingerprint {tok.fingerprint}"
            )
            for name, what in tok.embodiments.items():
                if what.relative:
                    pairs = " ".join(f"{d}={c}" for d, c in zip(what.relative, what.state_columns, strict=True))
                    values[f"{folder}: {name}"] = f"relative to {what.state_key or 'proprio'}, action=state: {pairs}"
                if name in tok.stats and tok.stats[name].clip:
                    values[f"{folder}: {name} clips"] = "values outside the range that maps to [-1, 1]"
        if warning := foreign_package():
            log(f"warning: {warning}")
        if self.json:
            emit_json(values)
        else:
            table("", ["what", "value"], [[k, v] for k, v in values.items()])


def foreign_package() -> str | None:
    """What is wrong if another package named `fasttok` is installed: both write `fasttok/__init__.py`, and the last one wins."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        other = distribution("fasttok")
    except PackageNotFoundError:
        return None
    if any(point.name == "fasttok" for point in other.entry_points):  # an install of ours, from before it was renamed
        return (
            f"an old install of this project, named fasttok {other.version}, is still there; run: pip uninstall fasttok"
        )
    return (
        f"fasttok {other.version} is installed, which is another project with the same import name; run: "
        f"pip uninstall fasttok, then: pip install --force-reinstall --no-deps {DISTRIBUTION}"
    )
