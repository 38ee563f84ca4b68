"""`fasttok info`: prints versions and devices for a bug report, and warns if another package has the same import name."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from fasttok._version import DISTRIBUTION, __version__
from fasttok.common.console import emit_json, log, table
from fasttok.common.flags import optional
from fasttok.common.given_paths import check_tokenizer

PACKAGES = (
    "numpy", "scipy", "numba", "tokenizers", "pyarrow", "fsspec", "msgspec", "ml_dtypes", "google-crc32c", "PyYAML", "rich",
    "tyro",
    "apache-beam", "tensorflow", "tensorflow-datasets", "importlib-resources", "rlds", "Pillow", "av", "h5py",
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "optax", "orbax-checkpoint", "filelock", "safetensors",
    "websockets", "msgpack", "transformers", "torch", "grain", "gymnasium", "tensorboardX", "wandb", "dask", "gcsfs", "s3fs",
)  # fmt: skip
"""Packages that fasttok can use: those that it needs, those of its extras, and the parts of JAX that decide on which devices it
runs."""
MISSING = "not installed"


@dataclass(frozen=True)
class Info:
    """Prints versions and devices for a bug report, and what a tokenizer folder contains.

    Example: fasttok info
    """

    tokenizer: Annotated[Positional[tuple[Path, ...]], optional("[TOKENIZER ...]")] = ()
    """Tokenizer folders to describe as well."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints versions, devices and tokenizers."""
        from fasttok.common import machine

        for folder in self.tokenizer:
            check_tokenizer(folder)  # before anything slow
        values = {
            DISTRIBUTION: __version__,
            "python": f"{sys.version.split()[0]} ({sys.executable})",
            "installed in": str(Path(__file__).parents[2]),
            "machine": platform.platform(),
            "processor": machine.hardware(),
            "memory": machine.memory(),
            "free disk": f"{machine.free_disk(Path.cwd())} in {Path.cwd()}",
            "JAX devices": machine.jax_devices(),
            "NVIDIA driver": machine.nvidia_gpus() or "none",
        }
        values |= {package: installed_version(package) for package in PACKAGES}
        if self.tokenizer:
            from fasttok.tokenizer import ActionTokenizer
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
            absent = [name for name in PACKAGES if values[name] == MISSING]
            rows = [[name, value] for name, value in values.items() if name not in absent]
            table("", ["what", "value"], [*rows, [MISSING, ", ".join(absent) or "nothing: all extras are there"]])


def installed_version(package: str) -> str:
    """Returns the version of a package, "not installed" if it is missing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def foreign_package() -> str | None:
    """Returns a warning if another package named `fasttok` is installed, else None.

    Both packages write `fasttok/__init__.py`, and the one that was installed last wins.
    """
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
