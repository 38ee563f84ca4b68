"""The entries that come with the package: pipelines/datasets/entries/*.yaml."""

from fasttok.common.packaged import yaml_texts


def packaged() -> dict[str, str]:
    """Returns dataset name -> YAML text of its entry."""
    return yaml_texts("pipelines.datasets", "entries")
