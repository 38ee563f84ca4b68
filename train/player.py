"""Loads a trained run, which then acts and answers questions."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fasttok.common.locations import has_locations
from fasttok.errors import InputError, unknown_name
from train import policy
from train.acting import rtc
from train.acting.observations import images_of, say_once, state_of
from train.acting.robots import Robot, acting_notes
from train.acting.rows import ActingRow
from train.acting.sampling_numbers import check_noise_seed, check_sampling
from train.batches import Batcher, NumpyBatch, decode_image
from train.config import ModelConfig
from train.examples import Encoder, Example
from train.judging.measurements import Decoding
from train.params import Params
from train.rollouts import Observation
from train.runs.checkpoint import load_params
from train.runs.run_folder import SavedRun

logger = logging.getLogger(__name__)
ANSWER_TOKENS = 12
SUBTASK_TOKENS = 48


@dataclass(eq=False)
class Player:
    """A trained run that predicts chunks of actions, subtasks and answers.

    Use (tests/train/test_player.py runs it):

        player = Player.load(Path("RUN"))    # needs only this folder, not the shards; it may have moved
        player.embodiments                   # -> ['planar', 'arm']
        player.horizon("planar")             # -> 10
        player.robot("planar").cameras       # -> ('primary',)
        seen = {"image/primary": np.zeros((64, 64, 3), np.uint8), "state": np.zeros(3, np.float32)}
        [chunk] = player.act("planar", ["push the red circle"], [seen])
        chunk.shape                          # -> (10, 3)

    Attributes:
        config: the model's shapes.
        params: the moving average of the parameters if the run keeps one, else the parameters of the checkpoint's step.
        encoder: makes examples of what the robot sees.
        batcher: makes batches of examples.
        step: step of the checkpoint.
        flow_steps: number of Euler steps of flow sampling.
        batch: rows per call; smaller calls are filled up, so that each shape compiles once. 1 for one robot, more for many robots
            side by side.
        key: draws the noise of flow sampling.
        rng: draws action tokens.
        temperature: temperature of action tokens: 0 takes the likeliest ones, 1 samples, as the flow does. With 0, a policy stays
            still in situations in which demonstrators sometimes pause.
        rtc_delay: largest number of given actions that the run was trained with (`--rtc-delay`); 0: none.
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
    rtc_delay: int = 0

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
            run: folder of a run of `fasttok-train`.
            flow_steps: number of Euler steps of flow sampling.
            batch: rows per call.
            seed: seed of noise and of sampled tokens.
            step: step of the checkpoint; None: the newest one; "best": the one that `--keep-best` kept.
            temperature: temperature of action tokens.
            shards: shards that the run was trained on, if it has no robots.json; None: those that its config.json names. Other
                runs need no shards.

        Raises:
            InputError: `run` is no run, has no such checkpoint, or has a damaged file; or a number is out of range.
        """
        check_sampling(flow_steps, batch, temperature)
        check_noise_seed(seed, "seed")
        config, params, step = load_params(run, step)
        saved = SavedRun.load(run, shards)
        for note in acting_notes(saved.robots) if "robot" in config.data.kinds else ():
            logger.warning(note)
        encoder = Encoder(saved.robots, saved.text, config.model, config.data, saved.tok)
        batcher = Batcher(config.model, encoder.slots, config.data.text_length, saved.text.pad, config.data.resize)
        return cls(
            config.model, params, encoder, batcher, step, flow_steps, batch, jax.random.key(seed), np.random.default_rng(seed),
            temperature, config.rtc_delay,
        )  # fmt: skip

    @property
    def embodiments(self) -> list[str]:
        """Embodiments that the run was trained on, in the order of its shards."""
        return list(dict.fromkeys(robot.embodiment for robot in self.encoder.robots.robots.values()))

    def robot(self, embodiment: str) -> Robot:
        """Returns the robot of an embodiment: that of its first source, with the cameras of all its sources.

        Raises:
            InputError: the run was not trained on this embodiment.
        """
        known = [robot for robot in self.encoder.robots.robots.values() if robot.embodiment == embodiment]
        if not known:
            raise InputError(
                f"the run was not trained on embodiment {embodiment!r}; it knows {', '.join(self.embodiments)}"
            )
        slots = tuple(slot for slot in self.encoder.slots if any(slot in robot.cameras for robot in known))
        return dataclasses.replace(known[0], cameras=slots)

    def horizon(self, embodiment: str) -> int:
        """Returns the number of steps in a chunk of an embodiment."""
        return self.robot(embodiment).horizon

    def act(
        self,
        embodiment: str,
        tasks: Sequence[str],
        observations: Sequence[Observation],
        decode: Decoding = "flow",
        prefix: Sequence[NDArray[np.generic]] | None = None,
        delay: int = 0,
        subtasks: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Predicts chunks for n instructions and observations.

        With `prefix` it acts in real time: the robot goes on with its last chunk while the next one is computed, and the next one
        continues the last one. A run with `--rtc-delay` gets the first `delay` steps of the prefix as an input. Any other run
        with an expert is steered towards the whole prefix, less towards its later steps, at two to three times the cost
        (`train.acting.rtc`).

        Args:
            embodiment: embodiment of the robots.
            tasks: n instructions.
            observations: n observations: "image/<slot>" for each camera that is present, (h, w, 3) uint8 in RGB or the bytes of
                an encoded image; and "state" (S,) in raw units.
            decode: "flow" samples from the expert, or from what the recipe has instead; "tokens" decodes the action tokens of the
                backbone, and allows only tokens that make exactly one chunk.
            prefix: n arrays (L, D) in raw units: the remaining actions of the chunks being executed, from the moment of the
                observations on.
            delay: number of steps of the prefix that the robot will execute before the new chunk is ready.
            subtasks: n subtasks to act on, such as those of `say`; "" for none.

        Returns:
            (n, horizon, D) in raw units, from the moment of the observations on; with a prefix, the first `delay` steps are those
            of the prefix.

        Raises:
            InputError: the run was not trained to act in this way, or an observation does not fit the robot.
        """
        robot = self.robot(embodiment)
        check_restores(robot)
        _check_lists("act", tasks, observations)
        told = self._told(subtasks, len(tasks))
        if decode not in get_args(Decoding):
            raise unknown_name("way to decode", decode, get_args(Decoding))
        known = self._prefix(robot, prefix, len(tasks), delay, decode)
        self.warn_without_subtask(embodiment, told)
        chunks = []
        for first in range(0, len(tasks), self.batch):
            numbers = range(first, min(first + self.batch, len(tasks)))
            rows = [
                dataclasses.replace(
                    self._seen(robot, tasks[i], observations[i]),
                    subtask=told[i],
                    prefix=None if known is None else known[i],
                    delay=delay,
                )
                for i in numbers
            ]
            chunks.append(self.act_rows(rows, decode))
        return np.concatenate([np.zeros((0, robot.horizon, robot_dim(robot)), np.float32), *chunks])

    def row(
        self,
        embodiment: str,
        task: str,
        observation: Observation,
        decode: Decoding = "flow",
        prefix: NDArray[np.generic] | None = None,
        delay: int = 0,
        subtask: str = "",
    ) -> ActingRow:
        """Makes one row for `act_rows`, and refuses everything that `act` would refuse.

        Args:
            embodiment: embodiment of the robot.
            task: the instruction.
            observation: one observation, as in `act`.
            decode: as in `act`.
            prefix: one prefix (L, D) in raw units, as in `act`.
            delay: as in `act`.
            subtask: one subtask, as in `act`.

        Raises:
            InputError: as in `act`; or the instruction is too long for this run.
        """
        robot = self.robot(embodiment)
        check_restores(robot)
        _check_lists("row", [task], [observation])
        self.check_decode(decode)
        self._told([subtask], 1)
        known = self._prefix(robot, None if prefix is None else [prefix], 1, delay, decode)
        row = dataclasses.replace(
            self._seen(robot, task, observation),
            subtask=subtask,
            prefix=None if known is None else known[0],
            delay=delay,
        )
        self.check_room(row)
        return row

    def check_room(self, row: ActingRow, ask: Literal["Action", "Subtask"] = "Action") -> None:
        """Checks that a row is short enough for the model.

        Args:
            row: what the model reads.
            ask: what the model does next: act, or say a subtask.

        Raises:
            InputError: the row has more tokens than this run allows.
        """
        self.batcher.check_length(self._example(row, ask))

    def act_rows(
        self, rows: Sequence[ActingRow], decode: Decoding = "flow", rngs: Sequence[np.random.Generator] | None = None
    ) -> NDArray[np.float32]:
        """Predicts chunks for rows that were checked before, such as those of `row`.

        Args:
            rows: 1 to `batch` rows of one embodiment, all with a prefix or all without.
            decode: as in `act`.
            rngs: one generator for each row, which draws the row's noise and sampled tokens, so that its chunk does not depend on
                the other rows (except for rounding); None: the player's own.

        Returns:
            As in `act`.

        Raises:
            InputError: the run was not trained to act in this way.
        """
        robot = rows[0].robot
        states = np.stack([row.state for row in rows])
        represent = robot.representation
        reference = None if represent is None else represent.state(states, np.zeros((len(states), robot_dim(robot))))
        left = None if rows[0].prefix is None else self._remaining(robot, rows, reference)
        raw = self.predict([self._example(row) for row in rows], robot.embodiment, decode, left, rngs)
        chunks = raw if represent is None or reference is None else represent.restore(raw, reference)
        for chunk, row in zip(chunks, rows, strict=True):
            if row.prefix is not None:  # to the bit: normalising and back rounds, and guidance only comes close
                chunk[: row.delay] = row.prefix[: row.delay]
        return chunks

    def _seen(self, robot: Robot, task: str, observation: Observation) -> ActingRow:
        """Checks an instruction and an observation, and returns them as a row.

        A build of shards changed the spaces of each instruction, and filled a template of the mixture with it. So does this.
        """
        state, size, resize = state_of(observation, robot), self.config.image_size, self.batcher.resize
        images = {slot: decode_image(data, size, resize) for slot, data in images_of(observation, robot).items()}
        return ActingRow(robot, robot.worded(" ".join(task.split())), state, images)

    def _example(self, row: ActingRow, ask: Literal["Action", "Subtask"] = "Action") -> Example:
        """Returns what the model reads before it acts or says a subtask.

        If a subtask is too long for the row, its last words are left out.
        """
        robot, subtask = row.robot, row.subtask if ask == "Action" else ""
        read, state = self.encoder.robot_prefix(robot.embodiment, row.task, row.state, subtask, ask)
        while subtask and len(read) > self.batcher.length:
            subtask = subtask.rpartition(" ")[0]
            read, state = self.encoder.robot_prefix(robot.embodiment, row.task, row.state, subtask, ask)
        return Example(
            {**row.images}, read, [], ask == "Action", horizon=robot.horizon, dim=robot.action_dim, state=state
        )  # fmt: skip

    @property
    def usual_decode(self) -> Decoding:
        """How actions are predicted if nobody says how: by flow, or by tokens if the run has no action expert."""
        return "flow" if self.config.flow else "tokens"

    def check_decode(self, decode: Decoding) -> None:
        """Checks that the run can act in the way that `decode` names.

        Raises:
            InputError: the run was not trained for it, or there is no such way.
        """
        if decode not in get_args(Decoding):
            raise unknown_name("way to decode", decode, get_args(Decoding))
        if decode == "flow" and not self.config.flow:
            raise InputError(
                "this run has no action expert (model.flow is False); act by tokens (--decode tokens), or train with --preset ki"
            )
        if decode == "tokens" and (self.encoder.data.discrete == "none" or "robot" not in self.encoder.data.kinds):
            raise InputError(
                "this run predicts no action tokens; act by flow (--decode flow), or train with --preset ki"
            )
        if decode == "tokens" and (lacking := self.encoder.left_out):
            raise InputError(
                f"this run's tokenizer leaves grippers out (fasttok fit --gripper omit), so tokens of {', '.join(lacking)} are "
                "no whole actions; act by flow (--decode flow), or train with a tokenizer of --gripper keep"
            )

    def _told(self, subtasks: Sequence[str] | None, rows: int) -> Sequence[str]:
        """Returns a subtask for each row, "" for none.

        Raises:
            InputError: there is not one subtask per row, or the run never acted on a subtask in training.
        """
        if subtasks is None:
            return [""] * rows
        if isinstance(subtasks, str) or len(subtasks) != rows or not all(isinstance(text, str) for text in subtasks):
            raise InputError(f"act takes a subtask for each of {rows} instructions, got {_count(subtasks)}")
        if any(subtasks):
            self.check_follows()
        return subtasks

    def check_follows(self) -> None:
        """Checks that the run can act on a subtask.

        Raises:
            InputError: the run never did so in training.
        """
        if not (self._has_subtasks and self.encoder.data.subtasks < 1):
            raise InputError(f"this run was not trained to act on a subtask: {self._why_none}; leave subtasks out")

    def warn_without_subtask(self, embodiment: str, told: Sequence[str]) -> None:
        """Warns once if an embodiment acts without a subtask, although every prompt for its actions in training had one."""
        mine = [robot for robot in self.encoder.robots.robots.values() if robot.embodiment == embodiment]
        if all(told) or self.encoder.data.subtasks >= 1 or not all(robot.subtask for robot in mine):
            return
        how = (
            'let the run say one (--subtasks N, "fasttok/subtask": "say", Player.say), or give one'
            if self.says
            else "give one"
        )
        say_once(f"{embodiment} acts without a subtask, and each prompt for its actions in training had one; {how}")

    def say(self, embodiment: str, tasks: Sequence[str], observations: Sequence[Observation]) -> list[str]:
        """Predicts the subtasks to do next; `act(..., subtasks=...)` acts on them, for one chunk or several.

            said = player.say("arm", ["clear the table"], [seen])
            for _ in range(4):  # each time with a new observation
                [chunk] = player.act("arm", ["clear the table"], [seen], subtasks=said)

        Args:
            embodiment: embodiment of the robots.
            tasks: n instructions.
            observations: n observations, as in `act`.

        Returns:
            The likeliest text for each; "" if the run says nothing.

        Raises:
            InputError: the run was not trained on rows that predict a subtask, or an observation does not fit the robot.
        """
        robot = self.robot(embodiment)
        _check_lists("say", tasks, observations)
        self.check_says()
        calls = [slice(i, i + self.batch) for i in range(0, len(tasks), self.batch)]
        return [
            text
            for rows in calls
            for text in self.say_rows(
                [self._seen(robot, task, seen) for task, seen in zip(tasks[rows], observations[rows], strict=True)]
            )
        ]

    def say_rows(self, rows: Sequence[ActingRow]) -> list[str]:
        """Predicts the subtask for each of 1 to `batch` rows, as `say` does."""
        return self._generated([self._example(row, "Subtask") for row in rows], SUBTASK_TOKENS)

    @property
    def says(self) -> bool:
        """Whether the run was trained on rows that predict a subtask."""
        return self._has_subtasks and self.encoder.data.subtasks > 0

    def check_says(self) -> None:
        """Checks that the run can predict a subtask.

        Raises:
            InputError: the run was not trained on rows that predict a subtask.
        """
        if not self.says:
            raise InputError(
                f"this run was not trained to say a subtask: {self._why_none}; train on shards of a mixture with `subtask: true`"
            )

    @property
    def _has_subtasks(self) -> bool:
        """Whether rows of the shards had a subtask."""
        robots = self.encoder.robots.robots.values()
        return "robot" in self.encoder.data.kinds and any(robot.subtask for robot in robots)

    @property
    def _why_none(self) -> str:
        if not self._has_subtasks:
            return "its shards have none"
        return f"--data.subtasks was {self.encoder.data.subtasks:g}, the share of rows that predict it and do not act"

    def _prefix(
        self, robot: Robot, prefix: Sequence[NDArray[np.generic]] | None, rows: int, delay: int, decode: Decoding
    ) -> list[NDArray[np.float32]] | None:
        """Checks and returns the remaining actions of the chunks being executed.

        Raises:
            InputError: they do not fit the robot, or the run cannot continue them.
        """
        if prefix is None:
            if delay:
                raise InputError(f"delay is {delay} without a prefix; give what is left of the chunk being executed")
            return None
        if decode != "flow" or not rtc.supported(self.config):
            raise InputError(
                "only a run with an action expert that acts by flow (--preset ki, decode flow) continues a prefix; leave it out"
            )
        if self.rtc_delay and delay > self.rtc_delay:
            raise InputError(
                f"delay is {delay}, but the run was trained with --rtc-delay {self.rtc_delay}; expected at most that, or a run "
                "that was trained with more"
            )
        return rtc.checked_prefix(prefix, rows, delay, robot.horizon, robot_dim(robot))

    def _remaining(
        self, robot: Robot, rows: Sequence[ActingRow], reference: NDArray[np.float64] | None
    ) -> rtc.Remaining:
        """Returns the remaining actions of the chunks being executed in the form that the model learned.

        They are represented with the new `reference`, and normalised.

        Copies of the last row fill up the batch here, in numpy; JAX would compile the filling for each number of rows.
        """
        last = np.zeros((len(rows), self.config.horizon, self.config.action_dim), np.float32)
        length = np.zeros(len(rows), np.int32)
        for i, row in enumerate(rows):
            actions: NDArray[np.floating[Any]] = row.prefix if row.prefix is not None else last[i, :0]
            length[i] = len(actions)
            if robot.representation is not None and reference is not None:
                actions = robot.representation(actions[None], reference[i : i + 1])[0]
            last[i, : len(actions), : robot.action_dim] = self.encoder.tok.stats[robot.embodiment].normalize(actions)
        delay = np.array([row.delay for row in rows], np.int32)
        every = np.minimum(np.arange(self.batch), len(rows) - 1)
        return rtc.Remaining(jnp.asarray(last[every]), jnp.asarray(length[every]), jnp.asarray(delay[every]))

    def predict(
        self,
        examples: list[Example],
        embodiment: str,
        decode: Decoding = "flow",
        left: rtc.Remaining | None = None,
        rngs: Sequence[np.random.Generator] | None = None,
    ) -> NDArray[np.float32]:
        """Predicts chunks in the units of the shards.

        Args:
            examples: n examples without a suffix, at most `batch`, all with the same horizon.
            embodiment: embodiment of all examples.
            decode: as in `act`.
            left: remaining actions of the chunks being executed, for `batch` rows, which the new chunks continue; only by flow.
            rngs: as in `act_rows`.

        Returns:
            (n, horizon, D).

        Raises:
            InputError: the run was not trained to act in this way, or the examples have several horizons.
        """
        self.check_decode(decode)
        if len(horizons := dict.fromkeys(example.horizon for example in examples)) > 1:
            raise InputError(
                f"the examples have chunks of {', '.join(map(str, horizons))} steps, expected one length; predict those of each "
                "length by themselves"
            )
        if decode == "flow":
            return self._flow(examples, embodiment, left, rngs)
        return self._tokens(examples, embodiment, rngs)

    def _flow(
        self,
        examples: list[Example],
        embodiment: str,
        left: rtc.Remaining | None,
        rngs: Sequence[np.random.Generator] | None,
    ) -> NDArray[np.float32]:
        rows, noise, key = self._batch(examples), None, self.key
        if rngs is None:
            self.key, key = jax.random.split(self.key)
        else:
            shape = (self.config.horizon, self.config.action_dim)
            own = [rng.standard_normal(shape, np.float32) for rng in rngs]
            noise = jnp.asarray(np.stack(own + own[-1:] * (self.batch - len(own))))
        if left is None:
            sampled = policy.sample_actions(self.params, self.config, rows, key, self.flow_steps, noise)
        else:
            trained = self.rtc_delay > 0
            sampled = rtc.continue_actions(
                self.params,
                self.config,
                rows,
                key,
                left,
                steps=self.flow_steps,
                trained=trained,
                noise=noise,
            )
        chunks = np.asarray(sampled)[: len(examples), : examples[0].horizon, : examples[0].dim]
        return self.encoder.tok.stats[embodiment].unnormalize(chunks)

    def _tokens(
        self, examples: list[Example], embodiment: str, rngs: Sequence[np.random.Generator] | None
    ) -> NDArray[np.float32]:
        encoder, horizon, dim = self.encoder, examples[0].horizon, examples[0].dim
        count, named = encoder.action_count(horizon, dim), encoder.tok.embodiment_argument(embodiment)
        every = encoder.placement.place(np.arange(encoder.placement.action_vocab))

        def allowed(_: int, so_far: list[int]) -> NDArray[np.int64]:
            if count is not None:
                return np.sort(every) if len(so_far) < count else every[:0]
            ids = encoder.placement.ids_of(so_far)
            following = encoder.tok.allowed_next(ids, horizon=horizon, action_dim=dim, embodiment=named)
            return np.sort(encoder.placement.place(following))

        most = encoder.most_tokens(embodiment, horizon, dim)
        draws: np.random.Generator | Sequence[np.random.Generator] = self.rng
        if rngs is not None:  # rows that fill the batch must not draw from the others' generators
            draws = [*rngs, *[np.random.default_rng(0) for _ in range(self.batch - len(rngs))]]
        rows = policy.generate(
            self.params, self.config, self._batch(examples), most, encoder.text.eos, allowed, self.temperature, draws
        )
        return np.stack([encoder.chunk(ids, embodiment, horizon, dim)[0] for ids in rows[: len(examples)]])

    def answer(
        self, prompts: list[str], images: list[bytes], most: int = ANSWER_TOKENS, located: Sequence[bool] | None = None
    ) -> list[str]:
        """Answers prompts about images greedily.

        Args:
            prompts: n questions.
            images: an encoded image for each.
            most: maximum number of tokens of an answer; longer ones are cut.
            located: n bools, whether the answer names places as PaliGemma does, `<loc0123>`: its image is then stretched, as in
                training. None: as each prompt shows, such as `detect cat`.

        Raises:
            InputError: the run sees no images.
        """
        if not self.encoder.slots:
            raise InputError("this run was trained on shards without images, so it answers no questions about them")
        slot, places = self.encoder.slots[0], located or [has_locations(prompt) for prompt in prompts]
        examples = [
            self.encoder.question(prompt, {slot: image}, place)
            for prompt, image, place in zip(prompts, images, places, strict=True)
        ]
        calls = [examples[i : i + self.batch] for i in range(0, len(examples), self.batch)]
        return [answer for some in calls for answer in self._generated(some, most)]

    def _generated(self, examples: list[Example], most: int) -> list[str]:
        """Generates text greedily after each example's prefix, with at most `most` tokens."""
        text, is_text = self.encoder.text, self.encoder.placement.is_text
        rows = policy.generate(self.params, self.config, self._batch(examples), most, text.eos)
        return [text.decode(np.array(ids, np.int64)[is_text(ids)].tolist()).strip() for ids in rows[: len(examples)]]

    def _batch(self, examples: list[Example]) -> NumpyBatch:
        return self.batcher(examples + [examples[-1]] * (self.batch - len(examples)))


def robot_dim(robot: Robot) -> int:
    """Returns the number of dimensions of the robot's own actions; represented actions may have another number."""
    represent = robot.representation
    return robot.action_dim if represent is None else sum(piece.width for piece in represent.pieces)


def check_restores(robot: Robot) -> None:
    """Checks that the robot's state tells from where its actions go on.

    Raises:
        InputError: actions are differences to positions that the state does not have.
    """
    if robot.representation is not None and (lost := robot.representation.lost):
        raise InputError(
            f"{robot.embodiment} learned differences to the action before (form: {robot.representation.form}), and its state "
            f"does not have action dims {', '.join(map(str, lost))}, so nothing says where they begin and nobody can act on "
            "them. Name the state in the dataset's entry (`state:`) or use form: stored, then build the shards and train again"
        )


def _check_lists(what: str, tasks: Sequence[str], observations: Sequence[Observation]) -> None:
    """Raises InputError unless the two are a list of n instructions and a list of n observations."""
    lists = not isinstance(tasks, str) and not isinstance(observations, Mapping)
    if not lists or len(tasks) != len(observations) or not all(isinstance(task, str) for task in tasks):
        raise InputError(
            f"{what} takes n instructions and n observations, got {_count(tasks)} and {_count(observations)}; expected two "
            'lists of one length, such as ["push the red circle"], [seen]'
        )


def _count(given: object) -> str:
    """Returns how a message counts instructions or observations."""
    return f"{len(given)}" if isinstance(given, list | tuple) else f"one {type(given).__name__}"
