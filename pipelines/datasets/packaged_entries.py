"""The entries that come with the package: pipelines/datasets/entries/*.yaml."""

from importlib.resources import files


def packaged() -> dict[str, str]:
    """Name of a dataset -> YAML text of its entry."""
    folder = files("pipelines.datasets").joinpath("entries")
    return {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8")
        for f in folder.iterdir()
        if f.name.endswith(".yaml")
    }
