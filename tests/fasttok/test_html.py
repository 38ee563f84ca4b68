"""Pages are self-contained, escape what is not markup, and draw what they are given."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fasttok import html


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
