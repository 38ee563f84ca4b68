"""Entries as `index` would find them, without data."""

from dataclasses import fields

from fasttok.actions.rotations import width
from fasttok.episodes.dataset_entry import DatasetEntry, FeatureColumns
from fasttok.episodes.index_file import IndexedEntry


def columns_of(part: FeatureColumns) -> int:
    if part.stop is not None:
        return part.stop - part.start
    return width(part.rotation) if part.rotation else len(part.names) or 1


def indexed(entry: DatasetEntry) -> IndexedEntry:
    """As `index` would find it, with features as wide as the entry says."""
    action, proprio = (tuple(map(columns_of, parts)) for parts in (entry.action, entry.proprio))
    own = {f.name: getattr(entry, f.name) for f in fields(DatasetEntry)} | {"control_hz": entry.control_hz or 5}
    return IndexedEntry(
        **own, action_dim=sum(action), proprio_dim=sum(proprio), action_widths=action, proprio_widths=proprio
    )
