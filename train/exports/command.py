"""The command fasttok-export. It checks its options before it imports JAX, so that errors in them appear at once."""

import tyro

from fasttok.common import completion
from fasttok.errors import require_installed
from train.devices.jax_setup import set_up_jax
from train.exports.export_config import ExportConfig
from train.given_paths import TRAINING
from train.runs.run_folder import load_config
from train.scripts import export as script


def main(argv: list[str]) -> None:
    """Exports a run, and reports on it.

    Raises:
        InputError: there is no such run, or `train.export.export_and_report` refuses it.
    """
    if completion.is_asked(argv):
        completion.print_completion("fasttok-export", {"": completion.CompletedVerb(ExportConfig)}, argv)
        return
    config = tyro.cli(ExportConfig, args=argv, prog="fasttok-export")
    require_installed(TRAINING, "train", "fasttok-export")
    load_config(config.run)
    set_up_jax()
    from train.export import export_and_report

    export_and_report(config)


if __name__ == "__main__":
    script()
