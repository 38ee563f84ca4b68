"""Builds the source distribution and a wheel from it, and checks both: `make dist`.

    python -m tests.distribution --out dist

`build` and `twine` are installed into an environment of their own, which is deleted afterwards. The source distribution must
contain every file that git tracks, so that an archive can make the demo, run the tests and build the docs. The wheel must contain
every file of the four packages and nothing else. `twine check --strict` must find nothing in their descriptions.
"""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro

from fasttok.common.console import log, run
from fasttok.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("fasttok", "mixtures", "pipelines", "train")
TOOLS = ("build==1.6.1", "twine==7.0.0")


@dataclass(frozen=True)
class DistributionConfig:
    """Builds and checks the distributions.

    Example: python -m tests.distribution --out dist
    """

    out: Path = Path("dist")
    """Folder for the two files; they are replaced."""


def tracked() -> list[str]:
    """Every file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def lacking(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """What is wanted and not there.

    >>> lacking(["a", "b"], ["b", "c"])
    ['a']
    """
    return sorted(set(wanted) - set(there))


def in_archive(path: Path) -> list[str]:
    """Files of a source distribution, without the folder that holds all of them."""
    with tarfile.open(path) as archive:
        return [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]


def in_wheel(path: Path) -> list[str]:
    """Files of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def check(archive: Path, wheel: Path, files: list[str]) -> None:
    """Compares both with what git tracks.

    Raises:
        InputError: a file is missing, or one is there that should not be.
    """
    if missing := lacking(files, in_archive(archive)):
        raise InputError(
            f"{archive.name} lacks {len(missing)} files: {', '.join(missing[:10])}; name them in MANIFEST.in"
        )
    ours = [name for name in files if name.split("/")[0] in PACKAGES]
    shipped = [name for name in in_wheel(wheel) if ".dist-info/" not in name]
    if missing := lacking(ours, shipped):
        raise InputError(f"{wheel.name} lacks {', '.join(missing[:10])}; name them under tool.setuptools.package-data")
    if strange := lacking(shipped, ours):
        raise InputError(f"{wheel.name} contains {', '.join(strange[:10])}, which are no files of the four packages")


def main(config: DistributionConfig) -> None:
    """Builds both and checks them.

    Raises:
        InputError: something is missing, or twine finds fault.
    """
    files = tracked()
    with tempfile.TemporaryDirectory() as made:
        source, tools = Path(made) / "source", Path(made) / "tools"
        for name in files:  # a copy: building leaves folders behind
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
        venv.create(tools, with_pip=True)
        python = str(tools / "bin" / "python")

        def call(*words: str) -> None:
            if subprocess.run([python, "-m", *words], check=False).returncode:
                raise InputError(f"failed: python -m {' '.join(words)}")

        call("pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS)
        out = Path(made) / "dist"
        call("build", "--outdir", str(out), str(source))
        (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
        call("twine", "check", "--strict", str(archive), str(wheel))
        check(archive, wheel, files)
        config.out.mkdir(parents=True, exist_ok=True)
        for file in (archive, wheel):
            (config.out / file.name).write_bytes(file.read_bytes())
            log(f"{config.out / file.name}: {file.stat().st_size / 1e6:.1f} MB, whole")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(DistributionConfig))))
