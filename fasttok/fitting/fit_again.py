"""Writes the command of a fit that differs from a tokenizer's only in its scale, for `fasttok eval --target-error`."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from fasttok.actions.channels import Channels
from fasttok.actions.chunks import horizon_steps
from fasttok.actions.dataset import Dataset
from fasttok.actions.embodiment import Embodiment
from fasttok.codec.bpe import MAX_CODE
from fasttok.codec.codec_fit import CodecFit
from fasttok.codec.corpus import CodeRangeError, Corpus
from fasttok.codec.learn import MAX_NATIVE_IDS
from fasttok.codec.learn_transform import TransformPlan
from fasttok.common.next_command import command
from fasttok.fitting.fit import FitConfig, action_stats, relative_pairs
from fasttok.tokenizer import ActionTokenizer


def config_like(tok: ActionTokenizer, data: Dataset, read: FitConfig) -> FitConfig:
    """Returns how to fit a tokenizer like `tok`, native and with the DCT, because only such a fit has codes for every chunk.

    The vocabulary is doubled until it has room for the codes of the scale.

    Args:
        tok: the tokenizer.
        data: what it was measured on, and what the fit reads.
        read: the scale of the fit, and how it reads the data: keys and what to leave out.

    Raises:
        CodeRangeError: no vocabulary has so many codes.
    """
    embodiments = {name: group.embodiment for name, group in data.groups.items()}
    first = next(iter(embodiments.values()))
    stats = [tok.stats[name] for name in embodiments if name in tok.stats]
    config = replace(
        read,
        horizon=max(what.horizon for what in embodiments.values()),
        gripper=next((what.gripper for what in embodiments.values() if what.gripper != "keep"), "keep"),
        relative_to=_pairs(embodiments),
        state_key=read.state_key or next((what.state_key for what in embodiments.values() if what.state_key), ""),
        gain=first.gain if all(what.gain == first.gain for what in embodiments.values()) else (),
        normalize=stats[0].mode if stats else "none",
        constants="low" if any("constant_low" in one.normalized_by for one in stats) else "zero",
        clip=any(one.clip and one.mode != "none" for one in stats),
        vocab_size=tok.vocab_size,
        embodiments=data.embodiments,
    )
    seconds = _seconds([*embodiments.values()])
    if seconds is not None:
        config = replace(config, horizon=None, seconds=seconds)
    needed, size = codes(data, config), config.vocab_size
    if needed > MAX_CODE + 1:
        raise CodeRangeError(f"the coefficients span {needed} codes, and a vocabulary has at most {MAX_CODE + 1}")
    while size < needed:
        size *= 2
    return replace(config, vocab_size=min(size, MAX_NATIVE_IDS))


def codes(data: Dataset, config: FitConfig) -> int:
    """Returns how many codes a fit on this data gives to coefficients, and so how many ids it needs at least.

    Raises:
        CodeRangeError: a coefficient is larger than a token can stand for.
    """
    made = CodecFit(config.scale, config.vocab_size, config.mode, TransformPlan(), lambda merges: merges)
    with Corpus() as corpus:
        for name, group in data.groups.items():
            channels = replace(Channels.of(action_stats(group, config), group.embodiment), relative=())
            batches = map(channels.forward, group.relative_chunks("train", config.max_chunks))
            made.add(corpus, name, batches, channels.unit, None)
        low, high = made.limits(corpus)
    return high - low + 1


def fit_command(config: FitConfig, data: Sequence[str], split: str, out: str | Path) -> str:
    """Returns the command of a fit: every setting that is not the default.

    >>> fit_command(FitConfig(horizon=10, scale=14.1, gain=(1.0, 2.0), clip=True), ["d.npz"], "train", "tok")
    'fasttok fit d.npz --horizon 10 --gain 1 2 --scale 14.1 --clip --out tok'
    """
    words = [] if split == "train" else ["--split", split]
    usual = FitConfig(relative=bool(config.relative_to))  # relative_to alone says that dims are relative
    for field in fields(FitConfig):
        value, default = _words(getattr(config, field.name)), _words(getattr(usual, field.name))
        if value != default:
            words += [f"--{field.name.replace('_', '-')}", *(word for word in value if word != "True")]
    return command("fasttok", "fit", *data, *words, "--out", out)


def _words(value: object) -> list[str]:
    """Returns the words of a setting, as they follow its flag."""
    values = value if isinstance(value, tuple) else (value,)
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in values]


def _pairs(embodiments: dict[str, Embodiment]) -> tuple[str, ...]:
    """Returns ACTION=STATE pairs, with the name of the embodiment before them if there are several."""
    return tuple(
        f"{name}:{dim}={column}" if len(embodiments) > 1 else f"{dim}={column}"
        for name, what in embodiments.items()
        for dim, column in relative_pairs(what).items()
    )


def _seconds(embodiments: Sequence[Embodiment]) -> float | None:
    """Returns the length of chunks in seconds that gives each embodiment its horizon; None if all have one, or there is none."""
    if len({what.horizon for what in embodiments}) == 1 or not all(what.control_hz for what in embodiments):
        return None
    for one in embodiments:
        seconds = one.horizon / (one.control_hz or 1.0)
        if all(horizon_steps(seconds, what.control_hz or 1.0) == what.horizon for what in embodiments):
            return seconds
    return None
