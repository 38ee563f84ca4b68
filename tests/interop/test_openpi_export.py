"""`fasttok-export --layout openpi` in openpi's own hands: its loader of PyTorch weights, its statistics, its model.

openpi is on no package index, so FASTTOK_OPENPI names a checkout (git clone https://github.com/Physical-Intelligence/openpi).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from tests.interop.environments import PackageSet, run_inside
from tests.train.handmade_run import ARM, GivenNoise, handmade, numbers, with_params
from train.export import ExportConfig, export
from train.player import Player
from train.tokens import bins

pytestmark = pytest.mark.slow


def test_openpi_acts_as_we_do(
    built: Callable[[str], PackageSet],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chunk in raw units from the same noise and tokens, and the state's bins; openpi knows pictures of 224 x 224 only."""
    environment, checkout = built("openpi"), os.environ.get("FASTTOK_OPENPI")
    if not checkout:
        pytest.skip("needs a checkout of openpi, named by FASTTOK_OPENPI")
    run = handmade(sizes={"image_size": 224, "patch": 14})
    with_params(run, tmp_path / "run", monkeypatch)
    export(ExportConfig(tmp_path / "run", tmp_path / "out", "openpi"))
    player = Player.load(tmp_path / "run")
    rng = np.random.default_rng(4)
    state = (numbers(ARM, 5)[0] * 1.5).astype(np.float32)
    images = {f"image/{slot}": rng.integers(0, 256, (224, 224, 3), np.uint8) for slot in ("primary", "wrist")}
    row = player.row("arm", "push the red circle", {"state": state, **images})
    tokens, _ = player.encoder.robot_prefix("arm", row.task, row.state)
    noise = rng.standard_normal((6, 5), np.float32)
    case: dict[str, Any] = {"state": state, "tokens": np.array(tokens), "noise": noise, **row.images}
    np.savez(tmp_path / "case.npz", **case)
    sources = Path(checkout).resolve() / "src"
    files = (tmp_path / "out", tmp_path / "case.npz", tmp_path / "found.npz")
    run_inside(environment, "act_from_openpi_export.py", sources, *files)
    found = np.load(tmp_path / "found.npz")
    assert np.array_equal(found["bins"], bins(player.encoder.tok.state_stats["arm"].normalize(state)))
    with jax.default_matmul_precision("highest"):
        [ours] = player.act_rows([row], rngs=cast(Any, [GivenNoise(noise)]))
    low, high = player.encoder.tok.stats["arm"].bounds
    worst = float((np.abs(ours - found["chunk"]) / np.maximum((high - low) / 2, 1e-3)).max())
    assert worst < 1e-4
    record_property(
        "checked", f"a chunk of openpi's PI0Pytorch within {worst:.0e} of ours, float32; the state's bins equal"
    )
