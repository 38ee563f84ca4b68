"""The same samples in every format that `benchmarks.reader` compares: a camera-like JPEG of about 11 KB, an action chunk, texts.

Sample `i` is a function of `i`; images come from a pool of 512. Everything is written once, one file after another.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SIDE, QUALITY, HORIZON, DIM, PER_EPISODE = 224, 87, 50, 7, 50
WEIGHTS = {"bridge": 5, "droid": 3, "vqa": 2}


def jpegs(count: int, side: int = SIDE, quality: int = QUALITY) -> list[bytes]:
    """Smooth shapes and some grain, as a camera gives."""
    from PIL import Image

    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        low = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        pixels = np.clip(np.asarray(low, np.float32) + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "jpeg", quality=quality)
        found.append(stream.getvalue())
    return found


def samples(start: int, stop: int, pool: list[bytes]) -> Iterator[dict[str, Any]]:
    """Samples start .. stop - 1."""
    steps = np.arange(HORIZON * DIM, dtype=np.float32)
    for i in range(start, stop):
        yield {
            "image": pool[i * 7919 % len(pool)],
            "action": steps + i,
            "prompt": f"put the red block number {i} into the left bowl",
            "target": f"the arm moves to block {i}",
        }


def write_shards(folder: Path, rows: int, shards: int, pool: list[bytes]) -> None:
    """SHARDS of three sources."""
    from mixtures.quota import interleave, quotas
    from pipelines.shards import shard_name
    from pipelines.shards.manifest import Shard
    from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

    folder.mkdir()
    names, found, per = list(WEIGHTS), [], rows // shards
    for number in range(shards):
        counts = quotas(list(WEIGHTS.values()), per)
        sources = interleave(counts)
        path = folder / shard_name(number, shards)
        with pa.ipc.new_file(str(path), SCHEMA) as writer:
            for at in range(0, per, ROWS_PER_BATCH):
                part = range(number * per + at, number * per + min(at + ROWS_PER_BATCH, per))
                made = list(samples(part.start, part.stop, pool))
                given = {
                    "kind": ["robot"] * len(made),
                    "source": [names[i] for i in sources[at : at + len(made)]],
                    "sample_id": [f"sample/{i}" for i in part],
                    "image/primary": [row["image"] for row in made],
                    **{name: [row[name] for row in made] for name in ("action", "prompt", "target")},
                    "action_tokens": [np.arange(i % 20 + 10) for i in part],
                    "state": [np.zeros(8, np.float32)] * len(made),
                    "file": ["train.tfrecord-00000-of-00001"] * len(made),
                }
                arrays = [pa.array(given.get(f.name, absent(f, len(made))), f.type) for f in SCHEMA]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        data = path.read_bytes()
        found.append(Shard(path.name, per, tuple(counts.tolist()), len(data), hashlib.sha256(data).hexdigest()))
    total = np.sum([shard.rows_per_source for shard in found], axis=0).tolist()
    manifest(dict(zip(names, total, strict=True)), tuple(found)).save(str(folder))


def manifest(totals: dict[str, int], shards: tuple[Any, ...]) -> Any:
    """The manifest of shards of robot sources, given the rows of each."""
    from pipelines.shards.manifest import Manifest, ManifestSource, RowCounts

    sources = {
        name: ManifestSource(
            kind="robot", dataset=name, split="train", embodiment=name, control_hz=None, horizon=0, action_dim=0,
            action_encoding=(), action_names=(), state_dim=0, state_names=(), cameras=("primary",), bgr=(), license="",
            homepage="", citation="", representation=None, prompts=(), resize=None, questions=(), share=1.0, planned=count,
            written=count, rejected=0, steps_held=count, left_out={}, capped=False, images_resized=0, clamped_chunks=0,
            mean_action_tokens=None,
        )
        for name, count in totals.items()
    }  # fmt: skip
    rows = sum(totals.values())
    return Manifest(sources, {}, 0, "", "", None, shards, RowCounts(planned=rows, written=rows, rejected=0))


def absent(field: pa.Field, count: int) -> list[Any]:
    """What a column holds that these samples lack."""
    if field.nullable:
        return [None] * count
    return [[] if pa.types.is_list(field.type) else 1] * count


def write_tables(folder: Path, rows: int, files: int, pool: list[bytes]) -> None:
    """Parquet with row groups of 1,024 rows, uncompressed as JPEGs are."""
    import pyarrow.parquet as pq

    folder.mkdir()
    types = {"image": pa.binary(), "action": pa.list_(pa.float32()), "prompt": pa.string(), "target": pa.string()}
    schema = pa.schema(list(types.items()))
    per = rows // files
    for number in range(files):
        with pq.ParquetWriter(
            folder / f"{number:05d}.parquet", schema, compression="none", use_dictionary=False
        ) as writer:
            for at in range(number * per, (number + 1) * per, 1024):
                found = list(samples(at, min(at + 1024, (number + 1) * per), pool))
                writer.write_table(pa.Table.from_pylist(found, schema=schema), row_group_size=1024)


def write_webdataset(folder: Path, rows: int, files: int, pool: list[bytes]) -> None:
    """Tar files of .jpg, .bin (the action) and .json (the texts)."""
    folder.mkdir()
    per = rows // files
    for number in range(files):
        with tarfile.open(folder / f"{number:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i, row in enumerate(samples(number * per, (number + 1) * per, pool)):
                texts = json.dumps({"prompt": row["prompt"], "target": row["target"]}).encode()
                for suffix, data in (("jpg", row["image"]), ("bin", row["action"].tobytes()), ("json", texts)):
                    info = tarfile.TarInfo(f"{number:03d}{i:08d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def write_rlds(folder: Path, rows: int, files: int, pool: list[bytes]) -> None:
    """RLDS episodes of 50 steps, as TFDS writes them; each step holds its whole chunk."""
    from fasttok.episodes.tfds import tfds

    module = tfds()
    from tensorflow_datasets.core import dataset_info

    f = module.features
    image = f.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg")
    step = {
        "observation": {"image": image},
        "action": f.Tensor(shape=(HORIZON * DIM,), dtype=np.float32),
        "prompt": f.Text(),
        "target": f.Text(),
    }
    path = folder / "bench" / "1.0.0"
    path.mkdir(parents=True)
    identity = dataset_info.DatasetIdentity("bench", module.core.Version("1.0.0"), str(path), "bench")
    info = module.core.DatasetInfo(builder=identity, features=f.FeaturesDict({"steps": f.Dataset(step)}))
    writer = module.core.SequentialWriter(info, rows // PER_EPISODE // files)
    writer.initialize_splits(["train"])
    for at in range(0, rows, PER_EPISODE):
        steps = [
            {"observation": {"image": io.BytesIO(row["image"])}, **{k: row[k] for k in ("action", "prompt", "target")}}
            for row in samples(at, at + PER_EPISODE, pool)
        ]
        writer.add_examples({"train": [{"steps": steps}]})
    writer.close_all()
