"""Reads text files that are installed with a package."""

from importlib.resources import files


def yaml_texts(package: str, folder: str) -> dict[str, str]:
    """Returns the YAML files in a folder of a package: name without .yaml -> text.

    Args:
        package: dotted name of the package.
        folder: path of the folder inside the package.
    """
    return {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8")
        for f in files(package).joinpath(folder).iterdir()
        if f.name.endswith(".yaml")
    }
