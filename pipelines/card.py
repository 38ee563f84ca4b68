"""SHARDS/README.md: what these shards hold, for people."""

from mixtures.spec import Mixture
from pipelines.manifest import Manifest

LOAD = """```python
from pipelines.shards import ShardReader

for batch in ShardReader("path/to/this/folder").batches(256):
    batch.columns["prompt"], batch.columns["action"], batch.columns["action_tokens"]
```"""


def card(manifest: Manifest, mixture: Mixture) -> str:
    """Markdown: sources, counts, licences, settings, how to load. Names no time and no place."""
    lines = [f"# Shards: {mixture.name}", ""]
    if mixture.description:
        lines += [mixture.description, ""]
    counts = manifest.counts
    lines += [
        f"{counts['written']:,} rows in {len(manifest.shards)} shards"
        f" ({sum(shard.bytes for shard in manifest.shards) / 1e6:,.1f} MB):"
        f" planned {counts['planned']:,} = written {counts['written']:,} + rejected {counts['rejected']:,}.",
        "",
        "| source | kind | rows | share | epochs | embodiment | Hz | chunk | cameras | licence |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, s in manifest.sources.items():
        chunk = f"{s['horizon']} x {s['action_dim']}" if s["kind"] == "robot" else "-"
        cells = [
            *(name, s["kind"], f"{s['written']:,}", f"{s['written'] / max(counts['written'], 1):.2%}"),
            *(f"{s['planned'] / s['steps_held']:.3g}", s["embodiment"] or "-", f"{s['control_hz'] or '-'}", chunk),
            *(", ".join(s["cameras"]), s["license"] or "not stated"),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    tokenizer = f"`tokenizer/`, fingerprint `{manifest.tokenizer['fingerprint']}`" if manifest.tokenizer else "none"
    lines += [
        "",
        f"- seed {manifest.seed}, plan `{manifest.plan_digest[:16]}`, INDEX `{manifest.index_digest}`",
        f"- tokenizer: {tokenizer}",
        "- columns: see `pipelines/records.py`; actions and states are in raw units, images as the source encoded them",
        "",
        LOAD,
        "",
        "Check the files against `manifest.json`: `python -m pipelines lint path/to/this/folder`",
        "",
    ]
    return "\n".join(lines)
