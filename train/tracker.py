"""Where numbers go: metrics.jsonl, one JSON object a line, always; a run that resumes cuts what it will write again."""

import json
from pathlib import Path
from typing import Any


class JsonLines:
    """Appends lines to RUN/metrics.jsonl."""

    def __init__(self, run: Path, from_step: int) -> None:
        self.path = run / "metrics.jsonl"
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that a kill cut short
                if row["step"] <= from_step:
                    kept.append(line + "\n")
        self.path.write_text("".join(kept), encoding="utf-8")

    def log(self, row: dict[str, Any]) -> None:
        """One line, on disk when this returns."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
