"""Finds the studies that come with fasttok by name, so that `fasttok-study run presets` needs no checkout. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path

from fasttok.common.given_paths import did_you_mean
from fasttok.errors import InputError, unknown_name
from train.study.study_file import load_study

FOLDER = Path(__file__).parents[1] / "configs"
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class PackagedStudy:
    """A study that comes with fasttok.

    Attributes:
        name: name for `fasttok-study run`.
        arms: number of recipes that it compares.
        runs: number of training runs: arms times seeds.
        question: the question that it answers.
    """

    name: str
    arms: int
    runs: int
    question: str


def names() -> list[str]:
    """Returns the names of the studies that come with fasttok.

    >>> "presets" in names()
    True
    """
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def packaged_studies() -> list[PackagedStudy]:
    """Reads all studies that come with fasttok, in the order of their names."""
    found = []
    for name in names():
        study = load_study(FOLDER / f"{name}.yaml")
        found.append(PackagedStudy(name, len(study.arms), len(study.arms) * len(study.seeds), study.question))
    return found


def find_study(said: Path) -> Path:
    """Returns the file of a study.

    >>> find_study(Path("presets")).name
    'presets.yaml'

    Args:
        said: a YAML file, or the name of a study that comes with fasttok.

    Raises:
        InputError: `said` is neither.
    """
    if said.is_file():
        return said
    known = names()
    if said.suffix not in ENDINGS:
        if str(said) in known:
            return FOLDER / f"{said}.yaml"
        raise unknown_name("study", str(said), known, "Or the path of a YAML file of your own")
    if said.stem in known:
        raise InputError(
            f"{said} is not there; the study that comes with fasttok is found by its name: fasttok-study run {said.stem}"
        )
    raise InputError(
        f"{said} is not there{did_you_mean(said)}; give a YAML file, or a study that comes with fasttok: fasttok-study list"
    )
