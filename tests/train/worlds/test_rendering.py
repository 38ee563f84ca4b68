"""Whether MuJoCo can draw here: a child tries, the first way that works is taken, and a failure says what to install."""

import pytest

from fasttok.errors import InputError
from train.worlds import rendering


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        ("raise ImportError('libOSMesa.so: cannot open')", "ImportError: libOSMesa.so: cannot open"),
        ("import os; os.kill(os.getpid(), 11)", "it ended with status -11"),
        ("print('nothing is drawn')", "it ended with status 0"),
    ],
)
def test_a_machine_that_cannot_draw_is_told_what_to_install(
    trial: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial runs in a child process, which may crash."""
    monkeypatch.setattr(rendering, "TRIAL", trial)
    monkeypatch.delenv(rendering.VARIABLE, raising=False)
    monkeypatch.delenv(rendering.TRIED, raising=False)
    with pytest.raises(InputError) as caught:
        rendering.check_rendering()
    said = str(caught.value)
    assert f"MUJOCO_GL=egl: {why}; MUJOCO_GL=osmesa: {why}" in said
    assert "apt-get install libegl1 libgl1-mesa-dri" in said
    assert "libosmesa6" in said
    # What the user has chosen is tried alone.
    monkeypatch.setenv(rendering.VARIABLE, "osmesa")
    with pytest.raises(InputError, match="MUJOCO_GL=osmesa") as caught:
        rendering.check_rendering()
    assert "egl:" not in str(caught.value)


def test_the_first_way_that_draws_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def trial(way: str) -> str | None:
        asked.append(way)
        return "no EGL" if way == "egl" else None

    monkeypatch.setattr(rendering, "_reason_against", trial)
    monkeypatch.setenv(rendering.VARIABLE, "")
    monkeypatch.setenv(rendering.TRIED, "")
    rendering.check_rendering()
    rendering.check_rendering()
    assert asked == ["egl", "osmesa"], "asked once"
