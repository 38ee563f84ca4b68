"""`fasttok-pipelines lint SHARDS`: checks that shards are what their manifest says, and fit for training.

It reads every byte once for the digests, and every row once for its contents. Memory is one record batch, and 18 bytes per
row to find duplicates; 24 bytes more per row if the same shards contain a held-out split.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import tyro

from fasttok import ActionTokenizer
from fasttok.common.console import emit_json, log, progress
from fasttok.common.flags import OPTIONAL
from fasttok.errors import InputError
from mixtures.quota import interleave
from pipelines.common.findings import Findings
from pipelines.look.lint_copies import CopyChecks
from pipelines.look.lint_rows import RowChecks
from pipelines.look.lint_text import TextChecks, read_held_out
from pipelines.look.scan import shard_batches, shard_starts, source_codes, tokenizer_there
from pipelines.shards import ShardReader
from pipelines.shards.shard_files import file_problem

MANIFEST = "manifest.json"
REBUILD = "build again with --resume, which keeps the shards that are sound"


@dataclass(frozen=True)
class LintConfig:
    """Checks shards for damage, wrong counts, duplicates, leaks of held-out data, missing cameras, and bad ids, images or texts.

    Errors make the command fail; warnings do so only with --strict.

    Example: fasttok-pipelines lint SHARDS --held-out eval_instructions.txt
    """

    shards: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]
    """Folder of shards that `fasttok-pipelines build` wrote."""
    held_out: Annotated[tuple[str, ...], OPTIONAL] = ()
    """What must not be in the shards, such as the instructions of your evaluation: text files or regular expressions.
    A text file has an instruction, a source file or FILE/EPISODE on each line.
    Regular expressions are searched for in prompts and in FILE/EPISODE. Upper and lower case are the same."""
    outside: float = 0.1
    """Warn if a larger share of the values of an action or state dim is outside the normaliser's range.
    For a range of q01..q99, about 0.02 are outside."""
    strict: bool = False
    """Fail on warnings too. Use it in CI."""
    json: bool = False
    """Print the findings as JSON on stdout."""


def run_lint(config: LintConfig) -> None:
    """Checks everything that can be checked without the sources, and prints what it found.

    Raises:
        InputError: there are errors, or warnings under --strict; lists them.
    """
    reader = ShardReader(config.shards)
    findings = check(reader, config)
    errors, warnings = findings.of("error"), findings.of("warning")
    if config.json:
        emit_json({
            "shards": len(reader.manifest.shards), "rows": reader.num_rows,
            "errors": [asdict(e) for e in errors], "warnings": [asdict(w) for w in warnings],
        })  # fmt: skip
    fatal = [*errors, *(warnings if config.strict else [])]
    for warning in [] if config.strict else warnings:
        log(f"warning: {warning}")
    counts = f"{len(errors)} error(s), {len(warnings)} warning(s)"
    if fatal:
        raise InputError("\n".join([f"{config.shards}: {counts}", *map(str, fatal)]))
    if not config.json:
        print(
            f"{config.shards}: {len(reader.manifest.shards)} shards, {reader.num_rows:,} rows, all as the manifest says; {counts}"
        )


def check(reader: ShardReader, config: LintConfig) -> Findings:
    """Runs all checks.

    Raises:
        InputError: --held-out names a file that cannot be read, or is not a regular expression.
    """
    manifest, findings = reader.manifest, Findings()
    held_out = read_held_out(config.held_out)
    check_counts(reader, findings)
    rows = RowChecks(manifest, check_tokenizer(reader, findings), findings, config.outside)
    texts = TextChecks(manifest, held_out, findings)
    copies = CopyChecks(manifest, findings)
    starts = shard_starts(reader).tolist()
    with progress("checking", reader.num_rows, "rows") as advance:
        for number, shard in enumerate(manifest.shards):
            problem = file_problem(reader.path, shard)
            if problem:
                findings.add("error", "shard", shard.name, problem, "the file of the manifest", REBUILD)
                advance(shard.rows)
                continue
            at, order = 0, interleave(shard.rows_per_source)
            try:
                for batch in shard_batches(reader, number):
                    codes = source_codes(batch, reader.sources)
                    if not np.array_equal(codes, order[at : at + len(codes)]):
                        what = "rows in another order than rows_per_source says, so readers find those of other sources"
                        findings.add("error", "order", shard.name, what, "the order of `interleave`", REBUILD)
                        break
                    rows.add(shard.name, at, batch, codes)
                    texts.add(shard.name, at, batch, codes)
                    copies.add(starts[number] + at, batch, codes)
                    at += batch.num_rows
                    advance(batch.num_rows)
                else:
                    if at != shard.rows:
                        what = f"{at:,} rows"
                        findings.add("error", "order", shard.name, what, f"the manifest's {shard.rows:,}", REBUILD)
            except InputError as error:
                what = str(error).partition("; see: ")[0]
                findings.add(
                    "error", "schema", f"{shard.name} row {at}", what, "record batches of this version", REBUILD
                )
    rows.finish()
    copies.finish(starts)
    return findings


def check_tokenizer(reader: ShardReader, findings: Findings) -> ActionTokenizer | None:
    """Checks the shards' tokenizer, and returns it if it is the one that made the FAST ids."""
    tok, problem = tokenizer_there(reader)
    todo = "put back the folder that the build wrote, or build again with --overwrite"
    if problem:
        findings.add("error", "tokenizer", "tokenizer/", problem, "the tokenizer of the build", todo)
    made = reader.manifest.tokenizer.fingerprint if reader.manifest.tokenizer else None
    if tok is None or tok.fingerprint == made:
        return tok
    findings.add(
        "error",
        "tokenizer",
        "tokenizer/",
        f"fingerprint {tok.fingerprint}",
        f"{made}, whose FAST ids the shards hold",
        todo,
    )
    return None


def check_counts(reader: ShardReader, findings: Findings) -> None:
    """Checks that the counts of the manifest add up."""
    manifest = reader.manifest

    def add(what: str, expected: str, source: str = "") -> None:
        todo = "the manifest was changed, or is of other shards: build again with --resume"
        findings.add("error", "counts", MANIFEST, what, expected, todo, source=source)

    for i, (name, source) in enumerate(manifest.sources.items()):
        listed = sum(shard.rows_per_source[i] for shard in manifest.shards)
        if source.written != listed:
            add(f"written {source.written:,}", f"the {listed:,} rows that its shards list", name)
        if source.planned != source.written + source.rejected:
            add(
                f"planned {source.planned:,}",
                f"written {source.written:,} + rejected {source.rejected:,}",
                name,
            )
    for key in ("planned", "written", "rejected"):
        total = sum(getattr(source, key) for source in manifest.sources.values())
        if getattr(manifest.counts, key) != total:
            add(f"{key} {getattr(manifest.counts, key):,} in all", f"the {total:,} that the sources add up to")
