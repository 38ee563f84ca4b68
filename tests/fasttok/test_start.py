"""Console scripts begin with nothing imported: Ctrl-C while modules load is a short line, and status 130."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fasttok.common import console

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started these tests with Ctrl-C switched off
sys.path.insert(0, {folder!r})
from fasttok.common.start import start
start("slow", "slow_to_import")
"""


@pytest.mark.parametrize(
    "body",
    [
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nmain = print\n",
        "try:\n    import os, signal\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    raise ImportError\n",
        "import os, signal\ndef main(words):\n    os.kill(os.getpid(), signal.SIGINT)\n",
        "import os, signal\ndef main(words):\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except BaseException:\n        raise ImportError('a library')\n",
    ],
    ids=["while importing", "while importing what hides it", "while running", "while running what hides it"],
)
def test_an_interrupt_is_one_line(body: str, tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(body)
    command = [sys.executable, "-c", SCRIPT.format(folder=str(tmp_path))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_the_handler_is_back_when_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import signal\ndef main(words):\n    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, words)\n"
    )
    command = [sys.executable, "-c", SCRIPT.format(folder=str(tmp_path)), "a", "b"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "True ['a', 'b']\n")


def test_what_the_system_refuses_of_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def read_a_folder() -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a").read_text()

    def bug() -> None:
        raise OSError("of no file")

    assert console.run(read_a_folder) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/a: Is a directory\n"
    with pytest.raises(OSError, match="of no file"):
        console.run(bug)


def test_every_console_script_answers_version() -> None:
    for module, function in (("pipelines.__main__", "script"), ("train.scripts", "evaluate"), ("fasttok.cli", "main")):
        code = f"import sys; sys.argv = ['x', '--version']; from {module} import {function}; {function}()"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
        assert result.returncode == 0, result.stderr
        assert result.stdout.split()[0].startswith("fasttok")
    assert signal.getsignal(signal.SIGINT) is not None
