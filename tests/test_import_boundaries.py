"""The light packages stay light: proved in fresh interpreters, and the proof itself is shown to be able to fail."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "apache_beam", "jax", "rlds")
SLOW = (
    *HEAVY,
    "numpy",
    "rich",
    "tyro",
    "pyarrow",
    "fsspec",
)  # a console script begins without any, see fasttok.common.start
WITHOUT = {
    "fasttok": (*HEAVY, "numba"),
    "fasttok.client": (*HEAVY, "numba", "scipy", "pyarrow", "rich"),
    "fasttok.packed_arrays": (*HEAVY, "numba", "scipy", "pyarrow", "rich"),
    "fasttok.tokenizer": HEAVY,
    "fasttok.episodes": HEAVY,
    "fasttok.episodes.rlds": HEAVY,
    "fasttok.fitting.fit": HEAVY,
    "fasttok.cli": SLOW,
    "fasttok.cli.commands": (*HEAVY, "numpy", "scipy", "numba", "pyarrow", "fsspec", "tokenizers"),
    "fasttok.common.html": HEAVY,
    "mixtures": HEAVY,
    "mixtures.spec": HEAVY,
    "mixtures.quota": HEAVY,
    "mixtures.__main__": SLOW,
    "mixtures.commands": HEAVY,
    "pipelines": HEAVY,
    "pipelines.shards.records": HEAVY,
    "pipelines.shards": HEAVY,
    "pipelines.__main__": SLOW,
    "pipelines.commands": HEAVY,
    "pipelines.look.inspect_page": HEAVY,
    "pipelines.look.lint": HEAVY,
    "pipelines.stored_episode": HEAVY,
    "pipelines.stored_questions": HEAVY,
    "pipelines.check.command": HEAVY,
    "pipelines.look.stats_page": HEAVY,
    "train.__main__": SLOW,
    "train.scripts": SLOW,
    "train.serving.command": HEAVY,
    "train.serving.server": HEAVY,
    "train.study.__main__": SLOW,
    "train.config": ("tensorflow", "tensorflow_datasets", "apache_beam", "rlds"),
    "train.batches": ("tensorflow", "tensorflow_datasets", "apache_beam", "rlds"),
    "train.loop": ("tensorflow", "tensorflow_datasets", "apache_beam", "rlds"),
    "train.replay.command": ("tensorflow", "tensorflow_datasets", "apache_beam", "rlds"),
    "train.evaluate": ("tensorflow", "tensorflow_datasets", "apache_beam", "rlds"),
}


def loaded(module: str, banned: tuple[str, ...]) -> set[str]:
    """Which of `banned` a fresh interpreter holds after importing `module`."""
    code = f"import {module}, sys; print(*[name for name in {banned!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("module", WITHOUT)
def test_import_stays_light(module: str) -> None:
    assert loaded(module, WITHOUT[module]) == set()


def test_the_check_can_fail() -> None:
    assert loaded("jax", HEAVY) == {"jax"}


def test_packages_import_only_what_they_may() -> None:
    """`fasttok` knows nobody, `mixtures` only fasttok (it reads an INDEX and counts its FAST ids); nobody imports `train`."""
    import ast
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    allowed = {
        "fasttok": {"fasttok"},
        "mixtures": {"mixtures", "fasttok"},
        "pipelines": {"pipelines", "fasttok", "mixtures"},
        "train": {
            "train",
            "fasttok",
            "mixtures",
            "pipelines.shards",
            "pipelines.shards.records",
            "pipelines.stored_episode",
            "pipelines.stored_questions",
        },
    }
    ours = (*tuple(allowed), "examples", "benchmarks")
    wrong = []
    for package, may in allowed.items():
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                for name in names:
                    if name.split(".")[0] in ours and not any(name == m or name.startswith(m + ".") for m in may):
                        wrong.append(f"{path.relative_to(root)}:{node.lineno} imports {name}")
    assert wrong == []


def test_no_test_module_imports_another() -> None:
    """What several of them need lies in a helper module, whose name does not begin with `test_`."""
    import re
    from pathlib import Path

    between = re.compile(
        r"^\s*(?:from|import)\s+(?:[\w.]+\.)?test_\w+|^\s*from\s+tests[\w.]*\s+import\s.*\btest_", re.MULTILINE
    )
    tests = Path(__file__).parent
    assert [path.name for path in sorted(tests.rglob("*.py")) if between.search(path.read_text(encoding="utf-8"))] == []
