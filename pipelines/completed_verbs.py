"""Lists the verbs of `fasttok-pipelines` and what may follow them, for shell completion."""

from fasttok.common.completion import CompletedVerb
from mixtures.registry import preset_names
from pipelines.builder.config import BuildConfig
from pipelines.catalogue.commands import DatasetDraftConfig, DatasetListConfig, DatasetShowConfig
from pipelines.check.command import CheckConfig
from pipelines.datasets.packaged_entries import packaged
from pipelines.index.config import IndexConfig
from pipelines.index.statistics_config import StatisticsConfig
from pipelines.look.inspect import InspectConfig
from pipelines.look.lint import LintConfig
from pipelines.look.stats import StatsConfig


def completed_verbs() -> dict[str, CompletedVerb]:
    """Returns verb -> its flags, and the names that its arguments may be."""
    return {
        "check": CompletedVerb(CheckConfig),
        "index": CompletedVerb(IndexConfig),
        "statistics": CompletedVerb(StatisticsConfig),
        "datasets list": CompletedVerb(DatasetListConfig),
        "datasets show": CompletedVerb(DatasetShowConfig, tuple(sorted(packaged()))),
        "datasets draft": CompletedVerb(DatasetDraftConfig),
        "build": CompletedVerb(BuildConfig, ("all", *preset_names())),
        "inspect": CompletedVerb(InspectConfig),
        "stats": CompletedVerb(StatsConfig),
        "lint": CompletedVerb(LintConfig),
    }
