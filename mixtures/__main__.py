"""`python -m mixtures list | show NAME | explain FILE`: what is mixed, and what that comes to."""

import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from fasttok.console import emit_json, log, run, table
from fasttok.errors import unknown_name
from mixtures.registry import load_mixture, preset_names, preset_path
from mixtures.summary import COLUMNS, read_index, summarise

HELP = """Mixtures: what is mixed and how much.

usage: python -m mixtures VERB ...

  list               the packaged mixtures
  show NAME          a mixture's YAML and its resolved shares
  explain NAME|FILE  share, samples and epochs of each source, before anything runs

example: python -m mixtures explain demo --samples 16000 --index index
help of a verb: python -m mixtures explain --help
"""


@dataclass(frozen=True)
class ListConfig:
    """Lists the packaged mixtures.

    Example: python -m mixtures list
    """

    json: bool = False
    """Print JSON on stdout."""


@dataclass(frozen=True)
class ShowConfig:
    """Prints a mixture's YAML, or with --json its resolved shares.

    Example: python -m mixtures show demo
    """

    mixture: Annotated[str, tyro.conf.Positional]
    """A preset (see `list`) or a YAML file."""
    json: bool = False
    """Print the resolved mixture as JSON on stdout."""


@dataclass(frozen=True)
class ExplainConfig:
    """Prints share, samples and effective epochs of each source, before anything runs.

    Example: python -m mixtures explain demo --samples 16000 --index index
    """

    mixture: Annotated[str, tyro.conf.Positional]
    """A preset (see `list`) or a YAML file."""
    index: str | None = None
    """INDEX of `python -m pipelines index`; without it epochs and tokens are not known."""
    samples: int = 100_000
    """Samples of the build that is asked about."""
    json: bool = False
    """Print JSON on stdout."""


def list_mixtures(config: ListConfig) -> None:
    mixtures = [load_mixture(name) for name in preset_names()]
    if config.json:
        return emit_json([mixture.to_json() for mixture in mixtures])
    table("", ("mixture", "sources", "description"), [(m.name, len(m.sources), m.description) for m in mixtures])
    return log("next: python -m mixtures explain NAME")


def show(config: ShowConfig) -> None:
    mixture = load_mixture(config.mixture)
    if config.json:
        return emit_json(mixture.to_json())
    path = preset_path(config.mixture) if config.mixture in preset_names() else config.mixture
    with open(path, encoding="utf-8") as stream:
        sys.stdout.write(stream.read())
    return None


def explain(config: ExplainConfig) -> None:
    mixture = load_mixture(config.mixture)
    folder = config.index or mixture.index
    index = read_index(folder) if folder else None
    lines = summarise(mixture, config.samples, index)
    if config.json:
        return emit_json({"mixture": mixture.name, "samples": config.samples, "sources": [asdict(x) for x in lines]})
    rows = [line.row for line in lines]
    rows.append(("total", None, "100.00%", sum(x.samples for x in lines), "100.00%", None, None, None, None, ""))
    columns = list(range(len(COLUMNS))) if index else [0, 2, 3, 4]
    table(
        f"{mixture.name}: {mixture.description or 'mixture'}",
        [COLUMNS[i] for i in columns],
        [[row[i] for i in columns] for row in rows],
    )
    if index is None:
        log("no index: shares only; --index INDEX adds kinds, epochs and tokens, and checks max_epochs")
    log(
        f"next: python -m pipelines build {config.mixture} --index {folder or 'INDEX'} --out SHARDS --samples {config.samples}"
    )
    return None


VERBS = {"list": (ListConfig, list_mixtures), "show": (ShowConfig, show), "explain": (ExplainConfig, explain)}


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: no such verb, mixture or INDEX.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if argv[0] not in VERBS:
        raise unknown_name("verb", argv[0], VERBS, "See: python -m mixtures --help")
    kind, command = VERBS[argv[0]]
    command(tyro.cli(kind, prog=f"python -m mixtures {argv[0]}", args=argv[1:]))  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(run(lambda: main(sys.argv[1:])))
