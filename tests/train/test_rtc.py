"""Real-time chunking: given actions in training, and chunks that continue the one being executed."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.small import SMALL, config, make_batch, one_step
from tests.train.tiny_runs import FakeEnv, FakePlayer
from tests.train.tiny_runs import config as tiny
from train import losses, model
from train.acting import rtc
from train.config import TrainConfig
from train.player import Player
from train.rollouts import RolloutOptions, play

STATED = dataclasses.replace(SMALL, state="continuous", state_in="expert", state_dim=3)
MOST = 3


def params_of(config: Any, seed: int = 0) -> Any:
    """Random parameters, moved a little: norms begin at zero."""
    return jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(seed), config))


def batch_of(config: Any) -> dict[str, Any]:
    batch = {name: jnp.asarray(x) for name, x in make_batch().items()}
    if config.state_dim:
        batch |= {"state": jnp.ones((6, 3)), "state_mask": jnp.arange(6) % 2 == 0}
    return batch


@pytest.mark.parametrize("config", [SMALL, STATED])
def test_a_time_per_step_is_the_same_as_one_time_for_all(config: Any) -> None:
    params, batch = params_of(config), batch_of(config)
    context, noisy = model.run_backbone(params, batch, config), jax.random.normal(jax.random.key(1), (6, 4, 3))
    time = jnp.linspace(0.1, 0.9, 6)
    one = model.run_expert(params, context, noisy, time, config)
    each = model.run_expert(params, context, noisy, jnp.broadcast_to(time[:, None], (6, 4)), config)
    assert np.allclose(one, each, atol=1e-5)
    other = model.run_expert(params, context, noisy, jnp.broadcast_to(time[:, None], (6, 4)).at[:, 0].set(0.0), config)
    assert np.abs(np.asarray(other - each)).max() > 1e-4


def given_batch(draws: int = 2) -> tuple[Any, Any]:
    key = jax.random.key(5)
    plain = losses.prepare(batch_of(SMALL), key, draws, "tokens")
    return plain, rtc.give_first(plain, key, MOST)


def test_first_actions_are_given_at_time_zero_each_number_alike() -> None:
    rows, key = 4000, jax.random.key(0)
    batch = {"time": jnp.full((rows, 1), 0.7), "action_mask": jnp.ones((rows, 4, 3), bool)}
    time = np.asarray(rtc.give_first(batch, key, MOST)["time"])[:, 0]
    given = (time == 0).sum(1)
    assert all(np.array_equal(row == 0, np.arange(4) < d) for row, d in zip(time, given, strict=True))
    assert np.allclose(np.bincount(given) / rows, 1 / (MOST + 1), atol=0.03)
    assert set(np.unique(time).tolist()) == {0.0, np.float32(0.7).item()}


def test_given_actions_have_no_noise_and_do_not_count() -> None:
    params, (plain, batch) = params_of(SMALL), given_batch()
    context = model.run_backbone(params, batch, SMALL)
    errors = np.asarray(losses.flow_errors(params, context, batch, SMALL))
    given = np.asarray(batch["time"]) == 0
    assert given.any()
    assert not given.all()
    assert (errors[given] == 0).all()
    learned = np.asarray(plain["action_mask"])[:, None] & ~given[..., None]
    assert (errors[learned] > 0).all()
    loss = losses.compute(params, SMALL, batch)[1]["loss_flow"]
    assert np.isclose(loss, errors[learned].mean(), rtol=1e-5)  # the mean over what counts
    noise = jnp.where(given[..., None], 100.0, batch["noise"])
    assert np.array_equal(
        losses.flow_errors(params, context, batch | {"noise": noise}, SMALL)[learned], errors[learned]
    )
    moved = batch | {"actions": batch["actions"].at[:, 0].add(1.0)}
    changed = np.asarray(losses.flow_errors(params, context, moved, SMALL))
    after = learned & (given[:, :, :1, None] & np.ones(learned.shape, bool))
    assert not np.allclose(changed[after], errors[after], rtol=1e-3)  # what is given is read


@pytest.mark.slow
def test_a_step_with_given_actions_is_one_of_the_flow_alone_however_it_is_cut() -> None:
    _, plain = one_step(config())
    _, given = one_step(config(rtc_delay=MOST))
    assert given["loss_flow"] != plain["loss_flow"]
    assert given["loss_fast"] == plain["loss_fast"]
    _, halves = one_step(config(rtc_delay=MOST, accumulate=2))
    assert np.isclose(halves["loss_flow"], given["loss_flow"], rtol=1e-5)


def test_the_setting_is_checked(chain: Chain, tmp_path: Path) -> None:
    from train.setup import prepare

    with pytest.raises(InputError, match="--rtc-delay is -1"):
        config(rtc_delay=-1)
    with pytest.raises(InputError, match=r"chunks of planar have 10 steps.*expected at most 9"):
        prepare(tiny(chain, tmp_path / "run", rtc_delay=10))
    with pytest.raises(InputError, match="has no such expert"):
        prepare(tiny(chain, tmp_path / "run", rtc_delay=2, model={"flow": False}))
    assert "rtc_delay" not in TrainConfig(Path("s"), Path("o")).to_json()


@pytest.mark.parametrize(("length", "delay"), [(4, 0), (4, 1), (3, 2), (2, 2), (4, 4), (1, 0), (7, 3)])
def test_the_soft_mask_is_the_papers(length: int, delay: int) -> None:
    """Equation 5 with H - s = length."""
    wanted = []
    for i in range(10):
        c = (length - i) / (length - delay + 1)
        wanted.append(1.0 if i < delay else 0.0 if i >= length else c * (math.exp(c) - 1) / (math.e - 1))
    assert np.allclose(rtc.soft_mask(10, jnp.array([length]), jnp.int32(delay))[0], wanted, atol=1e-6)


@pytest.mark.parametrize("time", [1.0, 0.9, 0.5, 0.1])
def test_the_guidance_weight_is_the_papers(time: float) -> None:
    """Equations 2 and 4, in the paper's time."""
    tau = 1 - time
    r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
    wanted = min(5.0, (1 - tau) / (tau * r2)) if tau else 5.0
    assert np.isclose(rtc.guidance_weight(jnp.float32(time)), wanted, rtol=1e-5)


def test_the_guidance_is_the_gradient_of_how_far_it_leads_astray() -> None:
    """(Y - A)^T W dA/dx falls along the finite differences of |Y - A|^2 W / 2, in every direction."""
    params, batch, time = params_of(SMALL), batch_of(SMALL), jnp.float32(0.6)
    context = model.run_backbone(params, batch, SMALL)
    x, last = jax.random.normal(jax.random.key(1), (2, 6, 4, 3))
    weight = jnp.broadcast_to(rtc.soft_mask(4, jnp.full(6, 3), jnp.int32(1))[..., None], x.shape)

    @jax.jit
    def astray(x: Any) -> Any:
        velocity = model.run_expert(params, context, x, jnp.full(6, time), SMALL)
        return jnp.sum((last - (x - time * velocity)) ** 2 * weight) / 2

    velocity = model.run_expert(params, context, x, jnp.full(6, time), SMALL)
    guided = rtc.guided_velocity(params, context, x, time, last, weight, SMALL)
    gradient = np.asarray(velocity - guided) / float(rtc.guidance_weight(time))
    for seed in range(5):
        way = jax.random.normal(jax.random.key(10 + seed), x.shape)
        slope = (astray(x - 0.001 * way) - astray(x + 0.001 * way)) / 0.002
        assert np.isclose(np.sum(gradient * way), slope, rtol=0.01, atol=0.01)


def test_the_guided_velocity_of_a_linear_model_is_what_algebra_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, t = np.random.default_rng(0), 0.3
    matrix, x, last, weight = rng.normal(size=(3, 3)), *rng.uniform(0, 1, (3, 2, 4, 3))
    monkeypatch.setattr(model, "run_expert", lambda p, c, x, time, config: x @ jnp.asarray(matrix))
    nothing: Any = None
    at, y, w = jnp.asarray(x), jnp.asarray(last), jnp.asarray(weight)
    found = rtc.guided_velocity(nothing, nothing, at, jnp.float32(t), y, w, SMALL)
    leads = np.eye(3) - t * matrix
    wanted = x @ matrix - min(5.0, (t**2 + (1 - t) ** 2) / (t * (1 - t))) * ((last - x @ leads) * weight) @ leads.T
    assert np.allclose(found, wanted, atol=1e-5)


def test_chunks_continue_the_last_one() -> None:
    """Given actions are there to the bit; guided ones come far closer than unguided ones, and most where they count most."""
    params, batch, key = params_of(SMALL), batch_of(SMALL), jax.random.key(3)
    last = jax.random.normal(jax.random.key(4), (6, 4, 3)) * jnp.array([1.0, 1.0, 1.0, 0.0])[:, None]
    left = rtc.Remaining(last, jnp.full(6, 3), jnp.int32(2))
    given = rtc.continue_actions(params, SMALL, batch, key, left, trained=True)
    assert np.array_equal(given[:, :2], last[:, :2])
    free = rtc.continue_actions(params, SMALL, batch, key, left._replace(length=jnp.zeros(6, int)), trained=False)
    guided = rtc.continue_actions(params, SMALL, batch, key, left, trained=False)
    off, plain = np.abs(guided - last).mean((0, 2)), np.abs(free - last).mean((0, 2))
    assert (off[:2] < 0.2 * plain[:2]).all()
    assert off[0] < off[2] < plain[2]
    assert np.isfinite(guided).all()


def test_without_anything_left_a_chunk_is_the_usual_one() -> None:
    from train import policy

    params, batch, key = params_of(SMALL), batch_of(SMALL), jax.random.key(3)
    left = rtc.Remaining(jnp.zeros((6, 4, 3)), jnp.zeros(6, int), jnp.int32(0))
    usual = policy.sample_actions(params, SMALL, batch, key)
    for trained in (True, False):
        assert np.allclose(rtc.continue_actions(params, SMALL, batch, key, left, trained=trained), usual, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_rows_of_a_batch_can_have_delays_and_noise_of_their_own(trained: bool) -> None:
    """Each row's chunk depends on what it is given itself, and not on what the others are given."""
    params, batch, key = params_of(SMALL), batch_of(SMALL), jax.random.key(3)
    last, noise, other_last, other_noise = jax.random.normal(jax.random.key(4), (4, 6, 4, 3))
    left = rtc.Remaining(last, jnp.array([3, 1, 4, 2, 3, 3]), jnp.array([2, 0, 3, 1, 1, 2]))
    other = rtc.Remaining(other_last, jnp.array([1, 4, 2, 2, 4, 1]), jnp.array([0, 3, 0, 2, 4, 1]))
    chunks = rtc.continue_actions(params, SMALL, batch, key, left, trained=trained, noise=noise)
    for row in (0, 3):
        mine = jnp.arange(6) == row
        rows = mine[:, None, None]
        beside = rtc.Remaining(
            jnp.where(rows, last, other_last),
            jnp.where(mine, left.length, other.length),
            jnp.where(mine, left.delay, other.delay),
        )
        drawn = jnp.where(rows, noise, other_noise)
        among = rtc.continue_actions(params, SMALL, batch, key, beside, trained=trained, noise=drawn)
        assert np.allclose(among[row], chunks[row], atol=1e-5)
        assert not np.allclose(among[row - 1], chunks[row - 1], atol=1e-2)


SEEN: dict[str, Any] = {"image/primary": np.full((64, 64, 3), 80, np.uint8), "state": np.zeros(3, np.float32)}


def test_a_player_refuses_what_is_no_prefix(trained: Path) -> None:
    player = Player.load(trained)
    good = np.zeros((4, 3), np.float32)
    for prefix, delay, told in (
        (None, 2, "without a prefix"),
        ([], 0, "contains 0 chunks for 1"),
        ([np.zeros((4, 2))], 0, r"shape \(4, 2\); expected \(L, 3\)"),
        ([np.zeros((11, 3))], 0, "L from 1 to 10"),
        ([np.zeros((0, 3))], 0, r"shape \(0, 3\)"),
        ([np.full((4, 3), np.nan)], 0, "not finite"),
        ([good], 5, "delay is 5, but 4 steps are left"),
        ([good], -1, "delay is -1"),
    ):
        with pytest.raises(InputError, match=told):
            player.act("planar", ["push"], [SEEN], prefix=prefix, delay=delay)
    with pytest.raises(InputError, match="acts by flow"):
        player.act("planar", ["push"], [SEEN], "tokens", prefix=[good], delay=1)


def test_a_world_goes_on_while_chunks_are_computed() -> None:
    """Each episode's chunk is given what is left of that episode's last one, and its steps follow each other without a gap."""
    taken: dict[int, list[float]] = {}

    class Watched(FakeEnv):
        def step(self, action: np.ndarray) -> dict[str, np.ndarray]:
            taken.setdefault(self.seed, []).append(float(action[0]))
            return super().step(action)

    policy = FakePlayer(horizon=8)
    result, _ = play(
        policy,
        lambda embodiment, split: Watched(split),
        "e",
        "seen",
        range(4),
        RolloutOptions(execute=0.5, batch=2, delay=2),
    )
    assert taken == {0: [0, 1, 2], 1: [0, 1, 2, 3, 4, 5], 2: [0, 1, 2], 3: [0, 1, 2, 3, 4, 5]}
    assert [delay for _, delay in policy.given] == [0, 2, 0, 2]
    assert [None if rest is None else [r.shape for r in rest] for rest, _ in policy.given] == [None, [(4, 3)]] * 2
    assert policy.asked == 0
    assert result.success == 0.5
    with pytest.raises(InputError, match=r"--delay is 4: of chunks of 8 steps 4 are executed.*at most 3"):
        play(policy, lambda embodiment, split: Watched(split), "e", "seen", range(4), RolloutOptions(delay=4))


def jump(chunks: Any, before: Any, delay: int) -> float:
    """How far the action after what is executed anyway is from the last of that, (n, H, D) each, on average."""
    return float(np.abs(chunks[:, delay] - before[:, delay - 1]).mean())


@pytest.mark.slow
def test_chunks_of_a_trained_run_go_on_without_a_jump(chain: Chain, tmp_path: Path) -> None:
    """By given actions, and by guidance: where a chunk takes over, the step is like those inside of chunks; else it is a jump."""
    from pipelines.shards import ShardReader
    from train.batches import decode_image
    from train.loop import run

    data = {"kinds": ("robot",), "discrete": "none"}
    asked = tiny(chain, tmp_path / "run", steps=300, batch_size=32, log_every=100, flow_draws=8, rtc_delay=4, data=data)
    run(dataclasses.replace(asked, optim=dataclasses.replace(asked.optim, learning_rate=3e-3)))
    player, delay = Player.load(tmp_path / "run", batch=24), 3
    reader = ShardReader(str(chain.shards))
    rows = [row for row in map(reader.row, range(300)) if row["source"] == "tabletop_planar"][:24]
    seen = [{"image/primary": decode_image(row["image/primary"], 64), "state": row["state"]} for row in rows]
    tasks = [row["prompt"] for row in rows]
    executed, draws = player.act("planar", tasks, seen), range(4)
    inside = jump(executed, executed, delay)
    alone = float(np.mean([jump(player.act("planar", tasks, seen), executed, delay) for _ in draws]))
    for most in (4, 0):  # as it was trained; and as if it had not been, by guidance
        player.rtc_delay = most
        new = [player.act("planar", tasks, seen, prefix=list(executed), delay=delay) for _ in draws]
        assert all(np.array_equal(chunks[:, :delay], executed[:, :delay]) for chunks in new)
        assert float(np.mean([jump(chunks, executed, delay) for chunks in new])) < min(0.85 * alone, 1.3 * inside)
    player.rtc_delay = 4
    with pytest.raises(InputError, match=r"delay is 5, but the run was trained with --rtc-delay 4"):
        player.act("planar", tasks[:1], seen[:1], prefix=[executed[0]], delay=5)
