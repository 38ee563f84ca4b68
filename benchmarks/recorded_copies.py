"""Copies of a LeRobot v2.1 folder that hold the episodes whose videos are there, several times over: data of any size."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fasttok.episodes.lerobot_folder import open_folder


def write_copies(source: Path, out: Path, times: int) -> int:
    """Writes a v2.1 folder; videos are hard links, so it takes little room.

    Args:
        source: a v2.1 folder.
        out: the new one.
        times: how often each episode is there.

    Returns:
        Steps of all episodes.
    """
    folder = open_folder(str(source))
    whole = [e for e in folder.episodes.values() if all((source / v.file).exists() for v in e.videos.values())]
    (out / "meta").mkdir(parents=True)
    steps, rows, stats = 0, [], []
    lines = (source / "meta" / "episodes_stats.jsonl").read_text().splitlines()
    known = {row["episode_index"]: row for row in map(json.loads, lines)}
    for number in range(times * len(whole)):
        episode = whole[number % len(whole)]
        table = pq.read_table(source / episode.table)
        for name, values in (("episode_index", np.full(len(table), number)), ("index", steps + np.arange(len(table)))):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, [values.astype(np.int64)])
        place = out / f"data/chunk-{number // 1000:03d}/episode_{number:06d}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place)
        for camera, video in episode.videos.items():
            film = out / f"videos/chunk-{number // 1000:03d}/{camera}/episode_{number:06d}.mp4"
            film.parent.mkdir(parents=True, exist_ok=True)
            _link(source / video.file, film)
        rows.append({"episode_index": number, "tasks": list(episode.tasks), "length": len(table)})
        stats.append({**known[episode.number], "episode_index": number})
        steps += len(table)
    info = json.loads((source / "meta" / "info.json").read_text())
    counts = {
        "total_episodes": len(rows),
        "total_frames": steps,
        "total_videos": len(rows),
        "splits": {"train": f"0:{len(rows)}"},
    }
    (out / "meta" / "info.json").write_text(json.dumps({**info, **counts}))
    (out / "meta" / "tasks.jsonl").write_bytes((source / "meta" / "tasks.jsonl").read_bytes())
    for name, listed in (("episodes", rows), ("episodes_stats", stats)):
        (out / "meta" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    return steps


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        target.write_bytes(source.read_bytes())
