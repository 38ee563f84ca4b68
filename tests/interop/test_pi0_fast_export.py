"""A run that only writes FAST tokens, exported to lerobot's pi0-FAST: the same prompts, logits and chunks as here."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from tests.interop.environments import PackageSet, run_inside
from tests.train.handmade_run import ARM, TASKS, handmade, numbers, with_params
from train import model
from train.config import DataConfig
from train.export import ExportConfig, export
from train.player import Player

pytestmark = pytest.mark.slow
Record = Callable[[str, object], None]
ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(4)


def fast_run(**more: Any) -> Any:
    return handmade(data=DataConfig(text_length=96, kinds=("robot",)), sizes={"flow": False, **more})


def test_lerobots_pi0_fast_writes_what_we_do(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = built("lerobot")
    run = fast_run()
    params = with_params(run, tmp_path / "run", monkeypatch)
    export(ExportConfig(tmp_path / "run", tmp_path / "out", "lerobot"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    player = Player.load(tmp_path / "run")
    encoder, batches = player.encoder, []
    cases: dict[str, Any] = {}
    rows = 257_152 - 1 - config["fast_skip_tokens"] - np.arange(encoder.tok.vocab_size)
    for i, cameras in enumerate((("primary", "wrist"), ("primary",), ("wrist",))):
        state = numbers(ARM, 5)[i].astype(np.float32)
        seen = {f"image/{slot}": RNG.integers(0, 256, (64, 64, 3), np.uint8) for slot in cameras}
        row = player.row("arm", TASKS[i], {"state": state, **seen}, decode="tokens")
        [ids] = encoder.tok.encode(numbers(ARM, 5, 60).reshape(10, 6, 5)[i], embodiment="arm")
        prefix, _ = encoder.robot_prefix("arm", TASKS[i], state)
        example = dataclasses.replace(player._example(row), suffix=encoder.placement.place(ids).tolist())
        decoded = encoder.tok.decode([ids], horizon=6, action_dim=5, embodiment="arm").actions[0]
        batches.append((prefix, ids, player.batcher([example]), decoded))
        cases |= {f"state{i}": state, f"task{i}": np.array(TASKS[i]), f"given{i}": rows[ids]}
        cases |= {f"image{i}/{slot}": pixels for slot, pixels in row.images.items()}
    np.savez(tmp_path / "cases.npz", **cases)
    run_inside(
        environment, "pi0_fast_from_export.py", tmp_path / "out", tmp_path / "cases.npz", tmp_path / "found.npz", ROOT
    )
    found, worst, compared = np.load(tmp_path / "found.npz"), 0.0, 0
    for i, (prefix, ids, batch, decoded) in enumerate(batches):
        assert [*found[f"tokens{i}"].tolist(), prefix[-1]] == prefix
        with jax.default_matmul_precision("highest"):
            context = model.run_backbone(params, cast(Any, batch), run.config.model)
            ours = np.asarray(model.logits(params, context.hidden))[0]
        first = context.hidden.shape[1] - batch["tokens"].shape[1] + len(prefix) - 1
        ours = ours[first : first + len(ids)]
        for how in ("sample_actions_fast_kv_cache", "sample_actions_fast"):
            theirs = found[f"{how}{i}"]
            assert theirs.shape == (len(ids), 257_152)
            worst = max(worst, np.abs(theirs[:, rows] - ours[:, encoder.placement.place(np.arange(len(rows)))]).max())
            worst = max(worst, np.abs(theirs[:, : encoder.text.size] - ours[:, : encoder.text.size]).max())
            compared += len(ids)
        assert found[f"chunk{i}"].shape == found[f"masked{i}"].shape == (6, 5)
        assert np.isfinite(found[f"masked{i}"]).all()
        np.testing.assert_allclose(found[f"decoded{i}"], decoded, rtol=1e-5, atol=1e-4)
    assert worst < 1e-4
    record_property(
        "checked",
        f"3 prompts, the logits of {compared} tokens within {worst:.0e} of ours, float32; lerobot decodes them to our actions",
    )
