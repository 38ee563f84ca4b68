"""`--init-from` with the action expert: what is taken, and what does not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.tiny_runs import config
from train.config import LoraConfig, ModelConfig, TrainConfig
from train.initial_params import initial_params, random_components
from train.loop import run
from train.runs.checkpoint import load_params
from train.setup import prepare


def start(asked: TrainConfig) -> Any:
    return initial_params(prepare(asked))


def same(a: Any, b: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_the_expert_comes_along_only_if_it_is_asked_for(chain: Chain, trained: Path, tmp_path: Path) -> None:
    theirs: Any = load_params(trained)[1]
    without = config(chain, tmp_path / "new", init_from=trained, seed=1)
    plain, whole = start(without), start(replace(without, init_from_expert=True))
    for part in ("vision", "backbone"):
        assert same(plain[part], theirs[part])
        assert same(whole[part], theirs[part])
    assert same(whole["expert"], theirs["expert"])
    assert not same(plain["expert"], theirs["expert"])
    assert random_components(prepare(without)) == {"expert"}
    assert random_components(prepare(replace(without, init_from_expert=True))) == set()
    adapted = start(replace(without, init_from_expert=True, lora=LoraConfig(rank=2)))
    assert np.array_equal(adapted["expert"]["layers"]["query"], theirs["expert"]["layers"]["query"])
    assert "init_from_expert" not in without.to_json()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {"expert_width": 32},
            r"expert_width 24 there and 32 here.*\(--model\.expert-width 24\), as far as the shards allow",
        ),
        ({"expert_mlp": 64}, "expert_mlp 32 there and 64 here"),
        ({"action_dim": 9}, r"action_dim \d there and 9 here.*--model\.action-dim"),
        ({"horizon": 40}, r"horizon \d+ there and 40 here.*--model\.horizon"),
        ({"state": "continuous"}, "state_token None there and expert here"),
    ],
)
def test_an_expert_that_does_not_fit(
    chain: Chain, trained: Path, tmp_path: Path, model: dict[str, Any], says: str
) -> None:
    """The horizon shapes no parameter: an expert of another one would be taken in silence."""
    asked = config(chain, tmp_path / "new", init_from=trained, init_from_expert=True, model=model)
    with pytest.raises(InputError, match=rf"--init-from-expert: the expert of .* does not fit this run: .*{says}"):
        run(asked)
    assert not (tmp_path / "new").exists()


def test_flags_that_have_nothing_to_take(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--init-from-expert needs --init-from RUN"):
        TrainConfig(Path("S"), Path("R"), init_from_expert=True)
    with pytest.raises(InputError, match="--init-from-expert needs an action expert"):
        TrainConfig(Path("S"), Path("R"), init_from_expert=True, init_from=Path("RUN"), model=ModelConfig(flow=False))


@pytest.mark.slow
def test_a_run_without_an_expert_has_none_to_give(chain: Chain, tmp_path: Path) -> None:
    run(config(chain, tmp_path / "vlm", model={"flow": False}, steps=1))
    with pytest.raises(InputError, match=r"vlm has no action expert"):
        run(config(chain, tmp_path / "new", init_from=tmp_path / "vlm", init_from_expert=True))
