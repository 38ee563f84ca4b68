"""Prints what a run will cost, before it starts: parameters, batch plan, FLOPs and, after compiling, memory per device."""

import logging
from typing import cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fasttok.common.console import table
from train import optim
from train.acting.robots import acting_notes, unseen_states
from train.config import TrainConfig
from train.costs import flops, memory
from train.devices import sharding
from train.initial_params import plan_weights, random_components
from train.learning import lora, rates
from train.learning.insulation_schedule import in_words, unreached
from train.params import Params, components, count
from train.setup import Setup
from train.step import State, begin, train_step

logger = logging.getLogger(__name__)


def print_plan(setup: Setup, mesh: Mesh) -> None:
    """Prints a table of what will be trained on what, and notes on settings that may be mistakes."""
    config, m = setup.config, setup.model
    shapes = abstract_params(setup)
    counts = {name: count(tree) for name, tree in components(shapes).items()}
    learn = count(optim.split(shapes, config.still)[0])
    rows: list[list[str | int]] = [[f"parameters: {name}", n] for name, n in counts.items()]
    rows += [["parameters: all", sum(counts.values())], ["of which learn", learn]]
    rows += [["rows in the shards", setup.reader.num_rows], ["cameras", ", ".join(setup.encoder.slots) or "none"]]
    rows += [["tokens per row", f"{m.cameras} x {m.image_tokens} of images, {setup.batcher.length} of text"]]
    rows += [["recipe", m.recipe], ["vocabulary", m.vocab_size], ["horizon x dims", f"{m.horizon} x {m.action_dim}"]]
    rows += [
        ["discrete targets", config.data.discrete],
        ["state", m.state],
        ["flow draws", config.flow_draws if m.flow else 0],
    ]
    rows += [["learning rate", rates.in_words(config)]]
    rows += [["insulation", in_words(m.insulation, config.insulation_schedule, m.depth)]]
    rows += [["expert alone", f"{config.optim.expert_first} steps"]] * bool(config.optim.expert_first)
    devices = jax.devices()
    rows += [
        ["devices", f"{len(devices)} x {devices[0].device_kind}, mesh {mesh.shape['data']} x {mesh.shape['fsdp']}"]
    ]
    cut = f" in {config.accumulate} microbatches" if config.accumulate > 1 else ""
    rows += [["batch", f"{config.batch_size}{cut}, {config.batch_size // len(devices)} per device"]]
    rows += [
        ["samples", config.steps * config.batch_size],
        ["TFLOP per sample", f"{per_sample(setup).total / 1e12:.3g}"],
    ]
    table(f"{config.preset}, {config.size} -> {config.out}", ["what", "value"], rows)
    if setup.lacking:
        logger.warning(setup.lacking)
    robots, unseen = setup.encoder.robots, unseen_states(setup.encoder.robots, setup.encoder.tok)
    for note in [*acting_notes(robots), *([unseen] if unseen else [])] if "robot" in config.data.kinds else ():
        logger.warning(note)
    for note in (rates.short_average(config), unreached(config.insulation_schedule, m.depth, config.steps)):
        if note:
            logger.warning(note)
    if (
        config.lora.rank
        and not config.resume
        and (random := random_components(setup) & lora.adapted_components(shapes))
    ):
        logger.warning(
            f"LoRA adapts layers of {' and '.join(sorted(random))} that start from random numbers, which stay: load them "
            "(--weights, --init-from), or leave them out (--lora.paths backbone/layers)"
        )
    if config.weights is not None and not config.resume:
        plan_weights(setup, config.weights).report.show()


def per_sample(setup: Setup) -> flops.Flops:
    """Returns the FLOPs of training on one row.

    All of the row's text tokens count as predicted, so this is an upper bound, which is a few per cent too high.
    """
    config = setup.config
    length = setup.batcher.length
    adapted = lora.adapted_components(abstract_params(setup)) if config.lora.rank else ()
    return flops.train(setup.model, length, length, config.flow_draws, config.optim.freeze, adapted)


def abstract_params(setup: Setup) -> Params:
    """Returns the shapes of the parameters."""
    return memory.abstract_params(setup.model, setup.config.lora)


def abstract_state(setup: Setup, config: TrainConfig, mesh: Mesh) -> State:
    """Returns the state of `train.step.begin` as shapes only, with the shardings of its arrays."""
    state = jax.eval_shape(lambda params: begin(params, config, mesh), abstract_params(setup))
    where = sharding.of_tree(state, mesh)
    return cast(State, jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, where))


def print_memory(setup: Setup, config: TrainConfig, mesh: Mesh) -> None:
    """Compiles the step without any arrays, and prints the memory that it needs, and how many rows would fit on usual devices.

    Args:
        setup: setup of the run.
        config: what the step is compiled for.
        mesh: the devices.
    """
    state = abstract_state(setup, config, mesh)
    example = setup.batcher([setup.encoder.row(setup.reader.row(0))])
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype, sharding=sharding.of_rows(mesh))
        for name, x in example.items()
    }
    lowered = train_step.lower(
        state,
        batch,
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.int32),
        config=config,
        model_config=setup.model,
        mesh=mesh,
        wrist=setup.wrist,
    )
    found = lowered.compile().memory_analysis()
    length, fsdp = setup.batcher.length, mesh.shape["fsdp"]
    guess = memory.estimate(config, setup.model, length, fsdp)
    rows = config.batch_size // config.accumulate // jax.device_count()
    ratio, how = 1.0, "estimates"
    if found is None:
        logger.warning("the compiler gives no account of memory on this device")
    else:
        held, other = found.argument_size_in_bytes, found.temp_size_in_bytes
        sizes = {
            "parameters, optimiser state, batch": (held, guess.held),
            "activations and buffers": (other, guess.total(rows) - guess.held),
            "all": (held + other, guess.total(rows)),
        }
        lines = [[what, *(f"{size / memory.GIB:.2f} GiB" for size in both)] for what, both in sizes.items()]
        table("memory per device", ["what", "as compiled", "estimate"], lines)
        if (
            setup.model.dtype == "float32" or jax.default_backend() != "cpu"
        ):  # on CPUs XLA makes float32 copies of bfloat16 arrays
            ratio, how = other / (guess.total(rows) - guess.held), "estimates, scaled by the step that was compiled"
    columns = ["what learns", "remat", "held GiB", *(f"{card} GB" for card in memory.CARDS)]
    fits = memory.what_fits(config, setup.model, length, fsdp, ratio)
    table(f"most rows of a microbatch that fit on a device ({how})", columns, fits)
