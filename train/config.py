"""The configuration of a run: frozen dataclasses, which are also the command line and RUN/config.json. Imports no JAX."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from fasttok.common import json_files
from fasttok.common.flags import OPTIONAL
from fasttok.common.kinds import KINDS, RecordKind
from fasttok.errors import InputError, unknown_name
from train import recipes
from train.learning import insulation_schedule, layer_paths

StateForm = Literal["text", "continuous", "special"]
StateEntry = Literal["expert", "backbone"]
Dtype = Literal["float32", "bfloat16"]
Remat = Literal["none", "dots", "layer"]
AttentionKernel = Literal["einsum", "xla", "cudnn"]
DiscreteTargets = Literal["fast", "bins", "none"]
Resize = Literal["pad", "stretch"]
LossNorm = Literal["tokens", "samples"]
RateSchedule = Literal["cosine", "constant"]
ComponentName = Literal["vision", "backbone", "expert", "action"]
SMALLEST_SEED, LARGEST_SEED = -(2**31), 2**31 - 1  # a compiled step takes the seed as an int32
COMPONENTS: tuple[ComponentName, ...] = get_args(ComponentName)


def check_seed(seed: int, where: str) -> None:
    """Checks that a run can be trained with a seed.

    Args:
        seed: seed of a run.
        where: what gives the seed, for the message, such as "--seed".

    Raises:
        InputError: the seed is no 32-bit integer.
    """
    if not SMALLEST_SEED <= seed <= LARGEST_SEED:
        raise InputError(
            f"{where} is {seed}, expected {SMALLEST_SEED} to {LARGEST_SEED}; give a smaller number, such as 0"
        )


def check_least(values: object, group: str, least: int, *names: str) -> None:
    """Checks that numbers of a configuration are not too small.

    Args:
        values: the configuration.
        group: what comes before a name in the message: "--model." for flags, or a file and its key.
        least: the smallest number allowed.
        names: names of the numbers.

    Raises:
        InputError: a number is below `least`.
    """
    for name in names:
        if getattr(values, name) < least:
            word = name.replace("_", "-") if group.startswith("--") else name
            raise InputError(f"{group}{word} is {getattr(values, name)}, expected at least {least}")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the model and how its components are joined. A shape that is 0 is taken from the shards."""

    image_size: int = 64
    """Side of the square that images are resized to, in pixels. It must be a multiple of --model.patch. Use it when
    objects are small (larger) or time is short (smaller)."""
    patch: int = 16
    """Side of an image patch, in pixels. Each camera gives (image_size / patch) ** 2 tokens. Use it when you change
    --model.image-size: fewer tokens are faster, more tokens show finer detail."""
    vision_width: int = 128
    """Width of the vision encoder, in numbers per token. Use it when no --size fits."""
    vision_depth: int = 2
    """Number of blocks of the vision encoder. Use it when no --size fits."""
    vision_heads: int = 4
    """Number of attention heads of the vision encoder. It must divide --model.vision-width. Use it when you change
    --model.vision-width."""
    vision_mlp: int = 256
    """Width of the hidden layer in the vision encoder's feed-forward networks. Use it when you change
    --model.vision-width."""
    width: int = 128
    """Width of the backbone, in numbers per token. The action expert has the backbone's depth, heads and head_dim, but
    a width of its own. Use it when no --size fits."""
    depth: int = 4
    """Number of layers of the backbone, and of the action expert. Use it when no --size fits."""
    heads: int = 4
    """Number of query heads in each layer. Keys and values have one head. Use it when you change --model.width."""
    head_dim: int = 32
    """How many numbers an attention head has. Use it when you change --model.width."""
    mlp: int = 256
    """Width of the hidden layer in the backbone's feed-forward networks. Use it when you change --model.width."""
    expert_width: int = 96
    """Width of the action expert, in numbers per token. Use it when the expert should be larger or smaller than --size
    makes it."""
    expert_mlp: int = 192
    """Width of the hidden layer in the action expert's feed-forward networks. Use it when you change
    --model.expert-width."""
    vocab_size: int = 0
    """Number of all tokens together: text, action and state tokens. 0: as many as the shards need. Use it when later
    shards will need more tokens."""
    horizon: int = 0
    """Number of steps of the longest action chunk. 0: as in the shards. Use it when later shards will have longer
    chunks."""
    action_dim: int = 0
    """Number of dimensions of the widest action. 0: as in the shards. Use it when later shards will have wider
    actions."""
    state_dim: int = 0
    """Number of dimensions of the widest robot state, if --model.state is continuous. 0: as in the shards. Use it when
    later shards will have wider states."""
    cameras: int = 0
    """Number of cameras in each row. 0: as in the shards; the run refuses a number that differs from theirs. Use it to
    check that the shards have as many cameras as you think."""
    insulation: tuple[float, ...] = (0.0,)
    """Share of the action expert's gradient that reaches the backbone: 0 is the paper's method, 1 is joint training.
    Give one number for all layers, or one per layer. Use it when you compare how much of the flow loss should shape
    the backbone."""
    flow: bool = True
    """Train an action expert, or what the recipe has instead. --model.no-flow leaves it out. Use it (--model.no-flow)
    when the model should act by tokens alone."""
    recipe: str = field(default="insulated", metadata=json_files.IF_NOT_DEFAULT)
    """How actions enter the model: the name of a file in train/recipes/, which explains it. insulated: an action
    expert reads the backbone; the others follow other papers. Use it to compare with these papers; the preset of the
    same name also sets the options that belong to it."""
    state: StateForm = "text"
    """How the model gets the robot's state. text: as text in the prompt, as in the paper; continuous: as one projected
    token; special: as one token per dimension. Use it when you compare these forms."""
    state_in: StateEntry = "expert"
    """Where a continuous state enters the model. expert: among the action expert's tokens, as in pi0; backbone: as a
    token of the backbone's prefix. Use it with --model.state continuous."""
    dtype: Dtype = "float32"
    """Number format of the computation. Parameters stay float32. Use it when your GPU or TPU computes bfloat16
    faster."""
    remat: Remat = "none"
    """What the backward pass computes again to save memory. none: nothing; dots: everything except matrix products;
    layer: whole layers, which needs the least memory. Use it when memory is short (layer), or when there is plenty
    (none is the fastest on a GPU)."""
    attention: AttentionKernel = "einsum"
    """How attention is computed. einsum: two plain matrix products; xla: jax.nn.dot_product_attention; cudnn: its
    fused kernel for NVIDIA GPUs, which needs --model.dtype bfloat16. Use it when you train on an NVIDIA GPU
    (cudnn)."""

    def __post_init__(self) -> None:
        recipes.check_name(self.recipe)
        check_least(
            self, "--model.", 1, "image_size", "patch", "vision_width", "vision_depth", "vision_heads", "vision_mlp", "width",
            "depth", "heads", "head_dim", "mlp", "expert_width", "expert_mlp",
        )  # fmt: skip
        check_least(self, "--model.", 0, "vocab_size", "horizon", "action_dim", "state_dim", "cameras")
        if self.head_dim % 2:
            raise InputError(
                f"--model.head-dim is {self.head_dim}, expected an even number: positions turn pairs of numbers"
            )
        if self.expert_width % 2:
            raise InputError(
                f"--model.expert-width is {self.expert_width}, expected an even number: half of it are sines of the flow time, "
                "and half are cosines"
            )
        if self.image_size % self.patch:
            raise InputError(f"model: image_size {self.image_size} is not a multiple of patch {self.patch}")
        if self.vision_width % self.vision_heads:
            raise InputError(f"model: vision_width {self.vision_width} is not a multiple of {self.vision_heads} heads")
        if len(self.insulation) not in (1, self.depth):
            raise InputError(
                f"model: insulation has {len(self.insulation)} numbers, expected 1 or one per layer ({self.depth})"
            )
        if not all(0.0 <= share <= 1.0 for share in self.insulation):
            raise InputError(f"model: insulation {self.insulation} must be in [0, 1]")
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise InputError("model: attention cudnn computes in bfloat16; add --model.dtype bfloat16")
        if self.state == "continuous" and self.state_in == "expert" and not self.flow:
            raise InputError(
                "model: a continuous state has no expert to enter when flow is False; use --model.state-in backbone"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """`insulation` as one number per layer."""
        return self.insulation * self.depth if len(self.insulation) == 1 else self.insulation

    @property
    def state_token(self) -> StateEntry | None:
        """Where a continuous state enters the model; None if the state has another form."""
        return self.state_in if self.state == "continuous" else None

    @property
    def image_tokens(self) -> int:
        """Number of tokens per camera image."""
        return (self.image_size // self.patch) ** 2


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images, drawn anew for every row and camera. The defaults are openpi's."""

    on: bool = False
    """Change training images at random: crop, rotation and colours. --augment.no-on: leave them as they are. Use it
    when you have fewer than some thousand episodes, or when lighting and cameras vary."""
    crop: float = 0.95
    """Side of a random crop as a share of the image's side; the crop is scaled back up. 1: no crop. Images of wrist
    cameras are never cropped. Use it when your cameras move more (smaller share) or less (larger share)."""
    rotation: float = 5.0
    """Largest random rotation to either side, in degrees; 0: none. Images of wrist cameras are never rotated. Use it
    when your cameras are mounted more or less exactly than that."""
    brightness: float = 0.3
    """Brightness is multiplied by a random factor between 1 - this number and 1 + this number. 0: unchanged. Use it
    when the light varies less or more than that."""
    contrast: float = 0.4
    """Contrast is multiplied by a random factor between 1 - this number and 1 + this number. 0: unchanged. Use it when
    the light varies less or more than that."""
    saturation: float = 0.5
    """Saturation is multiplied by a random factor between 1 - this number and 1 + this number. 0: unchanged. Use it
    when instructions name objects by colour: strong changes hide the colours."""

    def __post_init__(self) -> None:
        if not 0.0 < self.crop <= 1.0:
            raise InputError(
                f"--augment.crop is {self.crop}, expected a share of the image's side, above 0 and at most 1"
            )
        for name, most in (("rotation", 180.0), ("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0)):
            if not 0.0 <= getattr(self, name) <= most:
                raise InputError(f"--augment.{name} is {getattr(self, name)}, expected a number from 0 to {most:g}")


@dataclass(frozen=True)
class DataConfig:
    """Which rows of the shards the model trains on, and how it sees them."""

    kinds: tuple[RecordKind, ...] = KINDS
    """Kinds of rows to train on: robot rows, questions (vqa) and captions. Use it to leave out questions and captions
    (robot), or robots (vqa caption)."""
    discrete: DiscreteTargets = "fast"
    """What the backbone predicts of a chunk. fast: FAST tokens; bins: one of 256 tokens for each number, as in RT-2
    and OpenVLA; none: nothing. Use it when you compare what the backbone learns from."""
    bins_stride: int = 1
    """Predict bins of every n-th step of a chunk only. 1: every step. Use it with --data.discrete bins when chunks are
    long."""
    tokenizer: Path | None = None
    """Folder of the FAST tokenizer that encodes actions. By default the one that the shards were built with. Use it
    when you have fitted a better tokenizer since the shards were built."""
    subtasks: float = 0.5
    """Of the robot rows that have a subtask, the share (0 to 1) that predicts it. The other rows have the subtask in
    the prompt and predict actions. Use it when predicting subtasks should weigh more or less than acting."""
    control_mode: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Say in each prompt that asks for actions what the robot moves and how, such as "Control: end effector delta".
    The words come from the names, units and encodings of the shards' action columns. Use it when the mixture has
    robots that are moved in different ways."""
    held_steps: bool = False
    """Also train the flow on the steps after an episode's end, which are filled with actions that keep the robot where
    it is. By default these steps do not count. Use it when the robot should stand still after an episode's end."""
    resize: Resize = "pad"
    """How an image that is not square becomes square. pad: it keeps its shape and gets black edges; stretch: it is
    stretched. Images in which a question or its answer names places (<loc0123>) are always stretched. Use it when every
    pixel counts and shapes may change (stretch)."""
    text_length: int = 0
    """Maximum number of tokens in a row, images not counted. If a row has more, the run does not start. 0: as many as
    the longest row of the shards needs. Use it when later shards may have longer rows."""
    action_skip: int | None = None
    """Number of tokens at the end of a pretrained vocabulary that keep their meaning. Action tokens replace those
    before them: action id i is vocabulary id size - 1 - skip - i (docs/weights.md). None: 1152 with PaliGemma's
    vocabulary; with any other one, action tokens are new rows after the text. openpi takes 128, which overlaps
    `<loc>`; 1152 does not. Use it when other people's weights have action tokens at another place."""
    text_tokenizer: Path | None = None
    """tokenizer.json file of the text tokenizer. By default the one of --init-from or the one beside --weights;
    without these, the run trains one on the shards' texts. Use it when the text tokenizer of your weights is
    elsewhere."""
    text_vocab: int = 900
    """Size of the vocabulary if the run trains a text tokenizer. Use it when you train from scratch on many different
    texts."""
    threads: int = 0
    """Number of threads that decode images. 0: one for each core that this process may use. Use it when other work
    needs the cores."""
    pack: bool = field(default=True, metadata=json_files.IF_NOT_DEFAULT)
    """On a CPU, put several rows into one sequence, so that nothing is computed for padding, absent cameras and rows
    without actions. The losses are the same up to rounding. Use it (--data.no-pack) to repeat the numbers of version
    0.1.0 and of the studies in benchmarks/results more closely."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind", kind, KINDS)
        if not self.kinds:
            raise InputError("--data.kinds is empty; expected some of robot, vqa, caption")
        check_least(self, "--data.", 1, "bins_stride", "text_vocab")
        check_least(
            self, "--data.", 0, "text_length", "threads", *(["action_skip"] if self.action_skip is not None else [])
        )
        if not 0.0 <= self.subtasks <= 1.0:
            raise InputError(f"--data.subtasks is {self.subtasks}, expected a share in [0, 1]")


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser (AdamW): learning rate, clipping, frozen parameters, moving average. Each --size has its own defaults."""

    learning_rate: float = 1e-3
    """Peak learning rate, which is reached at the end of the warmup. With --weights or a large model, a rate above
    2e-4 needs --optim.high-rate. Use it when losses rise (lower) or fall too slowly (higher)."""
    expert_learning_rate: float | None = None
    """Peak learning rate of the action expert alone (or of the component `action`, which some recipes have instead).
    None: the same as --optim.learning-rate. Use it when a pretrained backbone should move less than the new expert."""
    warmup: int = 30
    """Number of steps in which the learning rate rises linearly from 0 to its peak. The warmup never takes more than
    half of --steps. Use it when the first steps are unstable (more)."""
    schedule: RateSchedule = field(default="cosine", metadata=json_files.IF_NOT_DEFAULT)
    """What the learning rate does after the warmup. cosine: it falls to --optim.final of its peak; constant: it stays
    at its peak. Use it when --steps may grow later (constant)."""
    final: float = 0.1
    """Learning rate of the last step as a share of the peak, from 0 to 1. Use it with the cosine schedule when a run
    should end at another rate."""
    b1: float = 0.9
    """AdamW's decay for the mean of the gradients (beta 1). Use it when you reproduce somebody else's training."""
    b2: float = 0.999
    """AdamW's decay for the mean of the squared gradients (beta 2). Use it when you reproduce somebody else's
    training; 0.95 suits large models."""
    weight_decay: float = 1e-4
    """AdamW's weight decay. It acts on matrices only; 0: none. Use it when the run learns a small dataset by heart
    (more)."""
    clip: float = 1.0
    """Largest norm of the whole gradient. A larger gradient is scaled down to this norm. inf: no limit. Use it when
    gradient norms in the log are often larger."""
    ema: float | None = None
    """Decay of a moving average of the parameters, such as 0.999; evaluation and export then use the average. None: no
    average. Use it when the run is long: the average acts better than the last step."""
    freeze: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Parameters that do not learn, named by paths that include everything below them: vision, backbone/embedding,
    backbone/layers/0-8 (the first nine layers), vision/blocks/3 or */layers/*/query. Use it when memory is short, or
    when the backbone must stay as it is."""
    expert_first: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Number of steps at the start of the run in which only the action expert learns; 0: none. Use it when the
    gradients of a new expert would reach a pretrained backbone, as with --preset joint."""
    high_rate: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Allow a peak learning rate above 2e-4 with --weights or for a large model, which is refused otherwise. Use it
    when you are sure that you want such a rate."""

    def __post_init__(self) -> None:
        for name, most in (
            ("learning_rate", sys.float_info.max),
            ("expert_learning_rate", sys.float_info.max),
            ("warmup", math.inf),
            ("expert_first", math.inf),
            ("final", 1.0),
            ("b1", 1.0),
            ("b2", 1.0),
            ("weight_decay", sys.float_info.max),
            ("clip", math.inf),
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise InputError(f"--optim.{name.replace('_', '-')} is {value}, expected a number from 0 to {most:g}")
        for name in ("b1", "b2"):
            if getattr(self, name) == 1.0:
                raise InputError(f"--optim.{name} is 1, expected a decay below 1: with 1, AdamW divides by 0")
        if not self.clip:
            raise InputError(
                "--optim.clip is 0, expected a norm above 0: with 0, nothing learns. For no limit, give --optim.clip inf"
            )
        if self.expert_learning_rate is not None and not self.learning_rate:
            raise InputError(
                "--optim.learning-rate is 0, but --optim.expert-learning-rate is not: freeze the other components instead, with "
                "--optim.freeze vision backbone"
            )
        for path in self.freeze:
            if path.split("/")[0] not in (*COMPONENTS, "*"):
                raise unknown_name("component of the model to freeze", path.split("/")[0], COMPONENTS)
            layer_paths.expand(path)
        if self.ema is not None and not 0.0 < self.ema < 1.0:
            raise InputError(f"--optim.ema is {self.ema}, expected a decay between 0 and 1, such as 0.999")


@dataclass(frozen=True)
class LoraConfig:
    """LoRA: thin added matrices learn instead of those of attention and feed-forward networks (train/learning/lora.py)."""

    rank: int = 0
    """Rank of the added matrices. 0: no LoRA; openpi takes 16 for the backbone. Use it to fine-tune a large model with
    little memory."""
    alpha: float = 16.0
    """Weight of the added matrices: their result is multiplied by alpha / rank. Use it when you change the rank:
    change both by the same factor to keep the weight."""
    paths: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Which matrices get added ones, named by paths such as expert, vision/blocks or backbone/layers/query. Everything
    else under these paths stays as it is. By default the layers of backbone and expert. Use it to adapt the vision
    encoder, too, or to adapt less."""

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise InputError(f"--lora.rank is {self.rank}, expected a whole number from 1 on, or 0 for no LoRA")
        if not 0.0 < self.alpha < float("inf"):
            raise InputError(f"--lora.alpha is {self.alpha}, expected a finite number above 0, such as 16")
        for path in self.paths:
            if path.split("/")[0] not in (*COMPONENTS, "*"):
                raise unknown_name("component of the model for LoRA", path.split("/")[0], COMPONENTS)
        if self.paths and not self.rank:
            raise InputError("--lora.paths without --lora.rank adapts nothing; add, say, --lora.rank 16")

    @property
    def adapted(self) -> tuple[str, ...]:
        """`paths` with the default filled in; () if the rank is 0."""
        return (self.paths or ("*/layers",)) if self.rank else ()


@dataclass(frozen=True)
class TrainConfig:
    """Trains a vision-language-action model on three losses: text answers, action tokens and flow matching.

    Example: fasttok-train --preset ki --size debug --shards SHARDS --out RUN --steps 2000
    """

    shards: Path
    """Folder of shards to train on; `fasttok-pipelines build` writes it. Use it in every run."""
    out: Path
    """Folder for the run. It gets config.json, text_tokenizer.json, tokenizer/, metrics.jsonl and checkpoints/. Use it
    always."""
    preset: str = "ki"
    """What to train: a name for a set of options, which other flags can change. ki is the paper's method, joint is
    training without insulation, and vlm trains on questions and captions only; docs/train.md explains each. Use it to
    choose the method that you train."""
    size: str = "debug"
    """How large the model is, and how a model of that size is trained (train/presets.py): 1.7 million parameters
    (debug), 29 million (small) or 3.35 billion (paligemma_3b_300m). Use it to choose between a laptop (debug), one
    small GPU (small) and the full model."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Shapes of the model and how its components are joined."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which rows the model trains on, and how it sees them."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes to training images."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimiser."""
    lora: LoraConfig = field(default_factory=LoraConfig, metadata=json_files.IF_NOT_DEFAULT)
    """Thin added matrices that learn in place of large ones."""
    steps: int = 1000
    """Number of optimiser steps. Use it in every real run: the default is for a first look."""
    batch_size: int = 32
    """Number of rows in a step, over all devices and processes together. Use it when devices have room for more
    rows."""
    accumulate: int = 1
    """Number of microbatches into which the rows of a step are split. They are computed one after the other, which
    needs less memory and gives the same gradient. Use it when a step does not fit into memory."""
    fsdp: int = 1
    """Number of devices that share one copy of the parameters and the optimiser state. It must divide the number of
    devices; with 1, each device has a whole copy. Use it when parameters and optimiser state do not fit on one
    device."""
    alpha: float = 1.0
    """Weight of the flow loss (L_FLOW). Use it when continuous actions should weigh more or less than tokens."""
    loss_norm: LossNorm = "tokens"
    """How the loss of text and action tokens is averaged. tokens: over all predicted tokens of the batch, so a long
    answer counts more; samples: over the tokens of each row, then over rows. Use it when long answers drown short ones
    (samples)."""
    flow_draws: int = 2
    """Number of flow times that are drawn for each row in a step. Each costs one pass of the action expert, and more
    of them make the flow loss less noisy. Use it when the expert is cheap beside the backbone: all draws share the
    backbone's pass."""
    rtc_delay: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Real-time chunking: the model learns to continue a chunk that the robot is executing. In training it is given up
    to N first actions of each chunk; 0: off. Use it when a robot moves on while its next chunk is computed: give the
    most steps that can pass meanwhile."""
    insulation_schedule: Annotated[tuple[str, ...], OPTIONAL] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    """Change the insulation during the run: 1000:1 5000:0.5 means a share of 1 from step 1,000 on and 0.5 from step
    5,000 on. Before the first of these steps --model.insulation counts. A share is one number, or one per layer
    (5000:0,0,1,1). Use it when the expert's gradient should reach the backbone only later, or only at first."""
    init_from: Path | None = None
    """Folder of another run; this run starts from its vision encoder, backbone and text tokenizer. Use it when you
    have trained a model on questions first, or when you fine-tune a run."""
    init_from_expert: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Also start from the action expert of --init-from. Use it when you fine-tune a run on shards whose actions have
    the same dimensions and horizon."""
    weights: Path | None = None
    """Pretrained weights to start from: PaliGemma, pi0.5 as openpi or lerobot stores it, or our own export
    (docs/weights.md). Use it with the full model, which would not learn from scratch."""
    weights_strict: bool = False
    """Require that --weights fits the model exactly: no parameter is missing and none is left over. Use it when the
    weights are of exactly this model."""
    weights_resample: bool = False
    """Resample the position embedding of --weights to --model.image-size. Use it when the weights were trained at
    another image size."""
    seed: int = 0
    """Seed of the new parameters, the order of the rows and the noise. Use it when you repeat a run to see how much
    luck matters."""
    log_every: int = 20
    """Number of steps between two lines of the log. Use it when the log is too long or too short."""
    probe_every: int = 0
    """Number of steps between two measurements of each loss's own gradient norm. A measurement takes three more
    backward passes; 0: none. Use it when you study which loss moves which component of the model."""
    checkpoint_every: int = 500
    """Number of steps between two checkpoints. The last step is always saved. Use it when the machine may stop at any
    time (fewer steps)."""
    keep: int = 2
    """Number of checkpoints to keep, the newest ones. Use it when you want to evaluate earlier steps, too (more)."""
    held_out: Path | None = field(default=None, metadata=json_files.IF_NOT_DEFAULT)
    """Folder of shards with other episodes (built from sources of `split: val`). While the run trains, its losses and
    action errors are measured on some of their rows, the same ones each time. Use it in every run that matters:
    training losses do not show overfitting."""
    held_out_every: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Number of steps between two measurements on --held-out. The last step is always measured. 0: measure as often as
    checkpoints are saved. Use it with --held-out to see more points of the curve."""
    held_out_rows: int = field(default=256, metadata=json_files.IF_NOT_DEFAULT)
    """Number of rows of --held-out to measure, spread evenly over kinds and sources. Use it with --held-out to make
    its numbers less noisy (more rows) or faster (fewer rows)."""
    keep_best: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Also keep the parameters of the step with the lowest action error on --held-out (held_out_nrmse), in RUN/best.
    Without an expert or robot rows, the lowest held_out_loss decides. Use it with --held-out when a run may
    overfit."""
    trackers: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Where metrics go besides RUN/metrics.jsonl: tensorboard, wandb or both. Use it when you watch several runs."""
    resume: bool = False
    """Continue from the newest checkpoint in --out. The settings must be those that the run was begun with;
    --resume-with names exceptions. Use it after a stop, with the same flags."""
    resume_with: Annotated[tuple[str, ...], OPTIONAL] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    """With --resume: names of settings that may differ from those that the run was begun with, such as batch_size
    optim.learning_rate. Use it when a run should go on with other settings."""
    overwrite: bool = False
    """Replace the run that is in --out. Use it when you do not need that run any more."""
    dry_run: bool = False
    """Compile the training step and print parameters, memory per device, FLOPs per sample and the batch plan, but
    train nothing. Use it before a long run."""
    distributed: Annotated[str, OPTIONAL] = ""
    """Train with several processes. auto: take the numbers from Slurm or the TPU runtime; otherwise give the first
    process's ADDRESS:PORT, the number of processes, and this one's number from 0. Use it when several machines train
    one model."""

    def __post_init__(self) -> None:
        check_least(
            self, "--", 1, "steps", "batch_size", "accumulate", "fsdp", "flow_draws", "log_every", "checkpoint_every", "keep",
        )  # fmt: skip
        check_least(self, "--", 0, "probe_every")
        if not 0 <= self.alpha < math.inf:
            raise InputError(f"--alpha is {self.alpha}, expected a finite number from 0 on, such as 1")
        check_seed(self.seed, "--seed")
        if self.rtc_delay < 0:
            raise InputError(f"--rtc-delay is {self.rtc_delay}, expected 0 (off) or the most steps that pass meanwhile")
        if self.batch_size % self.accumulate:
            raise InputError(f"--batch-size {self.batch_size} is not a multiple of --accumulate {self.accumulate}")
        if self.held_out_every < 0 or self.held_out_rows < 1:
            raise InputError(
                f"--held-out-every is {self.held_out_every} and --held-out-rows {self.held_out_rows}, expected at least 0 and 1"
            )
        if self.held_out is None and (self.held_out_every or self.keep_best):
            raise InputError(
                "--held-out-every and --keep-best need rows to measure: give shards of other episodes with --held-out SHARDS"
            )
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        if self.resume_with and not self.resume:
            raise InputError("--resume-with says what may differ on --resume, which is not given")
        if self.weights is not None and self.init_from is not None:
            raise InputError("--weights and --init-from exclude each other: both say where the parameters come from")
        if self.model.flow is False and self.data.discrete == "none" and set(self.data.kinds) == {"robot"}:
            raise InputError(
                "nothing to learn: robot rows alone, without flow (model.flow) and without discrete targets"
            )
        if self.init_from_expert and (self.init_from is None or not self.model.flow):
            lacks = (
                "needs an action expert, which --model.no-flow leaves out"
                if self.init_from
                else "needs --init-from RUN"
            )
            raise InputError(f"--init-from-expert {lacks}")
        if not self.model.flow and (self.insulation_schedule or self.optim.expert_first):
            flag = "--insulation-schedule" if self.insulation_schedule else "--optim.expert-first"
            raise InputError(f"{flag} needs an action expert, which --model.no-flow leaves out")
        insulation_schedule.phases(self.insulation_schedule, self.model.depth)
        if self.optim.expert_first and any(layer_paths.below("expert", start) for start in self.optim.freeze):
            raise InputError(
                "--optim.expert-first lets only the expert learn, and --optim.freeze keeps it still; leave one out"
            )

    def insulation_at(self, step: int) -> tuple[float, ...]:
        """Returns the insulation at a step, counted from 1: `model.insulation`, or what `insulation_schedule` has set by then."""
        return insulation_schedule.shares_at(step, self.model.insulation, self.insulation_schedule, self.model.depth)

    def said_of(self, step: int) -> dict[str, float]:
        """Returns what the log adds at a step: the mean insulation over the layers, or nothing if `model.flow` is False."""
        shares = self.insulation_at(step)
        return {"insulation": sum(shares) / len(shares)} if self.model.flow else {}

    @property
    def still(self) -> tuple[str, ...]:
        """Paths of parameters that do not learn: `optim.freeze` and what LoRA adapts. The adapters under these paths do learn."""
        return self.optim.freeze + self.lora.adapted

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, as config.json contains them."""
        return cast(dict[str, Any], json_files.encode(self))
