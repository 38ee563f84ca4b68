"""Pages are self-contained, escape what is not markup, and draw what they are given."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.common import html
from fasttok.common.html.histogram import histogram


def test_untrusted_text_is_escaped_everywhere() -> None:
    bad = "<script>alert(1)</script>"
    page = html.page(
        bad, html.tag("p", bad), html.tokens([(bad, True)]), html.table([bad], [[bad]]), html.tiles({bad: bad})
    )
    assert "<script" not in page


def test_page_loads_nothing_from_outside() -> None:
    series = [html.Series("a", [0, 1, 2], [0.0, 1.0, np.nan], html.PALETTE[0])]
    page = html.page("t", html.plot(series, title="loss"), html.image(b"\x89PNGxx"))
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page


def test_bars_are_as_high_as_their_counts_and_coloured_by_the_range() -> None:
    drawing = histogram([0, 1, 2, 3, 4], [5, 10, 0, 1], inside=(1.0, 4.0), height=128, title="<b>")
    found = re.findall(r'height="([\d.]+)" fill="([^"]+)"><title>([^<]*)</title>', drawing)
    assert [count for _, _, count in found] == ["0 to 1: 5", "1 to 2: 10", "3 to 4: 1"]
    heights = [float(height) for height, _, _ in found]
    assert heights == [50.0, 100.0, 10.0]
    assert [colour for _, colour, _ in found] == [html.PALETTE[1], html.PALETTE[0], html.PALETTE[0]]
    assert drawing.count('class="range"') == 1
    assert "<b>" not in drawing
    assert histogram([0.0, 1.0], [0]).count("<title>") == 0  # nothing to draw is no division by zero


def test_facts_leave_out_what_is_not_known() -> None:
    assert html.facts({"a": 1, "b": None, "c": "", "d": 0}).count("<dt>") == 2


def test_tokens_may_have_titles_and_a_plot_a_shade() -> None:
    drawn = html.tokens([("put", False), ("7", True), ("9", True)], ["first", "second <i>"])
    assert re.findall(r'title="([^"]*)"', drawn) == ["first", "second &lt;i&gt;"]
    series = [html.Series("a", [0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0], html.PALETTE[0])]
    (wide,) = re.findall(r'class="shade"[^>]*width="([\d.]+)"', html.plot(series, shade=(1, 3)))
    (narrow,) = re.findall(r'class="shade"[^>]*width="([\d.]+)"', html.plot(series, shade=(2, 9)))
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
    (path,) = re.findall(r'<path class="line" d="([^"]*)"', html.plot(series))
    assert path.count("M") == 2


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_span_the_range(low: float, width: float) -> None:
    values = html.ticks(low, low + width)
    assert 2 <= len(values) <= 8
    assert values == sorted(values)
    slack = 1e-6 * max(1.0, abs(low), width)
    assert values[0] <= low + slack
    assert values[-1] >= low + width - slack


@pytest.mark.parametrize("cells", [["40.00 %", "5 %"], ["12.5%", None], ["-1.5 %", "+2 %"]])
def test_percent_cells_are_right_aligned(cells: list[str | None]) -> None:
    assert html.table(["share"], [[cell] for cell in cells]).count('<td class="num">') == len(cells)
    assert '<td class="num">' not in html.table(["share"], [["53 % of all"]])


def test_token_chips_stay_whole() -> None:
    """A chip is a box of its own that goes to the next line as a whole; its blanks, which belong to the token, are kept."""
    (style,) = re.findall(r"\.tok \{([^}]*)\}", html.page("t"))
    assert "display:inline-block" in style
    assert "white-space:pre;" in style
    assert "max-width:100%" in style
