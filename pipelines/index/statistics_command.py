"""Runs `fasttok-pipelines statistics INDEX`, which prints exact statistics of steps or of chunks, as a table or JSON."""

from collections.abc import Iterator

from fasttok.actions.chunks import MOST_STEPS
from fasttok.common import json_files
from fasttok.common.console import emit_json, log, table
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError, unknown_name
from pipelines.common.files import write_json
from pipelines.common.output_url import check_output_url
from pipelines.index.statistics import of_chunks, of_index
from pipelines.index.statistics_config import SPLIT, StatisticsConfig
from pipelines.index.statistics_file import QUANTILES, ChunkStatistics, EmbodimentStatistics


def run_statistics(config: StatisticsConfig) -> None:
    """Prints the statistics as a table, or as JSON, and writes them to --out if it is given.

    Raises:
        InputError: there is no INDEX, it has no robot data of the split, or an option does not fit.
    """
    if config.out:
        check_output_url(config.out, config.index, overwrite=config.overwrite)
    index = open_index(config.index)
    splits = {split for d in index.datasets.values() if d.entry.kind == "robot" for split in d.splits}
    if config.split not in splits and (config.split != SPLIT or not splits):
        raise unknown_name("split", config.split, splits, f"of the robot datasets in {config.index}")
    if config.horizon is not None and config.horizon < 1:
        raise InputError(f"--horizon is {config.horizon}, expected at least 1 step")
    if config.horizon is not None and config.horizon > MOST_STEPS:
        raise InputError(f"--horizon is {config.horizon}, expected at most {MOST_STEPS} steps")
    if config.seconds is not None and not config.seconds > 0:
        raise InputError(f"--seconds is {config.seconds:g}, expected a positive number")
    represented = (config.form, config.rotation) != ("stored", "stored")
    chunked = config.horizon is not None or config.seconds is not None or represented
    values = of_chunks(config, index) if chunked else of_index(config.index, index, config.split)
    if config.out:
        write_json(config.out, json_files.encode(values))
        log(f"wrote {config.out}")
    if config.json:
        emit_json(json_files.encode(values))
        return
    for embodiment, value in values.embodiments.items():
        title = f"{embodiment}: {value.count:,} steps of {', '.join(value.datasets)}"
        if isinstance(value, ChunkStatistics):
            title += f"; actions in chunks of {value.horizon}, {value.form}"
        table(title, ["", "dim", "mean", "std", "min", *QUANTILES, "max"], list(_lines(value)))


def _lines(value: EmbodimentStatistics) -> Iterator[list[str | float]]:
    for kind, dims in (("action", value.action), ("proprio", value.proprio)):
        columns = [getattr(dims, key) for key in ("mean", "std", "min", *QUANTILES, "max")]
        for dim, name in enumerate(dims.names if value.count else ()):
            yield [kind, name, *[column[dim] for column in columns]]
