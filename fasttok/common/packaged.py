"""Text files that come with a package."""

from importlib.resources import files


def yaml_texts(package: str, folder: str) -> dict[str, str]:
    """The YAML files in a folder of a package: name without .yaml -> text.

    Args:
        package: dotted name.
        folder: in it.
    """
    return {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8")
        for f in files(package).joinpath(folder).iterdir()
        if f.name.endswith(".yaml")
    }
