"""Estimates how many FAST ids the chunks of each robot source take, from a sample of the INDEX, for the token shares."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.chunks import chunks_at, run_ends
from fasttok.actions.normalize import NormStats
from fasttok.common.evenly import evenly
from fasttok.episodes.index import NUMBERED, read_file
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer
from mixtures.spec import Mixture
from mixtures.summary import SourceSizes

EPISODES = 64  # of each source
CHUNKS = 512  # of each source


def with_fast_tokens(mixture: Mixture, known: Mapping[str, SourceSizes], folder: str) -> dict[str, SourceSizes]:
    """Adds FAST ids per chunk to the sizes: from the mixture's tokenizer, or for `fit` from one fitted on the sample itself.

    It takes actions as stored, whatever form a source asks for. For a source that the tokenizer cannot encode, they stay unknown.

    Args:
        mixture: mixture whose sources are estimated.
        known: sizes of each source, by name.
        folder: the INDEX.
    """
    samples = {name: sample(mixture, name, folder) for name, sizes in known.items() if sizes.kind == "robot"}
    samples = {name: chunks for name, chunks in samples.items() if len(chunks)}
    if not samples:
        return dict(known)
    if mixture.tokenizer == "fit":
        stats = {name: NormStats.fit(chunks.reshape(-1, chunks.shape[-1])) for name, chunks in samples.items()}
        tok = ActionTokenizer.fit(samples, stats=stats)
        names = {name: name for name in samples}
    else:
        tok = ActionTokenizer.load(mixture.tokenizer)
        datasets = open_index(folder).datasets
        names = {s.name: datasets[s.dataset].entry.embodiment for s in mixture.sources}
    estimated = dict(known)
    for name, chunks in samples.items():
        try:
            ids = tok.encode_report(chunks, embodiment=names[name]).ids
        except InputError:
            continue
        estimated[name] = replace(known[name], fast_tokens=float(np.mean([len(i) for i in ids])))
    return estimated


def sample(mixture: Mixture, name: str, folder: str) -> NDArray[np.float32]:
    """Returns chunks of a source's first episodes, evenly spread over them, (n, horizon, dims) float32."""
    source = next(source for source in mixture.sources if source.name == name)
    dataset = open_index(folder).datasets[source.dataset]
    entry = dataset.entry
    horizon = (source.chunk or mixture.chunk).horizon(entry.control_hz)
    files = dataset.splits[source.split].files
    numbered = entry.keep_ranges is not None
    bases = (f"{folder.rstrip('/')}/{source.dataset}/{source.split}/{stem}" for stem in files)
    episodes = islice((episode for base in bases for episode in read_file(base, {NUMBERED: numbered})), EPISODES)
    chunks = []
    for episode in episodes:
        action = np.asarray(episode.steps["action"], np.float32)
        steps = evenly(len(action), CHUNKS // EPISODES)
        ends = run_ends(np.asarray(episode.metadata[NUMBERED])) if numbered else None
        chunks.append(chunks_at(action, steps, horizon, entry.action_encoding, ends))
    return np.concatenate(chunks) if chunks else np.zeros((0, horizon, entry.action_dim), np.float32)
