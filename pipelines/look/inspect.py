"""`fasttok-pipelines inspect SHARDS`: shows rows of shards as text, as JSON, or as a page with pictures and curves."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.console import emit_json, log
from fasttok.common.flags import OPTIONAL
from fasttok.common.kinds import RecordKind
from fasttok.common.maybe import Maybe
from fasttok.common.next_command import beside, command
from fasttok.common.typed import typed_command
from fasttok.errors import InputError
from pipelines.look.choose_rows import RowChoice, choose_rows
from pipelines.look.page_files import PagePath, check_page, page_path, write_page
from pipelines.look.row_summary import one_line, summary
from pipelines.look.stored_row import stored_row
from pipelines.shards import ShardReader

ROWS_PRINTED, ROWS_ON_PAGE = 8, 16


@dataclass(frozen=True)
class InspectConfig:
    """Shows rows of shards: cameras, prompt, target, state, actions, FAST ids, and the file and step that a row came from.

    By default it picks rows at random, evenly over sources. With --start or --sample-id, you choose the rows.

    Example: fasttok-pipelines inspect SHARDS --html
    """

    shards: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]
    """Folder of shards that `fasttok-pipelines build` wrote."""
    rows: Maybe[int] = None
    """Number of rows to show. By default 8, or 16 with --html."""
    seed: int = 0
    """Seed of the random choice of rows; another seed shows other rows."""
    start: Maybe[int] = None
    """Show the rows from this number on, in storage order, instead of random ones. The first row is 0."""
    sample_id: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Show the rows with these ids, instead of random ones."""
    source: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Show only rows of these sources of the mixture."""
    kind: Maybe[RecordKind] = None
    """Show only rows of this kind."""
    html: PagePath = None
    """Write a page, as one file that loads nothing else, instead of printing.
    Without FILE it is NAME-OF-SHARDS.inspect.html in the current folder."""
    max_mb: float = 32.0
    """Largest size of all pictures on the page together, in MB. The page says how many were left out."""
    overwrite: bool = False
    """Replace the --html page if it exists."""
    json: bool = False
    """Print the rows as JSON on stdout."""


def run_inspect(config: InspectConfig) -> None:
    """Prints the rows, or writes the page and prints its path.

    Raises:
        InputError: there are no shards, a source or id is unknown, no rows fit, or a number is out of range.
    """
    if not config.max_mb >= 0:
        raise InputError(f"--max-mb is {config.max_mb:g}, expected at least 0")
    reader = ShardReader(config.shards)
    page = page_path(config.html, config.shards, "inspect")
    check_page(page, config.shards, overwrite=config.overwrite)
    numbers = choose_rows(reader, choice(config))
    rows = [stored_row(reader, number) for number in numbers]
    of = f"{len(rows)} of {reader.num_rows:,} rows"
    if page is not None:
        from pipelines.look.inspect_page import inspect_page  # loads kernels, which printing rows does not need

        write_page(page, inspect_page(reader, rows, described(config, len(rows)), config.max_mb, typed_command()))
        if not config.json:
            print(page)
    if config.json:
        emit_json([{"row": row.number, **summary(row, reader.manifest.sources[row.source])} for row in rows])
        return
    if page is not None:
        kinds = {source.kind for source in reader.manifest.sources.values()}
        preset = "pi0_fast" if kinds == {"robot"} else "ki" if "robot" in kinds else "vlm"
        run = beside(config.shards, "run", local=True)
        log(
            f"{of} on the page; next: {command('fasttok-train', '--preset', preset, '--shards', config.shards, '--out', run)}"
        )
        return
    for row in rows:
        item = summary(row, reader.manifest.sources[row.source])
        print(f"row {row.number:,}  {item.pop('kind')}  {one_line(item.pop('source'))}")
        for name, value in item.items():
            if value:
                print(f"  {name:<14} {one_line(value)}")
    log(f"{of}; with pictures and curves: {command('fasttok-pipelines', 'inspect', config.shards, '--html')}")


def choice(config: InspectConfig) -> RowChoice:
    """Returns which rows the command line asks for."""
    count = config.rows if config.rows is not None else ROWS_PRINTED if config.html is None else ROWS_ON_PAGE
    return RowChoice(count, config.seed, config.start, config.sample_id, config.source, config.kind)


def described(config: InspectConfig, rows: int) -> str:
    """Says how the rows were chosen.

    >>> described(InspectConfig("SHARDS", start=1000, kind="vqa"), 8)
    '8 rows of kind vqa in storage order, from row 1,000 on.'
    """
    only = f" of {', '.join(config.source)}" if config.source else ""
    only += f" of kind {config.kind}" if config.kind else ""
    if config.sample_id:
        return f"The {rows} rows that were asked for by sample_id."
    if config.start is not None:
        return f"{rows} rows{only} in storage order, from row {config.start:,} on."
    return f"{rows} rows{only} drawn with seed {config.seed}, evenly over sources; another --seed shows others."
