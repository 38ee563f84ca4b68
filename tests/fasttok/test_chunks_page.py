"""The page of `fasttok inspect --html` names what it draws."""

import re

import numpy as np

from fasttok import ActionTokenizer
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
