"""Serves a run: fasttok-serve --run RUN."""

import asyncio
import logging
import signal
import socket
import time

import tyro

from fasttok.common import completion, json_files
from fasttok.errors import InputError, require, require_installed
from train.acting.sampling_numbers import check_noise_seed, check_sampling
from train.devices.jax_setup import set_up_jax
from train.runs.run_folder import load_config
from train.scripts import serve as script
from train.serving import access
from train.serving.keys import presets
from train.serving.serve_config import ServeConfig

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(config: ServeConfig) -> None:
    """Loads and compiles a run, then serves it until a signal stops the server.

    Raises:
        InputError: the folder is not a run, a flag does not fit the run, or the server cannot listen at the address.
        KeyboardInterrupt: Ctrl-C, after the requests in work were answered.
        SystemExit: SIGTERM, after the requests in work were answered.
    """
    packages = ("websockets", "msgpack", "jax", "orbax.checkpoint", "PIL")  # orbax imports msgpack, too
    require_installed(packages, "serve", "fasttok-serve")
    if config.max_frame_mb < 1:
        raise InputError(f"--max-frame-mb is {config.max_frame_mb}; expected at least 1")
    check_noise_seed(config.seed, "--seed")
    check_sampling(config.flow_steps, 1, config.temperature)
    key = access.read_key(config.api_key_file)
    with access.bound(config.host, config.port) as sock:
        load_config(config.run)
        for package in packages:  # only now, as this takes seconds
            require(package, "serve", "fasttok-serve")
        number = asyncio.run(_serve(config, key, sock))
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


async def _serve(config: ServeConfig, key: str | None, sock: socket.socket) -> int:
    """Serves until a signal comes, and returns its number."""
    from train.serving.ready import ready_policy
    from train.serving.server import PolicyServer, ServerOptions

    heard = HeardSignals()
    began = time.monotonic()
    loading = asyncio.get_running_loop().run_in_executor(None, ready_policy, config)
    policy, metadata = await loading
    options = ServerOptions(key, config.max_frame_mb << 20, config.seed)
    async with PolicyServer(policy, json_files.encode(metadata), options).listening(sock) as server:
        heard.serving = True
        access.warn_if_open(config.host, key)
        logger.info(f"ready after {time.monotonic() - began:.0f} s, with {'an' if key else 'no'} API key")
        host = f"[{config.host}]" if ":" in config.host else config.host
        logger.info(f"serving {config.run} (step {metadata.step}, {metadata.embodiment}) at ws://{host}:{server.port}")
        number = await heard.first
        logger.info("stopping: requests in work are answered; once more stops at once")
        await server.stop()
        if line := server.traffic.line():
            logger.info(f"since the last line: {line}")
    logger.info(f"stopped after {server.traffic.answered} answers")
    return number


class HeardSignals:
    """Handles Ctrl-C and SIGTERM: the first signal sets the future `first`, the second ends the process at once.

    Before the server serves, the first signal already ends the process. Signals that the shell ignores (`nohup`) stay ignored.

    Attributes:
        first: future for the number of the first signal.
        serving: whether the server serves, so that there may be requests to finish.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[int] = loop.create_future()
        self.serving = False
        self._since = 0.0
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._hear, number)

    def _hear(self, number: int) -> None:
        from train.runs.stopping import ONE_SIGNAL, end_at_once

        if not self.serving:
            end_at_once("interrupted: it did not serve yet", number)
        if not self.first.done():
            self._since = time.monotonic()
            self.first.set_result(number)
        elif time.monotonic() - self._since > ONE_SIGNAL:
            end_at_once("interrupted: requests in work get no answer", number)


def command(argv: list[str]) -> None:
    """Runs the command with the words of a command line."""
    if completion.is_asked(argv):
        choices = {"keys": tuple(sorted(presets()))}
        completion.print_completion("fasttok-serve", {"": completion.CompletedVerb(ServeConfig, (), choices)}, argv)
        return
    set_up_jax()
    main(tyro.cli(ServeConfig, prog="fasttok-serve", args=argv))


if __name__ == "__main__":
    script()
