"""Says how `build` recognises a folder of SHARDS that it wrote (`fasttok.common.output_folder`)."""

from fasttok.common.output_folder import Mark, OutputKind
from fasttok.storage.folder import SUBFOLDER
from pipelines.builder.plan import FORMAT_VERSION as PLAN_VERSION
from pipelines.common.live_counts import WORK
from pipelines.shards.manifest import FORMAT_VERSION, NAME

SHARDS = OutputKind(
    "build of shards",
    marks=(
        Mark(NAME, ("format_version", "sources", "shards", "plan_digest"), FORMAT_VERSION),
        Mark("plan/plan.json", ("format_version", "digest", "index_digest", "sources"), PLAN_VERSION),
    ),
    files=(
        NAME,
        "README.md",
        "shard-*-of-*.arrow",
        "state/shard-*.json",
        "rejected/shard-*.jsonl",
        "plan/plan.json",
        "plan/sources.json",
        "plan/*.parquet",
        "tokenizer/*",  # the files of the folder that --tokenizer named
        f"tokenizer/{SUBFOLDER}/*",
    ),
    begun=WORK,
    resume="flag",
)
