"""A trained run, loaded to act and to answer."""

import io
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.console import track
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from train import model, policy
from train.checkpoint import load_params
from train.config import ModelConfig
from train.data import Batcher
from train.examples import Encoder, Example
from train.measurements import VqaResult
from train.rollouts import Observation
from train.run_folder import SavedRun
from train.tokens import text_prompt

JPEG_QUALITY = 95  # training images were JPEGs; TFDS writes quality 95
ANSWER_TOKENS = 12


@dataclass(eq=False)
class Player:
    """A run's parameters and tokenizers.

    Attributes:
        batch: rows of every call, so that each shape compiles once. temperature: of action tokens; 0 takes the likeliest ones, 1
            samples as the flow does. A greedy policy stands still where demonstrators sometimes pause.
    """

    config: ModelConfig
    params: model.Params
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
        batch: int = 20,
        seed: int = 0,
        step: int | None = None,
        temperature: float = 0.0,
    ) -> "Player":
        """Loads a checkpoint of a run, the newest by default.

        Raises:
            InputError: not a run, no checkpoint, or its shards are gone.
        """
        config, params, step = load_params(run, step)
        saved = SavedRun.load(run)
        encoder = Encoder(ShardReader(str(config.shards)), saved.text, config.model, config.data, saved.tok)
        batcher = Batcher(config.model, encoder.slots, config.data.text_length, saved.text.pad, config.data.resize)
        return cls(
            config.model, params, encoder, batcher, step, flow_steps, batch, jax.random.key(seed), np.random.default_rng(seed),
            temperature,
        )  # fmt: skip

    @property
    def embodiments(self) -> list[str]:
        """Embodiments that the shards hold, in their order."""
        return list(dict.fromkeys(s.embodiment_name for s in self.encoder.sources.values() if s.kind == "robot"))

    def source(self, embodiment: str) -> ManifestSource:
        """The manifest's source of an embodiment.

        Raises:
            InputError: the run was not trained on it.
        """
        for source in self.encoder.sources.values():
            if source.kind == "robot" and source.embodiment_name == embodiment:
                return source
        raise InputError(
            f"the run was not trained on embodiment {embodiment!r}; it knows {', '.join(self.embodiments)}"
        )

    def horizon(self, embodiment: str) -> int:
        """Steps of an embodiment's chunk."""
        return self.source(embodiment).horizon

    def act(
        self, embodiment: str, tasks: list[str], observations: list[Observation], decode: str = "flow"
    ) -> NDArray[np.float32]:
        """Chunks (n, horizon, D) in raw units for n instructions and observations.

        Args:
            decode: "flow" samples the expert; "tokens" decodes the backbone's action tokens, of which only those that make
                exactly one chunk are allowed.

        Raises:
            InputError: the run was not trained for it.
        """
        parts = [slice(i, i + self.batch) for i in range(0, len(tasks), self.batch)]
        return np.concatenate([self._act(embodiment, tasks[p], observations[p], decode) for p in parts])

    def _act(
        self, embodiment: str, tasks: list[str], observations: list[Observation], decode: str
    ) -> NDArray[np.float32]:
        source = self.source(embodiment)
        horizon, dim = source.horizon, source.action_dim
        examples = []
        for task, seen in zip(tasks, observations, strict=True):
            prefix, state = self.encoder.robot_prefix(embodiment, task, seen["state"])
            images: dict[str, Any] = {slot: jpeg(seen[f"image/{slot}"]) for slot in source.cameras}
            examples.append(Example(images, prefix, [], True, horizon=horizon, dim=dim, state=state))
        raw = self.predict(examples, embodiment, decode)
        if source.representation is None:
            return raw
        represent = source.representation
        states = np.stack([o["state"] for o in observations])
        stored = sum(piece.width for piece in represent.pieces)
        return represent.restore(raw, represent.state(states, np.zeros((len(states), stored))))

    def predict(self, examples: list[Example], embodiment: str, decode: str = "flow") -> NDArray[np.float32]:
        """Chunks (n, horizon, D) in the units of the shards, for at most `batch` examples without a suffix.

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

        def allowed(_: int, so_far: list[int]) -> NDArray:
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
        """Greedy answers to prompts about images."""
        text = self.encoder.text
        slot = self.encoder.slots[0]
        examples = [
            Example({slot: image}, self.encoder.prefix(text_prompt(prompt)), [])
            for prompt, image in zip(prompts, images, strict=True)
        ]
        rows = policy.generate(self.params, self.config, self._batch(examples), ANSWER_TOKENS, text.eos)
        return [text.decode([i for i in ids if i < text.size]).strip() for ids in rows[: len(examples)]]

    def _batch(self, examples: list[Example]) -> dict[str, NDArray]:
        return self.batcher(examples + [examples[-1]] * (self.batch - len(examples)))


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as the training images were: through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def answer_questions(player: Player, folder: Path, most: int) -> VqaResult:
    """Exact-match accuracy on a VQA dataset's val split, beside always giving the most common answer of a question's kind.

    Raises:
        InputError: not a VQA dataset, or it has no val split.
    """
    entry_file = folder / "dataset.yaml"
    if not entry_file.is_file():
        raise InputError(
            f"{folder} has no dataset.yaml; expected a VQA dataset such as `fasttok-pipelines index` takes"
        )
    entry = yaml.safe_load(entry_file.read_text(encoding="utf-8"))
    if entry.get("kind") != "vqa" or "val" not in entry.get("splits", {}):
        raise InputError(
            f"{entry_file}: expected kind vqa and a val split, got {entry.get('kind')} with {entry.get('splits')}"
        )
    lines = (folder / entry["splits"]["val"]).read_text(encoding="utf-8").splitlines()[:most]
    items = [json.loads(line) for line in lines]
    right: list[int] = []
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for start in track(range(0, len(items), player.batch), "answering", unit="batches"):
        part = items[start : start + player.batch]
        images = [(folder / entry["images"] / item[entry["image"]]).read_bytes() for item in part]
        answers = player.answer([item[entry["prompt"]] for item in part], images)
        for item, answer in zip(part, answers, strict=True):
            right.append(int(answer == item[entry["target"]].strip()))
            kinds[item.get("kind", "")][item[entry["target"]].strip()] += 1
    common = sum(counts.most_common(1)[0][1] for counts in kinds.values())
    total = max(len(items), 1)
    return VqaResult(len(items), sum(right) / total, common / total, tuple(right))
