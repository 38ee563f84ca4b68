"""Says how `index` recognises the folder of an INDEX that it wrote (`fasttok.common.output_folder`)."""

from fasttok.common.output_folder import Mark, OutputKind
from fasttok.episodes.index_file import FILE, FORMAT_VERSION
from pipelines.common.live_counts import JOBS, WORK
from pipelines.common.source_table import FILE as SOURCES
from pipelines.index.statistics_file import FILE as STATISTICS

TABLES = (".episodes.parquet", ".rejected.parquet", ".steps.parquet")
INDEX = OutputKind(
    "INDEX",
    marks=(
        Mark(FILE, ("format_version", "digest", "datasets"), FORMAT_VERSION),
        # recognises an unfinished INDEX of a version without `.begun.json`
        Mark(f"{WORK}/{JOBS}", ("dataset", "split", "file", "stem", "stamp")),
    ),
    files=(
        FILE,
        STATISTICS,
        *(f"*/*/*{suffix}" for suffix in TABLES),
        "*/*/*.summary.json",  # in an unfinished INDEX of 0.1.0
        SOURCES,
    ),
    begun=WORK,
    resume="always",
)
