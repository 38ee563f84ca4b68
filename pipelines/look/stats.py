"""`fasttok-pipelines stats SHARDS`: counts rows, lengths and pictures, and compares values with the normaliser's range."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.console import emit_json, log
from fasttok.common.next_command import command
from fasttok.common.typed import typed_command
from pipelines.look.page_files import PagePath, check_page, page_path, write_page
from pipelines.look.row_counts import count_rows
from pipelines.look.source_stats import source_stats
from pipelines.look.stats_page import stats_page
from pipelines.look.stats_tables import print_tables
from pipelines.shards import ShardReader


@dataclass(frozen=True)
class StatsConfig:
    """Counts what is in shards: rows per source against the plan, FAST ids and words per row, actions, states and pictures.

    Example: fasttok-pipelines stats SHARDS --html
    """

    shards: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]
    """Folder of shards that `fasttok-pipelines build` wrote."""
    html: PagePath = None
    """Also write a page with all histograms, as one file that loads nothing else.
    Without FILE it is NAME-OF-SHARDS.stats.html in the current folder."""
    overwrite: bool = False
    """Replace the --html page if it exists."""
    json: bool = False
    """Print JSON on stdout."""


def run_stats(config: StatsConfig) -> None:
    """Reads every row once, column by column, and prints tables.

    Raises:
        InputError: there are no shards.
    """
    reader = ShardReader(config.shards)
    page = page_path(config.html, config.shards, "stats")
    check_page(page, config.shards, overwrite=config.overwrite)
    counts = count_rows(reader)
    stats = [source_stats(name, of) for name, of in counts.items()]
    if page is not None:
        write_page(page, stats_page(reader, counts, typed_command()))
    if config.json:
        emit_json({"rows": reader.num_rows, "shards": len(reader.manifest.shards), "sources": stats})
        return
    print_tables(config.shards, stats)
    if page is not None:
        print(page)
    else:
        log(f"histograms of every dimension: {command('fasttok-pipelines', 'stats', config.shards, '--html')}")
