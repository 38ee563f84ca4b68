"""Stage 3: (build folder, shard number) -> one shard. What runs inside the Beam graph, and needs no Beam itself.

A job reads each of its source records once, cuts the planned steps into rows, encodes FAST ids in one batch per source, and
writes the rows in low-discrepancy source order. Nothing depends on the runner, the number of workers or the clock, so a
job that is killed and run again writes the same bytes. A row that cannot be made becomes a dead letter, never
another row: planned = written + rejected.

    SHARDS/rejected/shard-....jsonl  source, file, offset, episode, step (null: all), reason, detail, rows
    SHARDS/shard-....arrow
    SHARDS/state/shard-....json      written last; --resume trusts it only after comparing digests
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.chunks import chunk_at
from fasttok.episodes import BadRecord, Where
from fasttok.errors import InputError
from fasttok.representation import Representation
from mixtures.quota import interleave
from pipelines.action_tokens import TOKENIZER, load_tokenizer
from pipelines.bits import shuffled
from pipelines.files import atomic_write, join, read_json, sha256_file, write_json
from pipelines.live import JOBS, LIVE, WORK, Counts, Reporter
from pipelines.plan import SourcePlan, load_plan, shard_episodes
from pipelines.shards import shard_name, write_shard
from pipelines.sources import Facts, Loaded, open_source, relative

PLAN = "plan"
ENCODE_CHUNKS = 4096  # at a time: bounds the memory of the DCT's float64 copies
NO_FLOATS = np.zeros(0, np.float32)
NO_IDS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class ShardJob:
    """One shard of the build in `folder` (SHARDS, with its plan and tokenizer in place)."""

    folder: str
    shard: int


@dataclass
class Part:
    """One source's rows of a shard while it is made."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    planned: int = 0
    records: int = 0
    bytes_read: int = 0
    clamped: int = 0


def state_path(folder: str, shard: int, total: int) -> str:
    """Where a shard's sidecar is."""
    return join(folder, "state", shard_name(shard, total).replace(".arrow", ".json"))


def rejected_path(folder: str, shard: int, total: int) -> str:
    """Where a shard's dead letters are, if it has any."""
    return join(folder, "rejected", shard_name(shard, total).replace(".arrow", ".jsonl"))


def list_shards(folder: str) -> Iterator[ShardJob]:
    """The jobs of a run."""
    for shard in read_json(join(folder, WORK, JOBS), "the shards to write"):
        yield ShardJob(folder, shard)


def materialize_shard(job: ShardJob) -> Counts:
    """Writes one shard, its dead letters and its sidecar.

    Raises:
        InputError: plan, tokenizer or a dataset's description cannot be read. Bad records never raise.
    """
    plan = load_plan(join(job.folder, PLAN))
    build = read_json(join(job.folder, PLAN, "sources.json"), "the sources of a build")
    facts = [Facts.from_json(value) for value in build["sources"]]
    tok = load_tokenizer(join(job.folder, TOKENIZER)) if build["tokenizer"] else None
    episodes = shard_episodes(join(job.folder, PLAN), plan, job.shard)
    parts = [make_part(p, f, table, tok) for p, f, table in zip(plan.sources, facts, episodes, strict=True)]
    for source, part in zip(plan.sources, parts, strict=True):
        order = shuffled(f"{source.key}/rows/{job.shard}", len(part.rows))
        part.rows = [part.rows[i] for i in order]
    counts = [len(part.rows) for part in parts]
    dead = [letter for part in parts for letter in part.rejected]
    if dead:
        lines = "".join(json.dumps(letter, sort_keys=True, ensure_ascii=False) + "\n" for letter in dead)
        with atomic_write(rejected_path(job.folder, job.shard, plan.shards)) as stream:
            stream.write(lines.encode())
    name = shard_name(job.shard, plan.shards)
    written = write_shard(join(job.folder, name), interleaved(parts, counts))
    state = {
        "plan_digest": plan.digest,
        "tokenizer": build["tokenizer"],
        "name": name,
        "rows": written.rows,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "rows_per_source": counts,
        "planned_per_source": [part.planned for part in parts],
        "rejected_per_source": [sum(letter["rows"] for letter in part.rejected) for part in parts],
        "rejected_sha256": hashlib.sha256(lines.encode()).hexdigest() if dead else None,
        "rejected_by_reason": _by_reason(dead),
        "action_tokens_per_source": [sum(len(row["action_tokens"]) for row in part.rows) for part in parts],
        "clamped_per_source": [part.clamped for part in parts],
        "records_read": sum(part.records for part in parts),
        "bytes_read": sum(part.bytes_read for part in parts),
    }
    write_json(state_path(job.folder, job.shard, plan.shards), state)
    with Reporter(join(job.folder, WORK, LIVE)) as live:
        rejected = sum(letter["rows"] for letter in dead)
        live.add(files=1, records=written.rows, bytes=sum(part.bytes_read for part in parts), rejected=rejected)
    return live.total


def finished_state(
    folder: str, shard: int, total: int, plan_digest: str, tokenizer: str | None
) -> dict[str, Any] | None:
    """A shard's sidecar if it is of this plan and tokenizer and the files are as it says, else None."""
    try:
        state = read_json(state_path(folder, shard, total), "a shard's sidecar")
        digest, size = sha256_file(join(folder, shard_name(shard, total)))
        if state["rejected_sha256"] is not None:
            dead, _ = sha256_file(rejected_path(folder, shard, total))
            if dead != state["rejected_sha256"]:
                return None
        same = (state["plan_digest"], state["tokenizer"], state["sha256"], state["bytes"])
    except (InputError, FileNotFoundError, KeyError, TypeError):
        return None
    return state if same == (plan_digest, tokenizer, digest, size) else None


def make_part(plan: SourcePlan, facts: Facts, episodes: pa.Table, tok: ActionTokenizer | None) -> Part:
    """Reads one source's records of a shard and makes their rows, in source order."""
    part = Part()
    if not episodes.num_rows:
        return part
    load = open_source(facts)
    represent = None if facts.representation is None else Representation.from_json(facts.representation)
    chunks: list[NDArray[np.float32]] = []
    pending: list[tuple[dict[str, Any], int]] = []  # a row per step taken, and how often
    for row in episodes.to_pylist():
        where = Where(row["file"], row["offset"], row["length"], row["episode"])
        takes = plan.takes(row["first"], row["steps"])
        part.planned += int(takes.sum())
        part.records += 1
        part.bytes_read += max(row["length"], 0)
        loaded = load(where)
        problem = _problem(loaded, row["steps"], facts)
        if isinstance(loaded, BadRecord) or problem is not None:
            reason, detail = problem if problem else (loaded.reason, loaded.detail)  # type: ignore[union-attr]
            part.rejected.append(_letter(facts, where, None, reason, detail, int(takes.sum())))
            continue
        steps = np.flatnonzero(takes)
        found = []
        for step in steps.tolist():
            base = _row(facts, where, loaded, step)
            if facts.robot:
                chunk, base["action_steps"] = chunk_at(
                    loaded.action, step, facts.horizon, facts.entry["action_encoding"]
                )
                found.append(chunk)
            pending.append((base, int(takes[step])))
        if represent is not None and found:
            found = list(represent(np.stack(found), represent.reference(loaded.action, loaded.proprio)[steps]))
        chunks += found
    ids = _encode(tok, facts, chunks, part) if facts.robot and tok is not None else []
    for number, (base, times) in enumerate(pending):
        if facts.robot:
            tokens = ids[number]
            if isinstance(tokens, str):
                where = Where(base["file"], base["offset"], 0, base["episode"])
                part.rejected.append(_letter(facts, where, base["step"], "action", tokens, times))
                continue
            base["action"], base["action_tokens"] = chunks[number].reshape(-1), tokens
        place = f"{facts.name}/{base['file']}/{base['episode']}/{base['step']}"
        part.rows += [{**base, "sample_id": f"{place}/{repeat}"} for repeat in range(times)]
    return part


def interleaved(parts: list[Part], counts: list[int]) -> Iterator[dict[str, Any]]:
    """The rows of all sources in low-discrepancy order, each source's in its own order."""
    streams = [iter(part.rows) for part in parts]
    for source in interleave(counts).tolist():
        yield next(streams[source])


def _problem(loaded: Loaded | BadRecord, steps: int, facts: Facts) -> tuple[str, str] | None:
    """Why a record that could be read is not the one that was indexed."""
    if isinstance(loaded, BadRecord):
        return None
    if len(loaded.action) != steps:
        return "changed", f"{len(loaded.action)} steps, the INDEX has {steps}; index again"
    held = facts.entry["action_dim"] if facts.robot else 0
    if loaded.action.shape[1] != held:
        return "changed", f"action of {loaded.action.shape[1]} dims, the INDEX has {held}; index again"
    return None


def _row(facts: Facts, where: Where, loaded: Loaded, step: int) -> dict[str, Any]:
    """A row without its chunk."""
    return {
        "kind": facts.kind,
        "source": facts.name,
        **{f"image/{slot}": images[step] for slot, images in loaded.cameras.items()},
        "prompt": loaded.prompt,
        "target": loaded.target,
        "action": NO_FLOATS,
        "action_steps": 0,
        "action_tokens": NO_IDS,
        "state": loaded.proprio[step],
        "file": relative(where.file, facts.directory),
        "offset": where.offset,
        "episode": where.number,
        "step": int(loaded.steps[step]),
    }


def _encode(
    tok: ActionTokenizer, facts: Facts, chunks: list[NDArray[np.float32]], part: Part
) -> list[NDArray[np.int32] | str]:
    """FAST ids of each chunk, or the reason why it has none; clamped chunks are counted."""
    ids: list[NDArray[np.int32] | str] = []
    for start in range(0, len(chunks), ENCODE_CHUNKS):
        batch = np.stack(chunks[start : start + ENCODE_CHUNKS])
        try:
            ids += _encode_batch(tok, facts, batch, part)
        except InputError:  # one chunk spoils a batch: find which
            for chunk in batch:
                try:
                    ids += _encode_batch(tok, facts, chunk[None], part)
                except InputError as error:
                    ids.append(str(error))
    return ids


def _encode_batch(tok: ActionTokenizer, facts: Facts, batch: NDArray, part: Part) -> list[NDArray[np.int32]]:
    encoded = tok.encode_report(batch, facts.embodiment)
    part.clamped += int((encoded.clamped > 0).sum())
    return encoded.ids


def _letter(facts: Facts, where: Where, step: int | None, reason: str, detail: str, rows: int) -> dict[str, Any]:
    return {
        "source": facts.name,
        "file": relative(where.file, facts.directory),
        "offset": where.offset,
        "episode": where.number,
        "step": step,
        "reason": reason,
        "detail": detail,
        "rows": rows,
    }


def _by_reason(dead: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for letter in dead:
        counts[letter["reason"]] = counts.get(letter["reason"], 0) + letter["rows"]
    return counts
