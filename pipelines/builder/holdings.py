"""Reads what the INDEX has of each source of a mixture, once for sources that take the same records."""

from fasttok.common.console import track
from mixtures.index_sizes import Holding, read_holding
from mixtures.spec import Mixture, SourceFilters, asked_for
from pipelines.builder.plan import records_of
from pipelines.builder.sources import ResolvedSource


def read_holdings(mixture: Mixture, facts: list[ResolvedSource], index: str) -> dict[str, Holding]:
    """Returns source -> its records in the INDEX. Sources that take the same records of a dataset share one object."""
    known: dict[tuple[str, str, SourceFilters], Holding] = {}
    names: dict[str, Holding] = {}
    for source, fact in track(list(zip(mixture.sources, facts, strict=True)), "reading the INDEX", unit="sources"):
        key = records_of(source)
        if key not in known:
            with asked_for(source):
                known[key] = read_holding(index, source, fact.files, fact.directory)
        names[source.name] = known[key]
    return names
