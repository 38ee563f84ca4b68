"""Writes questions or captions as JSON lines beside images: the other kind of dataset that the examples make."""

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from fasttok.common.console import progress
from fasttok.common.output_folder import OutputFolder

JPEG_QUALITY = 95  # what TFDS writes
WEB_FILES = ("dataset.yaml", "*.jsonl", "images/*/*/*.jpg")
Record = tuple[NDArray[Any], Mapping[str, str]]  # a picture (h, w, 3) uint8, and the fields of its line


def web_entry(name: str, licence: str, caption_prompt: str = "") -> str:
    """Returns the dataset.yaml of questions, or of captions that answer one prompt.

    Args:
        name: name of the dataset.
        licence: SPDX name of its licence.
        caption_prompt: prompt that all captions answer; "": the dataset has questions.
    """
    texts = f"fixed_prompt: {caption_prompt}\ntarget: caption" if caption_prompt else "prompt: question\ntarget: answer"
    return (
        f"name: {name}\nkind: {'caption' if caption_prompt else 'vqa'}\n"
        "splits: {train: train.jsonl, val: val.jsonl}\nimages: images\nimage: image\n"
        f"{texts}\nid: id\nlicense: {licence}\n"
    )


def write_web(
    place: OutputFolder, name: str, entry: str, counts: Mapping[str, int], makers: Mapping[str, Callable[[], Record]]
) -> None:
    """Writes a JSON-lines dataset with its images. Its folder appears when it is complete.

    Args:
        place: folder of the dataset.
        name: title of the progress display.
        entry: text of dataset.yaml.
        counts: number of records of each split.
        makers: for each split, a function that makes the next record.
    """
    hidden = place.aside()
    try:
        (hidden / "images").mkdir()
        with progress(name, sum(counts.values()), "images") as advance:
            for split, count in counts.items():
                with (hidden / f"{split}.jsonl").open("w", encoding="utf-8") as lines:
                    for i in range(count):
                        image = f"{split}/{i // 1000:03d}/{i:06d}.jpg"
                        picture, fields = makers[split]()
                        save_jpeg(picture, hidden / "images" / image)
                        lines.write(json.dumps({"id": f"{split}-{i}", "image": image, **fields}) + "\n")
                        advance()
        (hidden / "dataset.yaml").write_text(entry, encoding="utf-8")
        place.install(hidden, last="dataset.yaml")
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def save_jpeg(picture: NDArray[Any], path: Path) -> None:
    """Writes a picture, (h, w, 3) uint8, as a JPEG, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    path.write_bytes(buffer.getvalue())
