"""Checks the tokenizer of a build against the data, fits one if asked, and copies it into SHARDS/tokenizer."""

import logging
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fasttok import ActionTokenizer
from fasttok.common.console import track
from fasttok.common.next_command import command
from fasttok.common.stores import kind_at
from fasttok.episodes.index import read as read_index_episodes
from fasttok.errors import InputError, unknown_name
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from mixtures.index_sizes import Holding
from mixtures.spec import Mixture
from pipelines.builder.sources import ResolvedSource
from pipelines.common.files import atomic_write, filesystem, join
from pipelines.shards.tokenizer import load_tokenizer, relative_files

logger = logging.getLogger(__name__)

TOKENIZER = "tokenizer"
CONFIG_LAST = "processor_config.json"  # copied last: a tokenizer folder without it does not load


def check_tokenizer(mixture: Mixture, facts: list[ResolvedSource]) -> ActionTokenizer | None:
    """Loads the tokenizer that the mixture names and compares it with the data.

    Returns:
        The tokenizer; None for `fit`, and without robot sources.

    Raises:
        InputError: the tokenizer does not exist or lacks an embodiment; or its action_dim, its form of actions, or the horizon
            of a learned transform does not match the data.
    """
    if mixture.tokenizer == "fit" or not any(source.robot for source in facts):
        return None
    tok = ActionTokenizer.load(mixture.tokenizer)
    for source in facts:
        if not source.robot or source.embodiment is None:
            continue
        if source.embodiment not in tok.stats:
            again = command("fasttok", "fit", mixture.index or "INDEX", "--out", f"{mixture.tokenizer}-new")
            hint = f"fit one on this data: {again}, or pass --tokenizer fit"
            raise InputError(f"{mixture.tokenizer}: {unknown_name('embodiment', source.embodiment, tok.stats, hint)}")
        shape = tok.embodiments.get(source.embodiment)
        form = source.representation.name if source.representation else ""
        if shape is not None and shape.form != form:
            raise InputError(
                f"{mixture.tokenizer}: embodiment {source.embodiment!r} was fitted on actions {shape.form or 'as stored'}, the "
                f"mixture has them {form or 'as stored'}; pass --tokenizer fit"
            )
        dims = len(tok.stats[source.embodiment].mean)
        if dims != source.action_dim:
            raise InputError(
                f"{mixture.tokenizer}: embodiment {source.embodiment!r} has action_dim {dims}, dataset"
                f" {source.dataset!r} has {source.action_dim}; fit a tokenizer on this INDEX, or pass --tokenizer fit"
            )
        if shape is not None and shape.relative:
            raise InputError(
                f"{mixture.tokenizer}: embodiment {source.embodiment!r} tokenises dims {list(shape.relative)} relative to the "
                "state; fit it without --relative, and ask for `action: {form: relative}` in the mixture"
            )
        _check_horizon(tok, source, mixture.tokenizer)
        if shape is not None and shape.horizon != source.horizon:
            logger.info(
                "note: %s: chunks of %d steps, the tokenizer was fitted on %d; the ids are exact anyway, only longer than "
                "they could be",
                source.name, source.horizon, shape.horizon,
            )  # fmt: skip
    return tok


def _check_horizon(tok: ActionTokenizer, source: ResolvedSource, where: str) -> None:
    """Raises InputError if the tokenizer learned its transform for another horizon than the source's."""
    try:
        tok.transform(source.embodiment).rows(source.horizon)
    except InputError as error:
        raise InputError(f"{where}: embodiment {source.embodiment!r}: {error}") from None


def place_tokenizer(
    out: str,
    mixture: Mixture,
    facts: list[ResolvedSource],
    index: str,
    given: ActionTokenizer | FitConfig,
    holdings: Mapping[str, Holding],
) -> str | None:
    """Puts the tokenizer into SHARDS/tokenizer, and fits it first if asked. Keeps one that an earlier run left there.

    Args:
        out: path or URL of SHARDS.
        mixture: names the tokenizer folder, which is copied.
        facts: sources of the mixture.
        index: path or URL of the INDEX.
        given: the tokenizer, or how to fit one.
        holdings: source -> its records in the INDEX.

    Returns:
        Fingerprint of the tokenizer; None without robot sources.

    Raises:
        InputError: an earlier run of this build used another tokenizer, or fitted it with other options.
    """
    if not any(source.robot for source in facts):
        return None
    folder = join(out, TOKENIZER)
    fs, path = filesystem(folder)
    if kind_at(fs, join(path, CONFIG_LAST)):
        placed = load_tokenizer(folder)
        if isinstance(given, FitConfig):
            _check_fitted_so(out, placed, given)
        elif given.fingerprint != placed.fingerprint:
            raise InputError(
                f"{out} was begun with tokenizer {placed.fingerprint}, {mixture.tokenizer} is {given.fingerprint}; resume with"
                " the same tokenizer, or pass --overwrite"
            )
        return placed.fingerprint
    if isinstance(given, ActionTokenizer):
        copy_tokenizer(mixture.tokenizer, folder)
        return given.fingerprint
    fitted = fit_on_index(facts, index, holdings, given)
    with tempfile.TemporaryDirectory() as temporary:
        fitted.save(join(temporary, TOKENIZER))
        copy_tokenizer(join(temporary, TOKENIZER), folder)
    return fitted.fingerprint


def _check_fitted_so(out: str, placed: ActionTokenizer, wanted: FitConfig) -> None:
    """Raises InputError if the tokenizer in SHARDS was fitted with other options."""
    other = "constant" if wanted.constants == "low" else "constant_low"
    every = placed.stats.values()
    if any(stats.clip != wanted.clip or other in stats.normalized_by for stats in every):
        raise InputError(
            f"{out} was begun with other --fit-constants or --fit-clip; resume with the same ones, or pass --overwrite"
        )


def fit_on_index(
    facts: list[ResolvedSource], index: str, holdings: Mapping[str, Holding], config: FitConfig
) -> ActionTokenizer:
    """Fits one vocabulary on the mixture's robot sources (`tokenizer: fit`), from the INDEX's standardised columns.

    The fit does not see episodes that the filters of every source leave out, so episodes that a filter sets aside stay held out.
    """
    robots = [source for source in facts if source.robot]
    logger.info("fitting a tokenizer on %s ...", ", ".join(sorted({source.dataset for source in robots})))
    rows: dict[str, dict[tuple[str, int], set[int]]] = {}
    for source in robots:
        holding = holdings[source.name]
        for file, row, records in zip(
            holding.file.tolist(), holding.row.tolist(), holding.records.tolist(), strict=True
        ):
            wanted = rows.setdefault(source.split, {}).setdefault((source.dataset, file), set())
            wanted.update(range(row, row + records))
    episodes = (
        episode
        for split in sorted(rows)
        for episode in read_index_episodes(index, split, partial(_wanted, rows[split]))
    )
    represent = {str(s.embodiment): s.representation for s in robots if s.representation}
    horizons = {str(source.embodiment): source.horizon for source in reversed(robots)}
    tok, report = fit_tokenizer(
        episodes,
        config,
        represent,
        horizons,
        lambda merges: track(merges, "learning merges", unit="merges"),
    )
    for line in report.notes():
        logger.warning("tokenizer: %s", line)
    return tok


def _wanted(rows: Mapping[tuple[str, int], set[int]], dataset: str, file: int) -> set[int] | None:
    return rows.get((dataset, file))


def copy_tokenizer(source: str, folder: str) -> None:
    """Copies a tokenizer's files. The file without which the tokenizer does not load comes last."""
    for name in sorted(relative_files(source), key=lambda name: (name == CONFIG_LAST, name)):
        with atomic_write(join(folder, name)) as stream:
            stream.write((Path(source) / name).read_bytes())
