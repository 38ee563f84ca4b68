"""Pages are self-contained, escape what is not markup, and draw what they are given."""

import re
from dataclasses import MISSING, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.common import html
from fasttok.common.html.histogram import histogram
from fasttok.common.html.markup import CSS, SCRIPTS
from tests.html_checks import assert_whole, without_scripts

AXES = html.Axes("time (s)", "angle (rad)")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, by WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, by WCAG 2.2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def variables() -> list[dict[str, str]]:
    """The colours of the stylesheet: light, dark, and paper, which is the light one on white."""
    found = [dict(re.findall(r"--(\w+):(#[0-9a-f]{3,8})", block)) for block in re.findall(r":root \{([^}]*)\}", CSS)]
    light, dark, paper = found
    return [light, dark, light | paper]


def whole(colour: str) -> str:
    """#rgb as #rrggbb."""
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:4])


def test_contrast_is_enough_for_everybody() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    every = {*html.PALETTE, *html.KIND_COLOURS.values(), html.GOOD, html.BAD, html.WARNING, html.NEUTRAL, html.COMPUTED}
    for colour in every:
        assert contrast(colour, "#ffffff") >= 4.5, colour  # white words on a badge
        for theme in variables():  # lines and bars on cards and on the page
            assert contrast(colour, whole(theme["card"])) >= 3, colour
            assert contrast(colour, whole(theme["bg"])) >= 3, colour
    for theme in variables():
        for words in ("ink", "soft", "accent", "bad"):
            for ground in ("bg", "card"):
                assert contrast(whole(theme[words]), whole(theme[ground])) >= 4.5, (words, ground)
        assert contrast(whole(theme["soft"]), whole(theme["tint"])) >= 4.5


def test_a_colour_means_one_thing() -> None:
    kinds = set(html.KIND_COLOURS.values())
    roles = [html.RECORDED, html.COMPUTED, html.GOOD, html.BAD, html.WARNING, html.NEUTRAL]
    assert len(set(roles)) == len(roles)
    assert not kinds & {*roles}
    assert len(kinds) == len(html.KIND_COLOURS)


def test_every_chart_says_what_its_axes_show() -> None:
    line = [html.Series("a", [0, 1], [0.0, 1.0], html.COMPUTED)]
    dot = [html.Dot(0.0, 0.5, 0.4, 0.6, html.COMPUTED, "a")]
    charts = [
        html.plot(line, AXES),
        histogram([0, 1, 2], [3, 1], html.Axes("tokens", "rows")),
        html.scatter(dot, html.ScatterAxes("error", "success (points)")),
        html.bars([html.Bar("a", 0.5, 0.4, 0.6, html.COMPUTED)], "success (%)", share=True),
    ]
    assert_whole(html.page("t", *charts))
    for chart, titles in zip(charts, (2, 2, 2, 1), strict=True):
        assert chart.count('class="axis-title"') == titles
    assert ">time (s)</text>" in charts[0]
    assert '<h3 class="axis-title">angle (rad)</h3>' in charts[0]
    assert 'class="grid zero"' in charts[0]
    assert 'class="grid zero"' in charts[1]
    assert all(field.default is MISSING for field in fields(html.Axes)[:2])  # no chart without both


def test_bars_of_one_metric_share_their_axis() -> None:
    small, large = (html.Bar("a", value, value, value, "red") for value in (0.1, 0.8))
    assert html.longest_bar([small, large]) == 0.8
    (wide,) = re.findall(r'<rect [^>]*width="([\d.]+)"', html.bars([large], "success (%)", share=True, most=0.8))
    (narrow,) = re.findall(r'<rect [^>]*width="([\d.]+)"', html.bars([small], "success (%)", share=True, most=0.8))
    assert float(wide) == pytest.approx(8 * float(narrow), abs=1)


def test_a_long_table_can_be_sorted_and_all_scroll_by_keyboard() -> None:
    short, long = ([[i, f"name {i}"] for i in range(n)] for n in (3, 30))
    assert "<script" not in html.page("t", html.table(["n", "name"], short))
    page = html.page("t", html.table(["n", "name"], long))
    assert page.count("<script>") == 1
    assert without_scripts(page).count("<tr>") == 31  # all of it without the script
    assert "<script" not in html.page("t", html.table(["n", "name"], long, sortable=False))
    for made in (html.table(["n"], [[1]]), html.scrolling(html.Markup("<table></table>"), "shares")):
        assert '<div class="scroll" tabindex="0" role="region" aria-label=' in made
    assert '<th class="num" scope="col">n</th>' in page


def test_token_meanings_need_no_mouse() -> None:
    page = html.page("t", html.tokens([("put", False), ("7", True), ("9", True)], ["first", "second <i>"]))
    plain = without_scripts(page)
    assert '<li><b class="mono">9</b>: second &lt;i&gt;</li>' in plain  # in a list that opens by keyboard
    assert re.findall(r'data-token="(\d+)"', plain) == ["0", "1"]  # which the script lets arrow keys choose
    assert "tabIndex" in SCRIPTS["tokens"][0]
    assert "<script" not in html.page("t", html.tokens([("put", False)]))


def test_scripts_only_move_and_hide_what_is_there() -> None:
    for script, _ in SCRIPTS.values():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|fetch|XMLHttp|import\b", script
        )
        assert "</" not in script  # nothing ends the element early


def test_a_page_says_when_and_by_what_it_was_made() -> None:
    page = html.page("t", html.tag("p", "x"), command="fasttok eval A 'B <b>' --html")
    assert re.search(r"<footer><p>Made on \d{4}-\d\d-\d\d \d\d:\d\d \S* by fasttok \d", page)
    assert "<pre>fasttok eval A &#x27;B &lt;b&gt;&#x27; --html</pre>" in page
    assert "@media print" in page


def test_pictures_and_curves_share_a_moment() -> None:
    picture = html.moments([(0, html.Markup("<img>"), "0 s"), (3, html.Markup("<img>"), "0.3 s")])
    curve = html.tag("div", html.plot([html.Series("a", [0, 1], [0.0, 1.0], "red")], AXES), class_="timed")
    page = html.page("t", html.timeline(picture, html.cursor(9, 10.0, "time"), curve))
    assert 'data-frame="54 326 8 158"' in page
    assert page.count("<script>") == 1
    plain = without_scripts(page)
    assert plain.count("<img>") == 2
    assert re.search(r"\.cursor \{ display:none \}", plain)  # the slider comes with the script


def test_untrusted_text_is_escaped_everywhere() -> None:
    bad = "<script>alert(1)</script>"
    page = html.page(
        bad, html.tag("p", bad), html.tokens([(bad, True)]), html.table([bad], [[bad]]), html.tiles({bad: bad})
    )
    assert "<script" not in page


def test_page_loads_nothing_from_outside() -> None:
    series = [html.Series("a", [0, 1, 2], [0.0, 1.0, np.nan], html.PALETTE[0])]
    page = html.page("t", html.plot(series, AXES, title="loss"), html.image(b"\x89PNGxx"))
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page


def test_bars_are_as_high_as_their_counts_and_coloured_by_the_range() -> None:
    axes = html.Axes("value", "steps")
    drawing = histogram([0, 1, 2, 3, 4], [5, 10, 0, 1], axes, inside=(1.0, 4.0), height=156, title="<b>")
    found = re.findall(r'height="([\d.]+)" fill="([^"]+)"><title>([^<]*)</title>', drawing)
    assert [count for _, _, count in found] == ["0 to 1: 5", "1 to 2: 10", "3 to 4: 1"]
    heights = [float(height) for height, _, _ in found]
    assert heights == [50.0, 100.0, 10.0]
    assert [colour for _, colour, _ in found] == [html.BAD, html.COMPUTED, html.COMPUTED]
    assert drawing.count('class="range"') == 1
    assert "<b>" not in drawing
    assert histogram([0.0, 1.0], [0], axes).count("<title>") == 0  # nothing to draw is no division by zero


def test_facts_leave_out_what_is_not_known() -> None:
    assert html.facts({"a": 1, "b": None, "c": "", "d": 0}).count("<dt>") == 2


def test_tokens_may_have_titles_and_a_plot_a_shade() -> None:
    drawn = html.tokens([("put", False), ("7", True), ("9", True)], ["first", "second <i>"])
    assert re.findall(r'title="([^"]*)"', drawn) == ["first", "second &lt;i&gt;"]
    series = [html.Series("a", [0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0], html.PALETTE[0])]
    (wide,) = re.findall(r'class="shade"[^>]*width="([\d.]+)"', html.plot(series, AXES, shade=(1, 3)))
    (narrow,) = re.findall(r'class="shade"[^>]*width="([\d.]+)"', html.plot(series, AXES, shade=(2, 9)))
    assert float(wide) == pytest.approx(2 * float(narrow), abs=0.2)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\x89PNG\r\n", "png"), (b"RIFF0000WEBPVP8 ", "webp"), (b"GIF89a", "gif"), (b"\xff\xd8\xff", "jpeg")],
)
def test_images_say_what_they_are(data: bytes, kind: str) -> None:
    assert f'src="data:image/{kind};base64,' in html.image(data)
    assert 'style="filter:url(#swap-red-blue)"' in html.image(data, swapped=True)
    assert 'id="swap-red-blue"' in html.CHANNEL_SWAP


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    series = [html.Series("a", [0, 1, 2, 3, 4], [0.0, 1.0, np.nan, 1.0, 0.0], html.PALETTE[0])]
    (path,) = re.findall(r'<path class="line" d="([^"]*)"', html.plot(series, AXES))
    assert path.count("M") == 2


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_span_the_range(low: float, width: float) -> None:
    values = html.ticks(low, low + width)
    assert 2 <= len(values) <= 8
    assert values == sorted(values)
    slack = 1e-6 * max(1.0, abs(low), width)
    assert values[0] <= low + slack
    assert values[-1] >= low + width - slack


@pytest.mark.parametrize(
    "cells", [["40.00 %", "5 %"], ["12.5 %", None], ["-1.5 %", "+2 %"], ["0.9821", "-"], ["1e-3", "1,071"]]
)
def test_cells_of_numbers_are_right_aligned(cells: list[str | None]) -> None:
    assert html.table(["share"], [[cell] for cell in cells]).count('<td class="num">') == len(cells)
    assert '<td class="num">' not in html.table(["share"], [["53 % of all"]])


def test_token_chips_stay_whole() -> None:
    """A chip is a box of its own that goes to the next line as a whole; its blanks, which belong to the token, are kept."""
    (style,) = re.findall(r"\.tok \{([^}]*)\}", html.page("t"))
    assert "display:inline-block" in style
    assert "white-space:pre;" in style
    assert "max-width:100%" in style


def test_tick_labels_are_what_they_stand_for() -> None:
    """A step of 0.025 needs four digits: 1.07 below a line that stands at 1.075 is wrong."""
    for low, high in ((1.05, 1.15), (0.0, 0.01), (0.0, 2500.0), (-0.4, 0.2), (0.0, 24_000.0), (99.9, 100.4)):
        for value in html.ticks(low, high):
            said = html.tick_label(value).replace("k", "e3").replace("M", "e6")
            assert float(said) == pytest.approx(value, rel=1e-6, abs=1e-12)


def test_whole_numbers_are_counted_with_whole_ticks() -> None:
    drawing = histogram([0.5, 1.5, 2.5], [3, 4], html.Axes("words", "rows"))
    assert re.findall(r'text-anchor="middle">([^<]*)<', drawing) == ["1", "2", "words"]
    assert ">0.6<" in histogram([0.5, 0.75, 1.0], [3, 4], html.Axes("x (m)", "steps"))


def test_bars_stand_on_a_line_of_0() -> None:
    drawing = html.bars([html.Bar("a", 0.5, 0.4, 0.6, "red")], "success (%)", share=True, most=0.9)
    assert drawing.count('class="grid zero"') == 1
    assert re.findall(r'text-anchor="middle">([^<]*)<', drawing)[:-1] == ["0", "25", "50", "75"]


def test_a_wide_table_keeps_its_first_column_in_sight() -> None:
    names = ["arm", *"abcdef"]
    wide = html.table(names, [["ki", 1, 2, 3, 4, 5, 6]] * 2)
    assert '<table class="many">' in wide
    assert re.search(r"\.many :is\(td, th\):first-child \{ position:sticky; left:0", CSS)
    assert "many" not in html.table(names[:3], [["ki", 1, 2]])
    assert '<table class="long many">' in html.table(names, [["ki", 1, 2, 3, 4, 5, 6]] * 9)
    assert "<script" in html.page("t", html.table(names, [["ki", 1, 2, 3, 4, 5, 6]] * 9))


def test_long_names_break_where_their_words_end() -> None:
    cell = html.table(["source"], [["stanford_hydra_dataset_converted<b>"], ["short_one"]])
    assert "stanford_<wbr>hydra_<wbr>dataset_<wbr>converted&lt;b&gt;" in cell
    assert "short_one" in cell
    assert "success\u00a0%" in html.table(["success %"], [["1"]])


def test_a_long_fact_takes_a_line_of_its_own() -> None:
    shown = html.facts({"command": "fasttok-train " + "--flag value " * 8, "Hz": 5})
    assert shown.count('class="whole"') == 1


def test_a_wide_chart_scrolls_by_keyboard() -> None:
    line = [html.Series("a", [0, 1], [0.0, 1.0], html.COMPUTED)]
    wide = html.plot(line, AXES, width=680)
    assert wide.startswith('<figure class="chart scroll" tabindex="0" role="region" aria-label="angle (rad)">')
    assert "tabindex" not in html.plot(line, AXES)


def test_panels_of_one_quantity_share_their_axis() -> None:
    def heights(value: float) -> list[str]:
        dot = [html.Dot(0.0, value, value - 0.1, value + 0.1, html.COMPUTED)]
        drawn = html.scatter(dot, html.ScatterAxes("x", "y", least=(-0.6, 0.4)))
        return re.findall(r'text-anchor="end">([^<]*)<', drawn)

    assert heights(0.1) == heights(-0.4) == ["-0.75", "-0.5", "-0.25", "0", "0.25", "0.5"]


def test_half_a_step_is_no_tick() -> None:
    def below(x: list[float]) -> list[str]:
        drawn = html.plot([html.Series("a", x, [1.0] * len(x), "red")], html.Axes("training step", "loss"))
        return re.findall(r'text-anchor="middle">([^<]*)<', drawn)[:-1]

    assert below([1, 4, 10]) == ["5", "10"]
    assert below([1.5, 4, 10]) == ["2.5", "5", "7.5", "10"]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_the_bars_of_a_histogram_stay_below_its_top(counts: list[int]) -> None:
    for some in (counts, [7]):
        drawing = histogram(range(len(some) + 1), some, html.Axes("tokens", "rows"))
        tops = [float(y) for y in re.findall(r'<rect x="[^"]*" y="(-?[\d.]+)"', drawing)]
        assert all(top >= 8 for top in tops)


@given(st.one_of(st.floats(-20_000, 20_000), st.sampled_from([999.7, -999.96, 9999.7512])))
def test_numbers_of_three_digits_are_written_without_exponents(value: float) -> None:
    for written in (html.number(value), html.tick_label(value)):
        assert "e+" not in written
        assert float(written.replace(",", "").replace("k", "e3")) == pytest.approx(value, rel=5e-3, abs=1e-300)
