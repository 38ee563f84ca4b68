"""Checks the flags for Beam before anything is written, because Beam ignores flags that it does not know."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from fasttok.errors import InputError, require, unknown_name

DIRECT = "DirectRunner"


def runner_of(beam_args: Iterable[str]) -> str:
    """Returns the name of the runner in the flags, DirectRunner by default.

    >>> runner_of(["--runner=FlinkRunner", "--parallelism=2"]), runner_of([])
    ('FlinkRunner', 'DirectRunner')
    """
    named = [arg.partition("=")[2] for arg in beam_args if arg.startswith("--runner=")]
    return named[-1] if named else DIRECT


def check_flags(beam_args: list[str], ours: Iterable[str], help_command: str) -> None:
    """Refuses flags that neither the command nor Beam has.

    Args:
        beam_args: flags that the command does not know.
        ours: names of the command's own flags, without dashes.
        help_command: command that prints these flags, for messages.

    Raises:
        InputError: an unknown flag or runner, a runner that lacks its packages, or a value that Beam refuses.
    """
    if not beam_args:
        return
    options = require("apache_beam.options.pipeline_options", "pipelines", "a Beam job")
    _runner(runner_of(beam_args))  # importing the runner's module may add flags to Beam
    held: list[argparse.ArgumentParser] = []
    options.PipelineOptions([]).get_all_options(add_extra_args_fn=held.append)
    parser = held[0]

    def refuse(message: str) -> NoReturn:
        raise InputError(f"Beam refuses its flags: {message}. See: {help_command}")

    parser.error = refuse  # type: ignore[method-assign]
    _, unknown = parser.parse_known_args(beam_args)
    if not unknown:
        _check_complete(beam_args)
        return
    name = unknown[0].split("=")[0]
    known = [*(f"--{own}" for own in ours), *parser._option_string_actions]
    close = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(
        name.replace("-", "_").replace("__", "--", 1), known, n=1
    )
    guess = f"; did you mean {close[0]}?" if close else "."
    raise InputError(f"unknown flag {name}{guess} Neither this command nor Beam has it. See: {help_command}")


def _check_complete(beam_args: list[str]) -> None:
    """Asks Beam which flags the runner still needs. Beam itself would say so only when the pipeline runs."""
    name = runner_of(beam_args)
    if name == DIRECT:
        return
    options = require("apache_beam.options.pipeline_options", "pipelines", "a Beam job")
    checks = require("apache_beam.options.pipeline_options_validator", "pipelines", "a Beam job")
    wrong = checks.PipelineOptionsValidator(options.PipelineOptions(beam_args), _runner(name)).validate()
    if wrong:
        said = " ".join(dict.fromkeys(" ".join(str(one).split()) for one in wrong))
        raise InputError(f"--runner={name} cannot start: {said} Write each as --flag=value, such as --project=NAME")


def _runner(name: str) -> Any:
    runners = require("apache_beam.runners.runner", "pipelines", "a Beam job")
    try:
        return runners.create_runner(name)
    except ValueError:
        known = require("apache_beam.options.pipeline_options", "pipelines", "a Beam job")
        raise unknown_name("runner", name, known.StandardOptions.KNOWN_RUNNER_NAMES) from None
    except Exception as error:  # importing the runner's module may raise anything
        raise cannot_start(name, error) from None


def cannot_start(name: str, error: BaseException) -> InputError:
    """Returns an error with one sentence about why a runner does not start here."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    if said.endswith(":"):
        said = " ".join(lines[:4])
    return InputError(
        f"--runner={name} cannot start here: {said}; install or start what it needs, or leave out --runner to run on this machine"
    )
