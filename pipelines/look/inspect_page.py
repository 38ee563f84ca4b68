"""The page of `fasttok-pipelines inspect SHARDS --html`: every shown row as a trainer gets it, and where it came from."""

from collections.abc import Sequence
from dataclasses import asdict

from fasttok.common import html
from fasttok.common.html import CHANNEL_SWAP, Markup, tag
from mixtures.spec import Resize
from pipelines.look.later_pictures import later_rows
from pipelines.look.row_card import PictureAllowance, row_card
from pipelines.look.scan import shards_tokenizer
from pipelines.look.shared_sections import anchor, chunk_words, encodings, kind_badge, mixture_section
from pipelines.look.stored_row import StoredRow
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource

LEGEND = (
    "Grey pieces are the prefix, which is given; coloured ones count in a loss: FAST ids and the words of a target. Point at a "
    "FAST id, choose it with the arrow keys, or open the list below it to see which coefficients it stands for. The curves show "
    "the stored action chunk in the robot's units, and what the stored FAST ids decode to. The tinted part is padding after the "
    "episode's end (action_steps), which counts in no flow loss. The slider of a row moves a line through its curves, "
    "and shows the picture that was taken last by then, if the shards have rows of later steps of the same episode."
)


def inspect_page(
    reader: ShardReader, rows: Sequence[StoredRow], chosen: str, max_mb: float = 32.0, command: str = ""
) -> str:
    """Returns one self-contained page.

    Args:
        reader: reader of the shards.
        rows: rows to show.
        chosen: how they were chosen, in words.
        max_mb: limit for all pictures together, in MB; the page says how many are left out.
        command: command that made the page.
    """
    manifest = reader.manifest
    tok, problem = shards_tokenizer(reader)
    allowance = PictureAllowance(max_mb * 1e6)
    later = later_rows(reader, rows)
    sections: list[Markup] = []
    for name, source in manifest.sources.items():
        mine = [row for row in rows if row.source == name]
        if mine:
            head = tag("h2", name, Markup(" "), kind_badge(source.kind), id=anchor(manifest, name))
            cards = [row_card(row, source, tok, allowance, later.get(row.number, [])) for row in mine]
            wide = source.kind == "robot"  # the others are short, so they are placed side by side
            sections += [head, source_facts(source), *(cards if wide else [tag("div", *cards, class_="cards")])]
    name = str(manifest.mixture.get("name", "shards"))
    size = sum(shard.bytes for shard in manifest.shards)
    notes = [f"FAST ids are not decoded here: {problem}"] if problem else []
    if allowance.dropped:
        notes.append(
            f"{allowance.dropped} pictures ({allowance.dropped_bytes / 1e6:,.1f} MB) are not on this page, which is limited to "
            f"{max_mb:g} MB of them: ask for fewer --rows, or a larger --max-mb."
        )
    return html.page(
        f"{name}: rows of the shards",
        CHANNEL_SWAP,
        tag("h1", f"{name}: rows of the shards"),
        tag("p", chosen, class_="soft"),
        *[tag("p", note, class_="warn") for note in notes],
        html.tiles({
            "rows": f"{reader.num_rows:,}", "sources": len(manifest.sources), "shards": len(manifest.shards),
            "MB": f"{size / 1e6:,.1f}", "rejected rows": f"{manifest.counts.rejected:,}",
        }),
        *mixture_section(manifest, {row.source for row in rows}),
        tag("p", LEGEND, class_="soft"),
        *sections,
        command=command,
    )  # fmt: skip


def source_facts(s: ManifestSource) -> Markup:
    """Returns what the manifest says about a source, as a list of facts."""
    represent = s.representation
    reversed_ = [slot for slot in s.bgr if slot in s.cameras]
    return html.facts({
        "dataset, split": f"{s.dataset}, {s.split}",
        "embodiment": s.embodiment,
        "control frequency, Hz": s.control_hz,
        "chunk, steps x dims": chunk_words(s),
        "action encoding": encodings(s.action_encoding),
        "actions represented": f"{represent.form}, {represent.rotation} rotations" if represent else None,
        "cameras": ", ".join(s.cameras) + (f" (stored blue first: {', '.join(reversed_)})" if reversed_ else ""),
        "images resized to": resized(s.resize),
        "questions asked": ", ".join(s.questions),
        "prompt templates": len(s.prompts) or None,
        "rows written of planned": f"{s.written:,} of {s.planned:,}",
        "rejected": s.rejected or None,
        "FAST ids per row": s.mean_action_tokens,
        "chunks with clamped coefficients": s.clamped_chunks or None,
        "licence": s.license or "not stated",
        "citation": s.citation,
        "homepage": s.homepage,
    })  # fmt: skip


def resized(resize: Resize | None) -> str | None:
    """Describes how a source's images were resized; None if they were not.

    >>> resized(Resize(224, 320, "pad"))
    'height 224, width 320, fit pad, quality 95'
    """
    return ", ".join(f"{name} {value}" for name, value in asdict(resize).items()) if resize else None
