"""`fasttok-mixtures list | show NAME | explain FILE`: what is mixed, and what a build would draw from it.

Each verb imports what it needs when it runs, so that --help answers at once.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fasttok.common import completion
from fasttok.common.console import emit_json, log, table, write_text
from fasttok.common.maybe import Maybe
from fasttok.common.next_command import beside, command
from fasttok.common.output_file import check_output_file
from fasttok.common.typed import typed_command
from fasttok.errors import unknown_name

if TYPE_CHECKING:
    from mixtures.spec import Mixture

CATALOGUED = ("episodes", "frames", "hz", "action_dim", "gib")
HELP = """Shows mixtures: which datasets are mixed, and how much of each.

usage: fasttok-mixtures VERB ...

  list               lists the packaged mixtures
  show NAME          prints a mixture's YAML
  explain NAME|FILE  prints share, samples and epochs of each source

example: fasttok-mixtures explain demo --samples 16000 --index index
help of a verb: fasttok-mixtures explain --help
"""


@dataclass(frozen=True)
class ListMixtures:
    """Lists the packaged mixtures.

    Example: fasttok-mixtures list
    """

    json: bool = False
    """Print JSON on stdout."""


@dataclass(frozen=True)
class ShowMixture:
    """Prints a mixture's YAML, or with --json its sources and weights after included mixtures are filled in.

    Example: fasttok-mixtures show demo
    """

    mixture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MIXTURE")]
    """Preset (`fasttok-mixtures list` shows them) or YAML file."""
    json: bool = False
    """Print the mixture as JSON on stdout."""


@dataclass(frozen=True)
class ExplainMixture:
    """Prints what a build would draw from each source: its share, exact number of samples, and epochs. Builds nothing.

    Example: fasttok-mixtures explain demo --samples 16000 --index index
    """

    mixture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MIXTURE")]
    """Preset (`fasttok-mixtures list` shows them), YAML file, or `all` for every dataset of the INDEX."""
    index: Maybe[str] = None
    """INDEX folder that `fasttok-pipelines index` wrote. It replaces the one that the mixture names.
    Without an INDEX, sizes are estimates from published numbers, and filters are not counted."""
    tokenizer: Maybe[str] = None
    """Tokenizer folder to estimate FAST ids per chunk with, or `fit` to fit one on a sample of the INDEX for this.
    It replaces the one that the mixture names. Without an INDEX it has no effect."""
    samples: int = 100_000
    """Number of samples in the build that is explained."""
    html: Maybe[Path] = None
    """Also write a page to this file, with the shares as bars."""
    overwrite: bool = False
    """Replace the --html page if it exists."""
    json: bool = False
    """Print JSON on stdout."""


def list_mixtures(config: ListMixtures) -> None:
    """Prints names, sizes and descriptions of the packaged mixtures."""
    from mixtures.registry import load_mixture, preset_names

    mixtures = [load_mixture(name) for name in preset_names()]
    if config.json:
        return emit_json([mixture.to_json() for mixture in mixtures])
    table("", ("mixture", "sources", "description"), [(m.name, len(m.sources), m.description) for m in mixtures])
    return log(f"next: fasttok-mixtures explain {mixtures[0].name}")


def show(config: ShowMixture) -> None:
    """Prints a mixture's YAML, or as JSON the mixture after included mixtures are filled in."""
    from mixtures.registry import find_mixture, load_mixture

    mixture = load_mixture(config.mixture)
    if config.json:
        return emit_json(mixture.to_json())
    sys.stdout.write(find_mixture(config.mixture).read_text(encoding="utf-8"))
    return None


def explain(config: ExplainMixture) -> None:
    """Prints the share, samples and epochs of each source of a mixture, and writes a page if asked to.

    Raises:
        InputError: a mistake in the mixture, or an INDEX that lacks one of its sources.
    """
    from mixtures.explain_page import COLUMNS, explain_page, row, told
    from mixtures.registry import load_mixture
    from mixtures.shares import phases
    from mixtures.spec import with_overrides
    from mixtures.summary import SourceSizes, from_catalogue, from_index, summarise, unknown_sizes
    from mixtures.token_estimates import with_fast_tokens

    if config.html:
        check_output_file(config.html, [config.mixture], overwrite=config.overwrite, flag="--html")
    mixture = with_overrides(load_mixture(config.mixture, config.index), config.index, config.tokenizer)
    if mixture.index:
        known: dict[str, SourceSizes] = with_fast_tokens(mixture, from_index(mixture, mixture.index), mixture.index)
        by = "one fitted on a sample of its chunks" if mixture.tokenizer == "fit" else mixture.tokenizer
        note = f"Sizes are those of {mixture.index}; FAST ids per chunk are estimated with {by}; answers count 4 bytes per token."
    else:
        known = from_catalogue(mixture)
        note = (
            "No INDEX: sizes are catalogue estimates (published frames), and filters are not counted; --index INDEX gives the "
            "real numbers."
        )
    missing = unknown_sizes(mixture, known)
    if missing:
        return explain_without_sizes(mixture, missing, config)
    lines, _ = summarise(mixture, config.samples, known)
    if config.html:
        write_text(config.html, explain_page(mixture, config.samples, lines, note, typed_command()))
        log(f"wrote {config.html}")
    if config.json:
        plain = [line.to_json() for line in lines]
        return emit_json(
            {"mixture": mixture.name, "samples": config.samples, "estimates": not mixture.index, "lines": plain}
        )
    rows = [row(line, lines[0]) for line in lines]
    shown = told(rows)
    table(
        f"{mixture.name}: {mixture.description or 'mixture'}",
        [COLUMNS[i] for i in shown],
        [[cells[i] for i in shown] for cells in rows],
    )
    if mixture.schedule:
        columns = ["source", *[f"from {start:,}" for _, start, _ in phases(mixture, config.samples)]]
        table("\nsamples by phase of the schedule", columns, [[x.name, *x.phases] for x in lines if not x.group])
    log(note)
    if mixture.index and config.samples:
        shards, samples = beside(mixture.index, "shards"), str(config.samples)
        words = ("build", config.mixture, "--index", mixture.index, "--out", shards, "--samples", samples)
        log(f"next: {command('fasttok-pipelines', *words)}")
    return None


def explain_without_sizes(mixture: "Mixture", missing: list[str], config: ExplainMixture) -> None:
    """Prints weights and published sizes of a mixture's sources, if its shares depend on sizes that are not published.

    Args:
        mixture: the mixture.
        missing: sources whose sizes are not known.
        config: the command line.
    """
    from mixtures.catalogue import catalogue

    rows = []
    for source in mixture.sources:
        published = catalogue().get(source.dataset)
        rows.append([source.name, source.weight, *(getattr(published, key, None) for key in CATALOGUED)])
    if config.json:
        columns = ("name", "weight", *CATALOGUED)
        sources = [dict(zip(columns, row, strict=True)) for row in rows]
        return emit_json({"mixture": mixture.name, "estimates": True, "sources": sources, "unknown_sizes": missing})
    table(
        f"{mixture.name}: {mixture.description}",
        ["source", "weight", "episodes", "frames", "Hz", "action dim", "GiB"],
        rows,
    )
    return log(
        f"No INDEX, and the catalogue has no frames of {len(missing)} of {len(rows)} sources, from which shares follow "
        f"(policy {mixture.root.policy}): no shares. Index the datasets and pass --index INDEX"
    )


VERBS = {"list": (ListMixtures, list_mixtures), "show": (ShowMixture, show), "explain": (ExplainMixture, explain)}


def main(argv: list[str]) -> None:
    """Runs one verb.

    Raises:
        InputError: there is no such verb, mixture or INDEX.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if completion.is_asked(argv):
        from mixtures.registry import preset_names

        names = tuple(preset_names())
        verbs = {
            verb: completion.CompletedVerb(kind, names if verb != "list" else ()) for verb, (kind, _) in VERBS.items()
        }
        completion.print_completion("fasttok-mixtures", verbs, argv)
        return
    if argv[0] not in VERBS:
        raise unknown_name("verb", argv[0], VERBS, "See: fasttok-mixtures --help")
    kind, carry_out = VERBS[argv[0]]
    carry_out(tyro.cli(kind, prog=f"fasttok-mixtures {argv[0]}", args=argv[1:]))  # type: ignore[operator]
