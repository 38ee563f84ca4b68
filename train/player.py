"""A trained run, loaded to act and to answer."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, unknown_name
from train import policy
from train.batches import Batcher, NumpyBatch
from train.checkpoint import load_params
from train.config import ModelConfig
from train.examples import Encoder, Example
from train.measurements import Decoding
from train.observations import images_of, state_of
from train.params import Params
from train.robots import Robot
from train.rollouts import Observation
from train.run_folder import SavedRun
from train.tokens import text_prompt

ANSWER_TOKENS = 12


@dataclass(eq=False)
class Player:
    """A run's parameters and tokenizers.

    Use (tests/train/test_player.py runs it):

        player = Player.load(Path("RUN"))    # the folder alone: neither shards nor the folder that it was trained in
        player.embodiments                   # -> ['planar', 'arm']
        player.horizon("planar")             # -> 10
        player.robot("planar").cameras       # -> ('primary',)
        seen = {"image/primary": np.zeros((64, 64, 3), np.uint8), "state": np.zeros(3, np.float32)}
        [chunk] = player.act("planar", ["push the red circle"], [seen])
        chunk.shape                          # -> (10, 3)

    Attributes:
        config: the model's shapes.
        params: the moving average if the run keeps one, else those of the last step.
        encoder: makes examples of what the robot sees.
        batcher: makes batches of examples.
        step: of the checkpoint.
        flow_steps: of Euler.
        batch: rows of every call, so that each shape compiles once: 1 for one robot, more for many side by side.
        key: draws the noise of flow sampling.
        rng: draws action tokens.
        temperature: of action tokens; 0 takes the likeliest ones, 1 samples as the flow does. A greedy policy stands still where
            demonstrators sometimes pause.
    """

    config: ModelConfig
    params: Params
    encoder: Encoder
    batcher: Batcher
    step: int
    flow_steps: int
    batch: int
    key: jax.Array
    rng: np.random.Generator
    temperature: float = 0.0

    @classmethod
    def load(
        cls,
        run: Path,
        flow_steps: int = 10,
        batch: int = 1,
        seed: int = 0,
        step: int | Literal["best"] | None = None,
        temperature: float = 0.0,
        shards: Path | None = None,
    ) -> "Player":
        """Loads a checkpoint of a run.

        Args:
            run: folder of `fasttok-train`.
            flow_steps: of Euler.
            batch: rows of every call.
            seed: of noise and of sampled tokens.
            step: of the checkpoint; None: the newest; "best": the one that `--keep-best` kept.
            temperature: of action tokens.
            shards: that a run without robots.json was trained on; None: where its config.json says. Other runs need none.

        Raises:
            InputError: not a run, no checkpoint, or a file in it is damaged.
        """
        config, params, step = load_params(run, step)
        saved = SavedRun.load(run, shards)
        encoder = Encoder(saved.robots, saved.text, config.model, config.data, saved.tok)
        batcher = Batcher(config.model, encoder.slots, config.data.text_length, saved.text.pad, config.data.resize)
        return cls(
            config.model, params, encoder, batcher, step, flow_steps, batch, jax.random.key(seed), np.random.default_rng(seed),
            temperature,
        )  # fmt: skip

    @property
    def embodiments(self) -> list[str]:
        """Embodiments that the run was trained on, in the order of its shards."""
        return list(dict.fromkeys(robot.embodiment for robot in self.encoder.robots.robots.values()))

    def robot(self, embodiment: str) -> Robot:
        """An embodiment: the first source of it, with the cameras of all.

        Raises:
            InputError: the run was not trained on it.
        """
        known = [robot for robot in self.encoder.robots.robots.values() if robot.embodiment == embodiment]
        if not known:
            raise InputError(
                f"the run was not trained on embodiment {embodiment!r}; it knows {', '.join(self.embodiments)}"
            )
        slots = tuple(slot for slot in self.encoder.slots if any(slot in robot.cameras for robot in known))
        return dataclasses.replace(known[0], cameras=slots)

    def horizon(self, embodiment: str) -> int:
        """Steps of an embodiment's chunk."""
        return self.robot(embodiment).horizon

    def act(
        self,
        embodiment: str,
        tasks: Sequence[str],
        observations: Sequence[Observation],
        decode: Decoding = "flow",
    ) -> NDArray[np.float32]:
        """Chunks for n instructions and observations.

        Args:
            embodiment: whose robot acts.
            tasks: n instructions.
            observations: n of them: "image/<slot>" (h, w, 3) uint8 in RGB for each camera that is there, and "state" (S,) in
                raw units.
            decode: "flow" samples the expert; "tokens" decodes the backbone's action tokens, of which only those that make
                exactly one chunk are allowed.

        Returns:
            (n, horizon, D) in raw units.

        Raises:
            InputError: the run was not trained for it, or an observation is not the robot's.
        """
        robot = self.robot(embodiment)
        lists = not isinstance(tasks, str) and not isinstance(observations, Mapping)
        if not lists or len(tasks) != len(observations) or not all(isinstance(task, str) for task in tasks):
            raise InputError(
                f"act takes n instructions and n observations, got {_count(tasks)} and {_count(observations)}; expected two "
                'lists of one length, such as ["push the red circle"], [seen]'
            )
        if decode not in get_args(Decoding):
            raise unknown_name("way to decode", decode, get_args(Decoding))
        calls = [slice(i, i + self.batch) for i in range(0, len(tasks), self.batch)]
        chunks = [self._act(robot, tasks[rows], observations[rows], decode) for rows in calls]
        return np.concatenate([np.zeros((0, robot.horizon, robot_dim(robot)), np.float32), *chunks])

    def _act(
        self, robot: Robot, tasks: Sequence[str], observations: Sequence[Observation], decode: Decoding
    ) -> NDArray[np.float32]:
        examples, states = [], np.stack([state_of(seen, robot) for seen in observations])
        for task, seen, known in zip(tasks, observations, states, strict=True):
            prefix, state = self.encoder.robot_prefix(robot.embodiment, task, known)
            images: dict[str, bytes | NDArray[np.uint8]] = {**images_of(seen, robot)}
            examples.append(Example(images, prefix, [], True, horizon=robot.horizon, dim=robot.action_dim, state=state))
        raw = self.predict(examples, robot.embodiment, decode)
        if robot.representation is None:
            return raw
        represent = robot.representation
        return represent.restore(raw, represent.state(states, np.zeros((len(states), robot_dim(robot)))))

    def predict(self, examples: list[Example], embodiment: str, decode: Decoding = "flow") -> NDArray[np.float32]:
        """Chunks in the units of the shards.

        Args:
            examples: n without a suffix, `batch` at most.
            embodiment: of all of them.
            decode: as in `act`.

        Returns:
            (n, horizon, D).

        Raises:
            InputError: the run was not trained for that.
        """
        return self._flow(examples, embodiment) if decode == "flow" else self._tokens(examples, embodiment)

    def _flow(self, examples: list[Example], embodiment: str) -> NDArray[np.float32]:
        if not self.config.flow:
            raise InputError(
                "this run has no action expert (model.flow is False); act by tokens (--decode tokens), or train with --preset ki"
            )
        self.key, key = jax.random.split(self.key)
        chunks = np.asarray(
            policy.sample_actions(self.params, self.config, self._batch(examples), key, self.flow_steps)
        )
        chunks = chunks[: len(examples), : examples[0].horizon, : examples[0].dim]
        return self.encoder.tok.stats[embodiment].unnormalize(chunks)

    def _tokens(self, examples: list[Example], embodiment: str) -> NDArray[np.float32]:
        encoder, horizon, dim = self.encoder, examples[0].horizon, examples[0].dim
        if encoder.data.discrete == "none" or "robot" not in encoder.data.kinds:
            raise InputError(
                "this run predicts no action tokens; act by flow (--decode flow), or train with --preset ki"
            )
        count = encoder.action_count(horizon, dim)
        every = encoder.placement.place(np.arange(encoder.placement.action_vocab))

        def allowed(_: int, so_far: list[int]) -> NDArray[np.int64]:
            if count is not None:
                return np.sort(every) if len(so_far) < count else every[:0]
            ids = encoder.placement.ids_of(so_far)
            return np.sort(encoder.placement.place(encoder.tok.allowed_next(ids, horizon=horizon, action_dim=dim)))

        most = count if count is not None else horizon * dim
        rows = policy.generate(
            self.params, self.config, self._batch(examples), most, encoder.text.eos, allowed, self.temperature, self.rng
        )
        return np.stack([encoder.chunk(ids, embodiment, horizon, dim)[0] for ids in rows[: len(examples)]])

    def answer(self, prompts: list[str], images: list[bytes]) -> list[str]:
        """Greedy answers to prompts about images.

        Args:
            prompts: n questions.
            images: an encoded image for each.

        Raises:
            InputError: the run sees no images.
        """
        if not self.encoder.slots:
            raise InputError("this run was trained on shards without images, so it answers no questions about them")
        calls = [slice(i, i + self.batch) for i in range(0, len(prompts), self.batch)]
        return [answer for rows in calls for answer in self._answer(prompts[rows], images[rows])]

    def _answer(self, prompts: list[str], images: list[bytes]) -> list[str]:
        text, slot = self.encoder.text, self.encoder.slots[0]
        examples = [
            Example({slot: image}, self.encoder.prefix(text_prompt(prompt)), [])
            for prompt, image in zip(prompts, images, strict=True)
        ]
        rows = policy.generate(self.params, self.config, self._batch(examples), ANSWER_TOKENS, text.eos)
        is_text = self.encoder.placement.is_text
        return [text.decode(np.array(ids, np.int64)[is_text(ids)].tolist()).strip() for ids in rows[: len(examples)]]

    def _batch(self, examples: list[Example]) -> NumpyBatch:
        return self.batcher(examples + [examples[-1]] * (self.batch - len(examples)))


def robot_dim(robot: Robot) -> int:
    """Columns of what the robot takes, which may be others than those of its represented actions."""
    represent = robot.representation
    return robot.action_dim if represent is None else sum(piece.width for piece in represent.pieces)


def _count(given: object) -> str:
    """How a message counts instructions or observations."""
    return f"{len(given)}" if isinstance(given, list | tuple) else f"one {type(given).__name__}"
