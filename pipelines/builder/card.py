"""Writes SHARDS/README.md, a dataset card: what the shards contain, under which licences, and how to load them."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from fasttok import ActionTokenizer
from fasttok.common.percent import percent
from fasttok.fitting.fit import exceptions
from mixtures.spec import Mixture
from pipelines.common.files import atomic_write, join
from pipelines.shards.manifest import Manifest
from pipelines.shards.tokenizer import load_tokenizer

NOT_STATED = "not stated"
# Licences that dataset cards have an identifier for (huggingface.co/docs/hub/repositories-licenses); others become "other".
LICENCES = {
    *(
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
    ),
    *(
        "cc-by-sa-4.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nd-4.0",
    ),
    *("odc-by", "odbl", "gpl-3.0", "openrail", "unlicense"),
}
TASKS = {"robot": "robotics", "vqa": "visual-question-answering", "caption": "image-to-text"}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip

LOAD = """## Load

```python
from pipelines.shards import ShardReader

for batch in ShardReader("path/to/this/folder").batches(256):
    batch.columns["prompt"], batch.columns["action"], batch.columns["action_tokens"]
```

`pipelines/shards/records.py` describes the columns. Actions and states are in raw units. Images are as the source encoded them,
unless the mixture resizes them.

```
fasttok-pipelines lint path/to/this/folder             # files and rows against manifest.json
fasttok-pipelines inspect path/to/this/folder --html   # see rows
fasttok-pipelines stats path/to/this/folder --html     # lengths, histograms, pictures
```
"""


def write_card(folder: str, manifest: Manifest, mixture: Mixture, reasons: Mapping[str, int]) -> None:
    """Writes README.md into SHARDS, which must have its tokenizer already. `reasons`: reason -> number of rejected rows."""
    tok = None if manifest.tokenizer is None else load_tokenizer(join(folder, manifest.tokenizer.folder))
    with atomic_write(join(folder, "README.md")) as stream:
        stream.write(card(manifest, mixture, reasons, tok).encode())


def card(
    manifest: Manifest, mixture: Mixture, reasons: Mapping[str, int] | None = None, tok: ActionTokenizer | None = None
) -> str:
    """Returns the card as Markdown: counts, sources, licences, tokenizer, mixture, how to load. It has no dates and no paths.

    Args:
        manifest: manifest of the shards.
        mixture: mixture that the shards were built from.
        reasons: reason -> number of rejected rows.
        tok: tokenizer in the folder of the shards; None without robot rows.
    """
    counts = manifest.counts
    size = sum(shard.bytes for shard in manifest.shards)
    parts = [
        front_matter(manifest, mixture.name),
        f"# Shards: {plain(mixture.name)}",
        plain(mixture.description),
        f"{counts.written:,} rows in {len(manifest.shards)} shards ({size / 1e6:,.1f} MB): planned {counts.planned:,} ="
        f" written {counts.written:,} + rejected {counts.rejected:,}.",
        "## Sources",
        sources(manifest),
        rejected(reasons or {}),
        "## Licences",
        licences(manifest),
        tokenizer(manifest, tok),
        settings(manifest),
        LOAD,
    ]
    return "\n\n".join(part for part in parts if part)


def front_matter(manifest: Manifest, name: str) -> str:
    """Returns the front matter of the card, which huggingface.co reads."""
    kinds = [source.kind for source in manifest.sources.values()]
    found = sorted({identifier(source.license) for source in manifest.sources.values()})
    value = {
        "pretty_name": " ".join(name.split()),
        "license": found[0] if len(found) == 1 else found,
        "task_categories": [task for kind, task in TASKS.items() if kind in kinds],
        "size_categories": [next((label for limit, label in SIZES if manifest.num_rows < limit), "n>1T")],
        "tags": ["fasttok", *(["fast-action-tokens", "vision-language-action"] if "robot" in kinds else [])],
    }
    return f"---\n{yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)}---"


def identifier(licence: str) -> str:
    """Returns the identifier that dataset cards use for a licence.

    >>> identifier("CC-BY-4.0"), identifier("CC BY 4.0"), identifier("ask us"), identifier("")
    ('cc-by-4.0', 'cc-by-4.0', 'other', 'unknown')
    """
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return name if name in LICENCES else "other" if name else "unknown"


def sources(manifest: Manifest) -> str:
    """Returns a table with one line per source."""
    written = max(manifest.counts.written, 1)
    rows = []
    for name, s in manifest.sources.items():
        steps = s.steps_held
        rows.append([
            name, f"{s.dataset}, {s.split}", s.kind, f"{s.planned:,}", f"{s.written:,}", f"{s.rejected:,}",
            percent(s.share, 2), percent(s.written / written, 2),
            f"{s.planned / steps:.3g}" if steps else "-", s.embodiment or "-", f"{s.control_hz or '-'}",
            f"{s.horizon} x {s.action_dim}" if s.kind == "robot" else "-", ", ".join(s.cameras),
        ])  # fmt: skip
    columns = ["source", "dataset, split", "kind", "planned", "written", "rejected", "share asked", "share written", "epochs",
               "embodiment", "Hz", "chunk", "cameras"]  # fmt: skip
    return markdown_table(columns, rows)


def rejected(reasons: Mapping[str, int]) -> str:
    """Returns a table of the reasons for rejected rows; "" if there are none."""
    if not reasons:
        return ""
    said = markdown_table(["reason", "rows"], [[name, f"{rows:,}"] for name, rows in sorted(reasons.items())])
    return f"Rejected rows by reason; each is in `rejected/` with its file and offset:\n\n{said}"


def licences(manifest: Manifest) -> str:
    """Returns a list of the licences with their sources. Sources without a licence come last, with a warning."""
    groups: dict[str, list[str]] = {}
    for name, s in manifest.sources.items():
        facts = [f"cite `{plain(s.citation)}`" if s.citation else "", plain(s.homepage)]
        known = "; ".join(fact for fact in facts if fact)
        groups.setdefault(s.license or NOT_STATED, []).append(plain(name) + (f" ({known})" if known else ""))
    lines = []
    for licence in sorted(groups, key=lambda name: (name == NOT_STATED, name)):
        share = sum(s.written for s in manifest.sources.values() if (s.license or NOT_STATED) == licence)
        warning = " - find out before you pass these rows on" if licence == NOT_STATED else ""
        lines.append(f"- **{plain(licence)}**{warning}: {', '.join(groups[licence])}; {share:,} rows")
    return "\n".join(lines)


def tokenizer(manifest: Manifest, tok: ActionTokenizer | None) -> str:
    """Returns the section about the tokenizer that made the FAST ids; "" if there is none."""
    if manifest.tokenizer is None:
        return ""
    lines = [
        "## Tokenizer",
        "",
        f"`{manifest.tokenizer.folder}/`, fingerprint `{manifest.tokenizer.fingerprint}`.",
    ]
    if tok is not None:
        modes = ", ".join(sorted({stats.mode for stats in tok.stats.values()})) or "none"
        lines[-1] += (
            f" {tok.vocab_size} ids, scale {tok.scale:g}, {tok.mode} fit, coefficients {tok.min_token}..{tok.max_token};"
            f" normalised by {modes}; the statistics are in the same folder."
        )
        if others := exceptions(tok):
            lines[-1] += (
                f" Some dims are normalised otherwise, because that would not describe them: {'; '.join(others)}."
            )
    rows = []
    for name, s in manifest.sources.items():
        mean, values = s.mean_action_tokens, s.horizon * s.action_dim
        if mean:
            rows.append(
                [
                    name,
                    s.embodiment,
                    f"{mean:.1f}",
                    f"{values}",
                    f"{values / mean:.1f}",
                    f"{s.clamped_chunks:,}",
                ]
            )
    columns = ["source", "embodiment", "FAST ids per row", "naive tokens", "ratio", "chunks with clamped coefficients"]
    return "\n".join(lines) + (f"\n\n{markdown_table(columns, rows)}" if rows else "")


def settings(manifest: Manifest) -> str:
    """Returns the section about the settings that decided the rows."""
    chunk = manifest.mixture.get("chunk") or {}
    said = ", ".join(f"{value:g} {unit}" for unit, value in chunk.items() if isinstance(value, int | float))
    resizes = [
        f"- images of {plain(name)} were resized: {', '.join(f'{key} {value}' for key, value in asdict(s.resize).items())}"
        for name, s in manifest.sources.items()
        if s.resize
    ]
    return "\n".join([
        "## Made from",
        "",
        f"- mixture: resolved in `manifest.json`{f'; chunks: {said}' if said else ''}",
        f"- seed {manifest.seed}, plan `{manifest.plan_digest[:16]}`, INDEX `{manifest.index_digest}`",
        *resizes,
    ])  # fmt: skip


def markdown_table(columns: list[str], rows: list[list[Any]]) -> str:
    """Returns a Markdown table. Bars, line breaks and tags in its cells are escaped or removed."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in rows])


def plain(value: Any) -> str:
    r"""Returns a value as text that cannot end a cell, a line or a span of code, nor begin a tag.

    >>> plain("a|b\n<script>")
    'a\\|b &lt;script>'
    """
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
