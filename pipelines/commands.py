"""Runs `fasttok-pipelines VERB`: verbs that check datasets, make shards from them with Beam, and show what was made."""

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import tyro

from fasttok.common import completion
from fasttok.errors import InputError, require_installed, unknown_name

HELP = """Makes training data: `index` reads datasets once, `build` writes shards.

usage: fasttok-pipelines VERB ...

  check DATASET                 finds mistakes in recordings of a robot
  index DATASET... --out INDEX  writes an INDEX: a row per episode or record
  statistics INDEX              prints exact mean, std, range and quantiles
  build MIXTURE --index INDEX --out SHARDS --samples N
                                writes the samples of a mixture as shards
  datasets list                 lists the datasets that fasttok has entries for
  datasets show NAME            prints an entry and its dataset's known defects
  datasets draft DIR            drafts an entry for your own dataset
  inspect SHARDS                shows rows: cameras, texts, actions, tokens
  stats SHARDS                  prints counts, lengths and histograms
  lint SHARDS                   finds damage, duplicates, leaks and bad values

example: fasttok-pipelines build demo --index INDEX --tokenizer fit \\
             --out SHARDS --samples 16000
help of a verb: fasttok-pipelines build --help

`index` and `build` also take flags of Apache Beam, written as --flag=value.
"""

VERBS = ("check", "index", "statistics", "datasets", "build", "inspect", "stats", "lint")
BEAM_VERBS = ("index", "build")


def parse(verb: str, kind: Any, argv: list[str], check: Callable[[Any], None] | None = None) -> tuple[Any, list[str]]:
    """Parses the words after a verb. Returns the verb's configuration, and the flags that are for Beam.

    Args:
        verb: verb of the command line, such as "build" or "datasets show".
        kind: class of the verb's configuration.
        argv: words after the verb.
        check: raises an error for a wrong configuration; called before Beam is imported for the names of its flags.

    Raises:
        InputError: a flag that neither the verb nor Beam has (Beam would ignore the typo), a word that is no flag, or an error
            of `check`.
    """
    prog = f"fasttok-pipelines {verb}"
    if verb not in BEAM_VERBS:
        return tyro.cli(kind, prog=prog, args=argv), []
    config, unknown = tyro.cli(kind, prog=prog, args=argv, return_unknown_args=True)
    ours = [field.name.replace("_", "-") for field in fields(kind)]
    for word in unknown:
        name = word.split("=")[0].lstrip("-").replace("_", "-")
        close = difflib.get_close_matches(name, ours, n=1, cutoff=0.8) if word.startswith("--") else []
        if close:
            raise InputError(f"unknown flag --{name}; did you mean --{close[0]}? See: {prog} --help")
        if not word.startswith("-"):
            raise InputError(f"unexpected argument {word!r}; Beam's flags are written --flag=value. See: {prog} --help")
    if check is not None:
        check(config)
    if unknown:
        from pipelines.common.beam_flags import check_flags

        check_flags(unknown, ours, f"{prog} --help")
    return config, unknown


def datasets(argv: list[str]) -> None:
    """Runs `datasets list`, `show` or `draft`.

    Raises:
        InputError: the action is unknown, or it raises this error.
    """
    from pipelines.catalogue import commands as cli

    actions: dict[str, tuple[Any, Any]] = {
        "list": (cli.DatasetListConfig, cli.run_list),
        "show": (cli.DatasetShowConfig, cli.run_show),
        "draft": (cli.DatasetDraftConfig, cli.run_draft),
    }
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: fasttok-pipelines datasets list | show NAME | draft DIR\n\n"
            "help of one: fasttok-pipelines datasets show --help"
        )
        return
    if argv[0] not in actions:
        raise unknown_name("action", argv[0], actions, "See: fasttok-pipelines datasets --help")
    config, action = actions[argv[0]]
    action(parse(f"datasets {argv[0]}", config, argv[1:])[0])


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: the verb is unknown, it needs an extra that is not installed, or it raises this error.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return None
    if completion.is_asked(argv):
        from pipelines.completed_verbs import completed_verbs

        return completion.print_completion("fasttok-pipelines", completed_verbs(), argv)
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        raise unknown_name("verb", verb, VERBS, "See: fasttok-pipelines --help")
    if verb not in BEAM_VERBS or {"-h", "--help"} & set(rest):
        return _run(verb, rest)
    with _without_warnings():
        require_installed(["apache_beam"], "pipelines", f"`fasttok-pipelines {verb}`")
        return _run(verb, rest)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hides the warnings that Beam logs about optional clients that nobody asked for."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _run(verb: str, rest: list[str]) -> None:
    """Runs a verb and imports only what it needs: only `index` and `build` need Beam, and --help answers at once."""
    if verb == "check":
        from pipelines.check.command import CheckConfig, run_check

        run_check(parse(verb, CheckConfig, rest)[0])
    elif verb == "index":
        from pipelines.index.config import IndexConfig
        from pipelines.index.given_datasets import check_there

        index, beam_args = parse(verb, IndexConfig, rest, check_there)
        from pipelines.index.run import run_index

        if index.array in (None, "finish"):
            run_index(index, beam_args)
        else:
            from pipelines.common.array_task import parse_task
            from pipelines.index.array import run_index_task

            run_index_task(index, parse_task(index.array, index.overwrite), beam_args)
    elif verb == "statistics":
        from pipelines.index.statistics_command import run_statistics
        from pipelines.index.statistics_config import StatisticsConfig

        run_statistics(parse(verb, StatisticsConfig, rest)[0])
    elif verb == "datasets":
        datasets(rest)
    elif verb == "build":
        from pipelines.builder.config import BuildConfig
        from pipelines.builder.given_inputs import check_there as check_inputs_there

        build, beam_args = parse(verb, BuildConfig, rest, check_inputs_there)
        from pipelines.builder.run import dry_run, run_build

        if build.dry_run:
            dry_run(build)
        elif build.array in (None, "finish"):
            run_build(build, beam_args)
        else:
            from pipelines.builder.array import run_build_task
            from pipelines.common.array_task import parse_task

            run_build_task(build, parse_task(build.array, build.overwrite), beam_args)
    elif verb == "inspect":
        from pipelines.look.inspect import InspectConfig, run_inspect

        run_inspect(parse(verb, InspectConfig, rest)[0])
    elif verb == "stats":
        from pipelines.look.stats import StatsConfig, run_stats

        run_stats(parse(verb, StatsConfig, rest)[0])
    else:
        from pipelines.look.lint import LintConfig, run_lint

        run_lint(parse(verb, LintConfig, rest)[0])
