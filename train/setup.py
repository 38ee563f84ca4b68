"""Prepares a run: opens the shards, and takes from them the shapes that the configuration leaves to them."""

import dataclasses
from dataclasses import dataclass

import jax

from fasttok.common.urls import as_typed
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from train.acting import rtc
from train.acting.robots import Robots, action_tokenizer, check_action_forms
from train.batches import Batcher, NumpyBatch
from train.config import ModelConfig, TrainConfig
from train.examples import Encoder
from train.recipe import recipe_of
from train.runs.run_folder import SavedRun
from train.texts.shard_texts import text_length, text_tokenizer


@dataclass(frozen=True)
class Setup:
    """Everything that a run needs except its parameters.

    Attributes:
        config: the configuration, as given.
        model: the model's shapes; those that the configuration leaves to the shards are filled in.
        reader: reads the shards.
        encoder: makes examples of their rows.
        batcher: makes batches of examples.
        weights: number of rows of each source of the kinds to train on; None if these are all sources.
    """

    config: TrainConfig
    model: ModelConfig
    reader: ShardReader
    encoder: Encoder
    batcher: Batcher
    weights: dict[str, float] | None

    @property
    def wrist(self) -> tuple[bool, ...]:
        """Whether each camera slot is a wrist camera."""
        return tuple(slot.startswith("wrist") for slot in self.encoder.slots)

    @property
    def lacking(self) -> str:
        """A message about kinds of rows that the run wants and the shards lack, and what that means; "" if none is missing."""
        kinds, there = self.config.data.kinds, {s.kind for s in self.reader.manifest.sources.values() if s.written}
        if "robot" in kinds and "robot" not in there:
            return (
                f"note: {self.config.shards} contains no robot rows: this run learns no actions (--preset vlm says so)"
            )
        if set(kinds) > {"robot"} and there == {"robot"}:
            return (
                f"note: {self.config.shards} contains no questions or captions, which --preset {self.config.preset} would "
                "train on, too: nothing keeps what the backbone knows; build a mixture with some (docs/vlm.md), or train with a "
                "preset that needs none, such as pi0_fast or ki_no_vlm"
            )
        return ""

    def for_step(self, batch: NumpyBatch) -> NumpyBatch:
        """Removes `loss_mask` from a batch in which no row has a text loss, so that the step does no work for this loss.

        Several processes must run the same program, so for them the configuration alone decides, and not the rows.

        Args:
            batch: this process's rows.
        """
        data, text = self.config.data, bool(batch["loss_mask"].any())
        if jax.process_count() > 1:
            text = set(data.kinds) != {"robot"} or data.discrete != "none" or data.subtasks > 0
        return batch if text else {name: value for name, value in batch.items() if name != "loss_mask"}

    @property
    def resolved(self) -> TrainConfig:
        """The configuration as it is saved: everything that it leaves to the shards is filled in."""
        data = dataclasses.replace(self.config.data, text_length=self.batcher.length)
        return dataclasses.replace(self.config, model=self.model, data=data)

    @property
    def saved(self) -> SavedRun:
        """The part of this setup that is saved in the run's folder."""
        return SavedRun(self.resolved, self.encoder.text, self.encoder.tok, self.encoder.robots)


def prepare(config: TrainConfig) -> Setup:
    """Opens the shards and fills in what the configuration leaves to them: vocabulary, horizon, dims, cameras, text length.

    Raises:
        InputError: the shards are not usable, contain none of the kinds of rows, or do not fit the model; or the recipe does not
            work with the other settings.
    """
    recipe_of(config.model).check(config)
    reader, kinds = ShardReader(as_typed(config.shards)), config.data.kinds
    rows = {name: source.written for name, source in reader.manifest.sources.items()}
    chosen = {n: float(rows[n]) for n, s in reader.manifest.sources.items() if s.kind in kinds and rows[n]}
    if not chosen:
        raise InputError(
            f"{config.shards} contains no rows of kind {', '.join(kinds)}; choose others with --data.kinds"
        )
    text = text_tokenizer(config, reader)
    tok = action_tokenizer(reader, config.data.tokenizer)
    robots = Robots.of(reader.manifest, kinds).with_formats(reader)
    if config.data.tokenizer is not None:
        check_action_forms(robots, tok, config.data.tokenizer)
    encoder = Encoder(robots, text, config.model, config.data, tok)
    rtc.check(config, encoder.robots)
    length = text_length(config.data.text_length, reader, encoder, kinds)
    needed = {
        "vocab_size": encoder.placement.size,
        "horizon": encoder.horizon,
        "action_dim": encoder.action_dim,
        "cameras": len(encoder.slots),
        **({"state_dim": encoder.state_dim} if config.model.state_token else {}),
    }
    for name, value in needed.items():
        asked = getattr(config.model, name)
        if asked and (asked != value if name == "cameras" else asked < value):
            raise InputError(
                f"--model.{name.replace('_', '-')} is {asked}, the shards need {value}; leave it 0 to take it from them"
            )
    if config.model.state_token and not encoder.state_dim:
        raise InputError(f"{config.shards} contains no states; use --model.state text")
    given = config.model
    shaped = dataclasses.replace(
        given,
        vocab_size=given.vocab_size or needed["vocab_size"],
        horizon=given.horizon or needed["horizon"],
        action_dim=given.action_dim or needed["action_dim"],
        cameras=given.cameras or needed["cameras"],
        state_dim=given.state_dim or needed.get("state_dim", 0),
    )
    weights = None if len(chosen) == sum(n > 0 for n in rows.values()) else chosen
    batcher = Batcher(shaped, encoder.slots, length, text.pad, config.data.resize, config.data.held_steps)
    return Setup(config, shaped, reader, encoder, batcher, weights)
