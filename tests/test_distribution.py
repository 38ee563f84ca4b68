"""What is shipped: MANIFEST.in and package-data name every file that git tracks; the page of the package has links."""

import io
import re
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from fasttok import __version__
from fasttok.cli.info import PACKAGES
from fasttok.errors import InputError
from tests.distribution import PACKAGES as OURS
from tests.distribution import ROOT, check, tracked

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")


def named_by_manifest() -> tuple[set[str], set[str]]:
    """Files and folders that MANIFEST.in names."""
    files, folders = set(), set()
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        verb, *names = line.partition("#")[0].split() or [""]
        files |= set(names) if verb == "include" else set()
        folders |= set(names) if verb == "graft" else set()
    return files, folders


@needs_git
def test_the_source_distribution_has_every_tracked_file() -> None:
    files, folders = named_by_manifest()
    data = PYPROJECT["tool"]["setuptools"]["package-data"]
    patterns = [
        f"{package.replace('.', '/')}/{pattern}" for package, of in data.items() if package != "*" for pattern in of
    ]
    left_out = [
        name
        for name in tracked()
        if name not in {*files, "pyproject.toml"}
        and name.split("/")[0] not in folders
        and not (name.split("/")[0] in OURS and name.endswith((".py", "/py.typed")))
        and not any(fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns)
    ]
    assert left_out == [], "name them in MANIFEST.in, or under tool.setuptools.package-data"


def made(tmp_path: Path, archived: list[str], shipped: list[str]) -> tuple[Path, Path]:
    archive, wheel = tmp_path / "a.tar.gz", tmp_path / "a.whl"
    with tarfile.open(archive, "w:gz") as out:
        for name in archived:
            out.addfile(tarfile.TarInfo(f"fasttok_vla-1/{name}"), io.BytesIO())
    with zipfile.ZipFile(wheel, "w") as packed:
        for name in [*shipped, "fasttok_vla-1.dist-info/METADATA"]:
            packed.writestr(name, "")
    return archive, wheel


def test_a_distribution_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    files = ["Makefile", "docs/a.md", "fasttok/a.py", "train/configs/a.yaml"]
    check(*made(tmp_path, [*files, "PKG-INFO"], files[2:]), files)
    with pytest.raises(InputError, match=r"a.tar.gz lacks 1 files: Makefile"):
        check(*made(tmp_path, files[1:], files[2:]), files)
    with pytest.raises(InputError, match=r"a.whl lacks train/configs/a.yaml"):
        check(*made(tmp_path, files, files[2:3]), files)
    with pytest.raises(InputError, match=r"a.whl contains tests/a.py"):
        check(*made(tmp_path, files, [*files[2:], "tests/a.py"]), files)


def test_info_names_everything_that_can_be_installed() -> None:
    project = PYPROJECT["project"]
    extras = [
        line
        for name, lines in project["optional-dependencies"].items()
        if name not in ("dev", "docs")
        for line in lines
    ]
    wanted = {line.split("[")[0].split(">")[0].split(";")[0].strip() for line in [*project["dependencies"], *extras]}
    assert wanted - {"fasttok-vla"} <= set(PACKAGES)


def test_the_package_has_links_and_can_be_cited() -> None:
    assert PYPROJECT["project"]["urls"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    releases = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    version, date = releases[0]  # the newest
    assert (cited["version"], str(cited["date-released"])) == (version, date)
    assert __version__ == version or (__version__.endswith(".dev0") and Version(__version__) > Version(version))


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_forms_of_issues_are_whole(form: Path) -> None:
    """As GitHub asks: https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests."""
    read = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert set(read) == {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(read)
    ids = [part["id"] for part in read["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert all(part["attributes"].get("label") for part in read["body"] if part["type"] != "markdown")
