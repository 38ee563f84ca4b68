"""Generated RLDS data for benchmarks: camera-like JPEGs of a stated size, written as TFDS writes them."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np

POOL = 64  # different images


def camera_images(pixels: int, kilobytes: float, rng: np.random.Generator) -> list[bytes]:
    """JPEGs of smooth shapes with grain, of about so many kilobytes each."""
    from PIL import Image

    def encode(grain: float) -> bytes:
        low = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(low.resize((pixels, pixels), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(smooth + rng.normal(0, grain, smooth.shape), 0, 255).astype(np.uint8)
        stream = BytesIO()
        Image.fromarray(noisy).save(stream, "jpeg", quality=90)
        return stream.getvalue()

    low, high = 0.0, 64.0
    for _ in range(12):  # the grain that gives the size
        middle = (low + high) / 2
        low, high = (middle, high) if len(encode(middle)) < 1000 * kilobytes else (low, middle)
    return [encode(low) for _ in range(POOL)]


def write_rlds(
    folder: Path,
    name: str,
    episodes: int,
    steps: int,
    cameras: tuple[str, ...],
    images: list[bytes],
    pixels: int,
    files: int,
) -> Path:
    """A dataset directory with 7-dim delta actions, an 8-dim state and a dataset.yaml."""
    from fasttok.episodes.tfds import tfds

    module, rng = tfds(), np.random.default_rng(0)
    from tensorflow_datasets.core import dataset_info

    f = module.features
    image = f.Image(shape=(pixels, pixels, 3), encoding_format="jpeg")
    step = {
        "observation": {**dict.fromkeys(cameras, image), "state": f.Tensor(shape=(8,), dtype=np.float32)},
        "action": f.Tensor(shape=(7,), dtype=np.float32),
        "language_instruction": f.Text(),
        **{flag: f.Scalar(np.bool_) for flag in ("is_first", "is_last", "is_terminal")},
    }
    features = f.FeaturesDict({"steps": f.Dataset(step), "episode_metadata": {"file_path": f.Text()}})
    path = folder / name / "1.0.0"
    path.mkdir(parents=True)
    identity = dataset_info.DatasetIdentity(name, module.core.Version("1.0.0"), str(path), name)
    info = module.core.DatasetInfo(builder=identity, features=features)
    writer = module.core.SequentialWriter(info, max(1, -(-episodes // files)))
    writer.initialize_splits(["train"])
    for number in range(episodes):
        action = rng.normal(0, 0.02, size=(steps, 7)).astype(np.float32)
        action[:, 6] = np.repeat(rng.integers(0, 2, -(-steps // 10)), 10)[:steps]
        rows = [
            {
                "observation": {
                    **{camera: BytesIO(images[rng.integers(len(images))]) for camera in cameras},
                    "state": rng.normal(size=8).astype(np.float32),
                },
                "action": action[i],
                "language_instruction": "put the red block into the left bowl",
                "is_first": i == 0,
                "is_last": i == steps - 1,
                "is_terminal": i == steps - 1,
            }
            for i in range(steps)
        ]
        writer.add_examples({"train": [{"steps": rows, "episode_metadata": {"file_path": f"episode_{number}"}}]})
    writer.close_all()
    slots = dict(zip(("primary", "wrist", "secondary"), cameras, strict=False))
    listed = ", ".join(f"{slot}: observation/{camera}" for slot, camera in slots.items())
    (path / "dataset.yaml").write_text(
        f"name: {name}\nkind: robot\nembodiment: {name}\ncontrol_hz: 10\nlanguage: language_instruction\n"
        f"cameras: {{{listed}}}\n"
        "action:\n  - {from: action, slice: [0, 3], encoding: delta, unit: m, names: [x, y, z]}\n"
        "  - {from: action, slice: [3, 6], encoding: delta, rotation: euler_xyz, unit: rad, names: [roll, pitch, yaw]}\n"
        "  - {from: action, slice: [6, 7], encoding: gripper, names: [gripper]}\n"
        "proprio:\n  - {from: observation/state}\n"
    )
    return path


def multiply(path: Path, folder: Path, factor: int) -> Path:
    """The same directory with each file as often as `factor` says, by hard links."""
    name = path.parent.name
    out = folder / f"x{factor}" / name / "1.0.0"
    out.mkdir(parents=True)
    info = json.loads((path / "dataset_info.json").read_text())
    files = sorted(path.glob("*tfrecord*"))
    lengths = info["splits"][0]["shardLengths"]
    for i in range(factor * len(files)):
        os.link(files[i % len(files)], out / f"{name}-train.tfrecord-{i:05d}-of-{factor * len(files):05d}")
    info["splits"][0] |= {
        "shardLengths": lengths * factor,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    (out / "dataset_info.json").write_text(json.dumps(info))
    for part in ("features.json", "dataset.yaml"):
        (out / part).write_text((path / part).read_text())
    return out


def write_questions(folder: Path, name: str, records: int, images: list[bytes]) -> Path:
    """Questions as JSON lines beside a folder of images."""
    path = folder / name
    (path / "images").mkdir(parents=True)
    for number, image in enumerate(images):
        (path / "images" / f"{number:03d}.jpg").write_bytes(image)
    with (path / "train.jsonl").open("w") as stream:
        for i in range(records):
            row = {"id": str(i), "image": f"{i % len(images):03d}.jpg", "prompt": f"What is on the table in scene {i}?",
                   "target": "a red block and a bowl"}  # fmt: skip
            stream.write(json.dumps(row) + "\n")
    (path / "dataset.yaml").write_text(
        f"name: {name}\nkind: vqa\nsplits: {{train: train.jsonl}}\nimages: images\nimage: image\nprompt: prompt\ntarget: target\n"
    )
    return path
