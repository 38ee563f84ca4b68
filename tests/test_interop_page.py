"""`make interop` tests what it can: one environment that cannot be built does not keep the others from their tests."""

from pathlib import Path

import pytest

from tests.interop import __main__ as interop
from tests.interop.environments import PackageSet


def test_an_environment_that_cannot_be_built_is_named_and_the_others_are_tested(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good, bad = PackageSet("good", ("numpy==1",), ()), PackageSet("bad", ("torch==0",), ())
    page, tested = tmp_path / "results" / "interop.md", []

    def build(one: PackageSet) -> None:
        if one is bad:
            raise RuntimeError("no matching distribution\nmore lines")
        (one.folder / "bin").mkdir(parents=True)
        (one.folder / "versions.json").write_text('{"numpy": "1"}')

    def run_tests(words: list[str], plugins: list[interop.Outcomes]) -> int:
        tested.append(words)
        plugins[0].rows.append(("good", "a policy loads", "passed"))
        return 0

    page.parent.mkdir()
    monkeypatch.setenv("FASTTOK_INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(interop, "PACKAGE_SETS", {"bad": bad, "good": good})
    monkeypatch.setattr(interop, "build", build)
    monkeypatch.setattr(interop, "RESULTS", page)
    monkeypatch.setattr(interop, "ROOT", tmp_path)
    monkeypatch.setattr(pytest, "main", run_tests)
    assert interop.main() == 1
    read = page.read_text()
    assert "| bad | 3.12 | not built: no matching distribution |" in read
    assert "| good | 3.12 | numpy 1 |" in read
    assert "| good | a policy loads | passed |" in read
    assert len(tested) == 1
