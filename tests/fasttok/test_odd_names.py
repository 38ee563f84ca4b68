"""Names of robots and dims come from files of others: whatever is in them, tokenizers, cards and pages are written whole."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer
from fasttok.cli.commands import main
from fasttok.common.console import write_text

HALF = chr(0xD800)  # JSON can name half a character, and no file can have it


def recorded(root: Path, robot: str, names: list[str]) -> str:
    """A LeRobot folder of six episodes."""
    feature = {"dtype": "float32", "shape": [2], "names": names}
    info = {
        "codebase_version": "v2.1",
        "robot_type": robot,
        "fps": 10,
        "total_episodes": 6,
        "features": {"action": feature, "observation.state": feature},
    }
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for number in range(6):
        rows = np.cumsum(np.random.default_rng(number).normal(size=(20, 2)), axis=0).tolist()
        table = pa.table({"action": rows, "observation.state": rows, "episode_index": [number] * 20})
        pq.write_table(table, root / "data" / "chunk-000" / f"episode_{number:06d}.parquet")
    return str(root)


@pytest.mark.parametrize("robot", [f"arm {HALF}", 'a|b "q"\n# <x>', "'\\"])
def test_a_tokenizer_its_card_and_its_pages_are_whole(robot: str, tmp_path: Path) -> None:
    data = recorded(tmp_path / "data", robot, [f"{HALF}", "<script>x\n"])
    tok = tmp_path / "tok"
    main(["fit", data, "--relative", "--out", str(tok)])
    (name,) = ActionTokenizer.load(tok).embodiments
    assert name == robot.replace(HALF, "?")
    card = (tok / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    assert name in compile(code, "card", "exec").co_consts
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    for verb in ("eval", "inspect"):
        page = tmp_path / f"{verb}.html"
        main([verb, str(tok), data, "--html", str(page)])
        assert "<script>x" not in page.read_text()


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OSError, match=r"page\.html"):
        write_text(tmp_path / "page.html", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
