"""What a run is: frozen dataclasses that are configuration, command line and saved record at once. Imports no JAX."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from fasttok.common import json_files
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
COMPONENTS: tuple[ComponentName, ...] = get_args(ComponentName)


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the model and how its components are joined; those that are 0 are taken from the shards."""

    image_size: int = 64
    """Images are resized to this square, in pixels. Use it when small objects matter (larger) or time does
    (smaller)."""
    patch: int = 16
    """Patch size in pixels; (image_size / patch) ** 2 tokens per camera. Use it when you change --model.image-size:
    fewer tokens are faster, more see finer detail."""
    vision_width: int = 128
    """Numbers per token inside the vision encoder. Use it when no --size fits."""
    vision_depth: int = 2
    """Blocks of the vision encoder. Use it when no --size fits."""
    vision_heads: int = 4
    """Attention heads of the vision encoder, which share its width. Use it when you change --model.vision-width."""
    vision_mlp: int = 256
    """Width inside the feed-forward networks of the vision encoder. Use it when you change --model.vision-width."""
    width: int = 128
    """Backbone width; the expert shares depth, heads and head_dim with the backbone. Use it when no --size fits."""
    depth: int = 4
    """Layers of the backbone. Use it when no --size fits."""
    heads: int = 4
    """Query heads of the backbone; keys and values have one head. Use it when you change --model.width."""
    head_dim: int = 32
    """Numbers per head of the backbone. Use it when you change --model.width."""
    mlp: int = 256
    """Width inside the feed-forward networks of the backbone. Use it when you change --model.width."""
    expert_width: int = 96
    """Width of the action expert. Use it when the expert should be larger or smaller than --size makes it."""
    expert_mlp: int = 192
    """Width inside the feed-forward networks of the action expert. Use it when you change --model.expert-width."""
    vocab_size: int = 0
    """Text tokens, action tokens and state tokens together. Use it when later shards will need more tokens than
    these."""
    horizon: int = 0
    """Steps of the longest action chunk. Use it when later shards will have longer chunks than these."""
    action_dim: int = 0
    """Dimensions of the widest action. Use it when later shards will have wider actions than these."""
    state_dim: int = 0
    """Dimensions of the widest proprio, if the state is continuous. Use it when later shards will have wider states
    than these."""
    cameras: int = 0
    """Camera slots per row. Use it to check that the shards have as many as you think."""
    insulation: tuple[float, ...] = (0.0,)
    """Share of the expert's gradient that reaches the backbone, one number or one per layer: 0 = the paper, 1 = joint.
    Use it when you compare how much of the flow loss should shape the backbone."""
    flow: bool = True
    """False leaves the action expert out. Use it when actions are to come from tokens alone."""
    recipe: str = field(default="insulated", metadata=json_files.IF_NOT_DEFAULT)
    """How actions enter the model: a file of train/recipes/. Use it to compare with other papers; a preset of the same
    name sets what else they do."""
    state: StateForm = "text"
    """The robot's state as text of the prompt, as one projected token, or as one token of its own per dimension. Use it
    when you compare forms; text is the paper's."""
    state_in: StateEntry = "expert"
    """Where a continuous state enters: as pi0 does, among the expert's tokens; or as a token of the backbone's prefix.
    Use it with --model.state continuous."""
    dtype: Dtype = "float32"
    """Compute dtype; parameters stay float32. Use it when a GPU or TPU computes bfloat16 faster."""
    remat: Remat = "none"
    """What the backward pass recomputes: nothing, everything except matrix products, or whole layers (least memory).
    Use it when memory is short (layer) or there is plenty (none is fastest on a GPU)."""
    attention: AttentionKernel = "einsum"
    """Kernel of attention: two plain products, jax.nn.dot_product_attention, or its fused one on NVIDIA GPUs
    (bfloat16). Use it when you train on an NVIDIA GPU: cudnn."""

    def __post_init__(self) -> None:
        recipes.check_name(self.recipe)
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
        """`insulation` spelled out per layer."""
        return self.insulation * self.depth if len(self.insulation) == 1 else self.insulation

    @property
    def state_token(self) -> StateEntry | None:
        """Where a continuous state enters, None for the other forms."""
        return self.state_in if self.state == "continuous" else None

    @property
    def image_tokens(self) -> int:
        """Tokens of one camera."""
        return (self.image_size // self.patch) ** 2


@dataclass(frozen=True)
class AugmentConfig:
    """Changes to training images, drawn anew for every row and camera; openpi's ranges are `--augment.on`'s defaults."""

    on: bool = False
    """Augment training images. Use it when you have fewer than some thousand episodes, or lighting and cameras vary."""
    crop: float = 0.95
    """Side of a random crop that is scaled back up, as a share of the image's; not for wrist cameras. Use it when
    cameras move less or more than that."""
    rotation: float = 5.0
    """Largest rotation to either side, in degrees; not for wrist cameras. Use it when cameras are mounted more or less
    exactly than that."""
    brightness: float = 0.3
    """Brightness is multiplied by 1 +- up to this. Use it when the light varies less or more."""
    contrast: float = 0.4
    """Contrast is multiplied by 1 +- up to this. Use it when the light varies less or more."""
    saturation: float = 0.5
    """Saturation is multiplied by 1 +- up to this. Use it when colours name the objects, which strong changes hide."""


@dataclass(frozen=True)
class DataConfig:
    """What the rows of the shards become: which, and in which form the model sees them."""

    kinds: tuple[RecordKind, ...] = KINDS
    """Kinds of rows to train on. Use it to leave web data out (robot), or robots (vqa caption)."""
    discrete: DiscreteTargets = "fast"
    """What the backbone predicts of a chunk: FAST tokens, one bin per number (RT-2, OpenVLA), or nothing. Use it when
    you compare what the backbone learns from."""
    bins_stride: int = 1
    """With bins: predict every n-th step only. Use it with --data.discrete bins when chunks are long."""
    tokenizer: Path | None = None
    """FAST tokenizer folder to encode with; by default the shards' own, which made their ids. Use it when you have
    fitted a better tokenizer since the shards were built."""
    subtasks: float = 0.5
    """Share of the robot rows with a subtask that predict it; the others have it in the prompt, and act. Use it when
    rows have subtasks, and naming them should weigh more or less than acting."""
    control_mode: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Prompts that ask for actions say what they move and how, such as "Control: end effector delta", from the names and
    encodings of the shards' actions. Use it when the mixture has robots that are moved in different ways."""
    held_steps: bool = False
    """Also train the flow on steps past the episode's end, where the last action is repeated; False masks them. Use it
    when the robot should stand still after an episode's end."""
    resize: Resize = "pad"
    """Images that are not square keep their shape on black, or are stretched. Use it when every pixel counts and shapes
    may change: stretch."""
    text_length: int = 0
    """Tokens per row; 0: the longest row in the shards. Use it when later shards may have longer rows than these."""
    action_skip: int | None = None
    """Action id i is vocabulary id size - 1 - skip - i of a pretrained vocabulary (openpi: 128, which overlaps <loc>;
    1152 does not). None: 1152 when the text vocabulary is PaliGemma's, else action tokens are rows of their own after
    the text. Tokens that others added behind PaliGemma's 257,152, such as <image>, do not count. Use it when weights of
    other people expect another place for action tokens."""
    text_tokenizer: Path | None = None
    """tokenizer.json for text; by default the one beside --weights, or one trained on the shards' texts. Use it when
    the text tokenizer of your weights is elsewhere."""
    text_vocab: int = 900
    """Size of a text vocabulary that is trained. Use it when you train from scratch on many different texts."""
    threads: int = 0
    """Threads that decode images; 0: the cores that this process may use. Use it when other work needs the cores."""
    pack: bool = field(default=True, metadata=json_files.IF_NOT_DEFAULT)
    """On a CPU, rows lie one after the other in fewer sequences, so that nothing is computed for padding, absent cameras
    and rows without actions. The losses are the same up to rounding. Use it (--data.no-pack) to repeat the numbers of
    0.1.0 and of the committed studies more closely."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind", kind, KINDS)
        if not self.kinds:
            raise InputError("--data.kinds is empty; expected some of robot, vqa, caption")
        if self.bins_stride < 1:
            raise InputError(f"--data.bins-stride is {self.bins_stride}, expected at least 1")
        if not 0.0 <= self.subtasks <= 1.0:
            raise InputError(f"--data.subtasks is {self.subtasks}, expected a share in [0, 1]")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW: warmup, schedule, clipping, what is frozen, and the moving average. Each --size has its own numbers."""

    learning_rate: float = 1e-3
    """Peak learning rate, where the warmup ends. Above 2e-4, pretrained weights and large models need
    --optim.high-rate. Use it when losses rise (lower) or fall too slowly (higher)."""
    expert_learning_rate: float | None = None
    """The own peak of the expert, or of what a recipe has in its place (component action); None: the same. Use it when
    a pretrained backbone should move less than what is new."""
    warmup: int = 30
    """Steps of linear warmup from 0, at most half of --steps. Use it when the first steps are unstable (more)."""
    schedule: RateSchedule = field(default="cosine", metadata=json_files.IF_NOT_DEFAULT)
    """After the warmup, cosine falls to --optim.final and constant keeps the peak. Use it when --steps may grow later
    (constant), as each size has one of its own."""
    final: float = 0.1
    """Learning rate of the last step, as a share of the peak. Use it with the cosine schedule when a run should end at
    another rate."""
    b1: float = 0.9
    """AdamW's decay of the mean of gradients. Use it when you repeat somebody's recipe."""
    b2: float = 0.999
    """AdamW's decay of the mean of squared gradients. Use it when you repeat somebody's recipe; 0.95 suits large
    models."""
    weight_decay: float = 1e-4
    """AdamW's weight decay, on matrices only; 0: none. Use it when a small dataset is learned by heart."""
    clip: float = 1.0
    """Largest global gradient norm. Use it when gradient norms in the log are often larger."""
    ema: float | None = None
    """Decay of a moving average of the parameters, which evaluation and export then use; None keeps none. Use it when
    the run is long: the average acts better than the last step."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: paths such as vision, backbone/embedding, backbone/layers/0-8 (the first nine
    layers), vision/blocks/3 or */layers/*/query, with all below them. Use it when memory is short, or the backbone must
    stay as it is."""
    expert_first: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Update only the action expert during so many steps at the start of the run. Use it when a new expert's gradients would
    reach a pretrained backbone, as with --preset joint."""
    high_rate: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Allow a peak above 2e-4 with --weights or for a large model. Use it when you mean such a rate."""

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
    """LoRA: thin matrices learn beside those of attention and feed-forward networks (train/learning/lora.py); rank 0 is off."""

    rank: int = 0
    """Columns of the thin matrices; openpi takes 16 for the backbone. Use it to fine-tune a large model on little memory."""
    alpha: float = 16.0
    """What adapters add is multiplied by alpha / rank. Use it when you change the rank: in proportion, to keep their weight."""
    paths: tuple[str, ...] = ()
    """What is adapted: components, stacks or matrices such as vision/blocks, expert or backbone/layers/query. All else under
    these paths stays as it is. By default the layers of backbone and expert. Use it to adapt vision, too, or less than that."""

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
    """Trains a vision-language-action model with L_VLM + L_FAST + alpha * L_FLOW.

    Example: fasttok-train --preset ki --size debug --shards SHARDS --out RUN --steps 2000
    """

    shards: Path
    """Folder of `fasttok-pipelines build`. Use it always."""
    out: Path
    """Folder of the run: config.json, text_tokenizer.json, tokenizer/, metrics.jsonl, checkpoints/. Use it always."""
    preset: str = "ki"
    """What is trained (train/presets.py); the other flags change it. Use it to choose what is compared."""
    size: str = "debug"
    """Shapes of the model, and how that size is trained (train/presets.py). Use it to choose between a laptop (debug),
    one small GPU (small) and the full model."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Shapes of the model, and how its components are joined."""
    data: DataConfig = field(default_factory=DataConfig)
    """What the rows become."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes to training images."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """The optimiser."""
    lora: LoraConfig = field(default_factory=LoraConfig, metadata=json_files.IF_NOT_DEFAULT)
    """Thin matrices that learn in place of large ones."""
    steps: int = 1000
    """Optimiser steps. Use it always: the default is for a first look."""
    batch_size: int = 32
    """Rows of a step, over all devices and processes. Use it when devices have room for more rows."""
    accumulate: int = 1
    """Microbatches that the rows of a step are computed in, one after the other: less memory, the same gradient. Use it
    when a step does not fit into memory."""
    fsdp: int = 1
    """Devices that share one copy of parameters and optimiser state; all groups of so many have the same (mesh data x
    fsdp). Use it when parameters and optimiser state do not fit on one device."""
    alpha: float = 1.0
    """Weight of L_FLOW. Use it when actions by flow should weigh more or less than tokens."""
    loss_norm: LossNorm = "tokens"
    """tokens: the mean over all text-loss tokens, gradients follow token shares; samples: the mean of each row's mean.
    Use it when short answers are drowned by long ones: samples."""
    flow_draws: int = 2
    """Flow times per row and step: each costs one pass of the small expert and lowers the variance. Use it when the
    expert is cheap beside the backbone: more draws for one pass."""
    rtc_delay: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Real-time chunking: most steps of a chunk that are given without noise in training, so that the run can continue
    a chunk that is being executed (`Player.act(prefix=, delay=)`). Use it when a robot moves on while the next chunk is
    computed: so many of its steps as that takes at most."""
    insulation_schedule: tuple[str, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    """Insulation that changes: STEP:SHARE words, such as 1000:1 5000:0.5, with one share or one per layer, from that step
    on; before the first, --model.insulation. Use it when the backbone should meet the expert's gradient later, or no more."""
    init_from: Path | None = None
    """Run whose vision encoder and backbone (and text tokenizer) this one starts from. Use it when you have trained a
    model on questions first, or fine-tune a run."""
    init_from_expert: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Take the action expert of --init-from, too. Use it when you fine-tune a run on shards whose actions have the same
    dimensions and horizon."""
    weights: Path | None = None
    """Checkpoint to start from: PaliGemma or our own safetensors, openpi's or lerobot's pi0.5 (docs/weights.md). Use it
    at full size: from scratch it would not learn."""
    weights_strict: bool = False
    """Require an exact match with the checkpoint: no missing and no extra parameters. Use it when the checkpoint is of
    exactly this model."""
    weights_resample: bool = False
    """Resample the checkpoint's position embedding to --model.image-size. Use it when --model.image-size differs from
    the checkpoint's."""
    seed: int = 0
    """Seed of parameters, data order and noise. Use it when you repeat a run to see how much luck matters."""
    log_every: int = 20
    """Steps between lines of the log. Use it when the log is too long or too short."""
    probe_every: int = 0
    """Steps between measurements of each loss's own gradient norm, three more backward passes; 0: none. Use it when you
    study which loss moves what."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step is always saved. Use it when the machine may stop at any time
    (fewer)."""
    keep: int = 2
    """Checkpoints to keep. Use it when you want to evaluate earlier steps, too."""
    held_out: Path | None = field(default=None, metadata=json_files.IF_NOT_DEFAULT)
    """Shards of other episodes (sources of `split: val`) to measure the run on while it trains: losses and action errors
    on rows that stay the same. Use it in every run that matters: training losses do not show overfitting."""
    held_out_every: int = field(default=0, metadata=json_files.IF_NOT_DEFAULT)
    """Steps between such measurements; 0: as many as between checkpoints. The last step is always measured. Use it with
    --held-out, to see more points of the curve."""
    held_out_rows: int = field(default=256, metadata=json_files.IF_NOT_DEFAULT)
    """Rows of --held-out to measure, spread evenly over kinds and sources. Use it with --held-out, to make its numbers
    less noisy (more) or faster (fewer)."""
    keep_best: bool = field(default=False, metadata=json_files.IF_NOT_DEFAULT)
    """Also keep the parameters of the step with the lowest held-out action error (held_out_nrmse; without an expert or robot
    rows: held_out_loss), in RUN/best. Use it with --held-out, when a run may overfit."""
    trackers: tuple[str, ...] = ()
    """Where metrics go besides metrics.jsonl: tensorboard, wandb. Use it when you watch several runs."""
    resume: bool = False
    """Continue from the last checkpoint in OUT; the settings must be those of OUT/config.json. Use it
    after a stop, with the same flags."""
    resume_with: tuple[str, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    """With --resume: names of settings that may differ from OUT/config.json, such as batch_size optim.learning_rate. Use it when
    a run should go on with other settings."""
    overwrite: bool = False
    """Replace a run in OUT. Use it when the run there is not needed any more."""
    dry_run: bool = False
    """Compile the step; print parameters, memory per device, FLOPs per sample and the batch plan; train nothing. Use it
    before a long run."""
    distributed: str = ""
    """Multi-host: "auto" (TPU pods, Slurm), or "ADDRESS:PORT,PROCESSES,ID" for jax.distributed. Use it when several
    machines train one model."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "fsdp",
            "flow_draws",
            "log_every",
            "checkpoint_every",
            "keep",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
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
        if self.model.flow is False and self.data.discrete == "none" and self.data.kinds == ("robot",):
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
        """`model.insulation` or what `insulation_schedule` has in its place at a step, from 1."""
        return insulation_schedule.shares_at(step, self.model.insulation, self.insulation_schedule, self.model.depth)

    def said_of(self, step: int) -> dict[str, float]:
        """What the log says of a step by its phase: the mean share over the layers, if there is an expert."""
        shares = self.insulation_at(step)
        return {"insulation": sum(shares) / len(shares)} if self.model.flow else {}

    @property
    def still(self) -> tuple[str, ...]:
        """Paths of parameters that do not learn: `optim.freeze`, and what LoRA adapts. Adapters under them learn."""
        return self.optim.freeze + self.lora.adapted

    def to_json(self) -> dict[str, Any]:
        """Plain values, as config.json has them."""
        return cast(dict[str, Any], json_files.encode(self))
