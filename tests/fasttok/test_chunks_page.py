"""The page of `fasttok inspect --html` names what it draws."""

import re

import numpy as np

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.codec.learn_transform import TransformPlan
from fasttok.codec.spline import SplineConfig
from fasttok.evaluation.inspect_page import ShownChunk, inspect_page
from tests.html_checks import assert_whole, without_scripts

NAMES = ("kLeftShoulderPitch (rad)", "kLeftShoulderRoll (rad)", "gripper")


def page(names: tuple[str, ...]) -> str:
    """One chunk of three dims."""
    chunks = np.cumsum(np.random.default_rng(0).normal(size=(40, 15, 3)), axis=1) / 10
    tok = ActionTokenizer.fit(chunks, 256)
    return inspect_page(tok, "mine", [ShownChunk("the first", None, chunks[0], names=names, control_hz=10.0)])


def test_every_chart_has_its_dims_name_and_unit_once() -> None:
    shown = page(NAMES)
    assert_whole(shown)
    titles = re.findall(r'<h3 class="axis-title">([^<]*)</h3>', shown)
    assert titles[:3] == [*NAMES[:2], "gripper, raw units"]
    assert shown.count(">time (s)</text>") == 3


def test_long_names_of_columns_are_written_upwards_and_stay_apart() -> None:
    drawn = without_scripts(page(NAMES)).partition("chart scroll heatmap")[2]
    heads = re.findall(r'transform="rotate\(-90 [^"]*">([^<]*)<', drawn)
    assert heads == ["kLeftShoulderPitch", "kLeftShoulderRoll", "gripper"]
    assert 'transform="rotate' not in page(("x (m)", "y (m)", "gripper"))
    assert ">dim 2<" in page(())


def test_coefficients_are_read_on_their_colours_and_scroll_by_keyboard() -> None:
    drawn = page(NAMES)
    values = re.findall(r'<text class="cell"[^>]*>(-?\d+)</text>', drawn)
    assert values
    assert "svg .cell { fill:var(--ink) }" in drawn  # grey words on these colours would have a contrast below 4.5
    assert '<figure class="chart scroll heatmap" tabindex="0"' in drawn


CHUNKS = np.cumsum(np.random.default_rng(0).normal(size=(40, 15, 3)), axis=1) / 10


def heads(drawn: str) -> list[str]:
    """Names above the columns of coefficients."""
    figure = without_scripts(drawn).partition("chart scroll heatmap")[2].partition("<rect")[0]
    return re.findall(r"<text[^>]*>([^<]*)<", figure)


def test_values_are_those_that_the_tokens_stand_for() -> None:
    tok = ActionTokenizer.fit(CHUNKS, 300)
    shown = ShownChunk("", None, CHUNKS[0] * 50)  # outside of the range that the fit saw
    _, coefs, back = shown.through(tok)
    assert np.abs(tok.coefficients(shown.chunk)).max() > tok.max_token
    assert np.abs(coefs).max() == tok.max_token
    np.testing.assert_array_equal(tok.transform().actions(coefs.reshape(1, -1) * 1.0, tok.scale, 15, 3)[0], back)


def test_columns_have_the_names_of_their_dims() -> None:
    named = ShownChunk("", "arm", CHUNKS[0], names=("grip", "x", "y"))
    what = Embodiment(15, 3, action_encoding=("gripper", "delta", "delta"), gripper="omit")
    omitted = ActionTokenizer.fit({"arm": CHUNKS}, 300, embodiments={"arm": what})
    assert heads(inspect_page(omitted, "t", [named])) == ["x", "y"]
    plain = ShownChunk("", None, CHUNKS[0], names=("grip", "x", "y"))
    rotated = inspect_page(ActionTokenizer.fit(CHUNKS, 300, transform="rotation"), "t", [plain])
    assert heads(rotated) == ["0", "1", "2"]  # its columns are directions of all dims
    assert heads(inspect_page(ActionTokenizer.fit(CHUNKS, 300, transform="basis"), "t", [plain])) == ["grip", "x", "y"]
    splines = TransformPlan("dct", {}, SplineConfig(4, 3))
    fixed = inspect_page(ActionTokenizer.fit(CHUNKS, 300, mode="fixed", transform=splines), "t", [plain])
    assert heads(fixed) == ["grip", "x", "y"]
    assert "a row per point" in fixed
