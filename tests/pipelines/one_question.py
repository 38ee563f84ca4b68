"""A VLM folder of one question, for tests of what comes before its contents."""

import json
from pathlib import Path

from PIL import Image


def questions(folder: Path, name: object = "mine", split: str = "train") -> Path:
    """A folder of one question."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "images" / "1.jpg")
    (folder / "t.jsonl").write_text(json.dumps({"image": "1.jpg", "q": "what?", "a": "a square", "id": "1"}) + "\n")
    entry = {"name": name, "kind": "vqa", "splits": {split: "t.jsonl"}, "prompt": "q", "target": "a"}
    (folder / "dataset.yaml").write_text(json.dumps(entry))  # JSON is YAML
    return folder
