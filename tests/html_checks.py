"""What every page of ours must be: safe, whole without a network, with charts that say what they show."""

import base64
import hashlib
import re

from fasttok.common.html.markup import SCRIPTS


def without_scripts(page: str) -> str:
    """The page as one sees it whose browser runs no script; that only our scripts are in it is asserted.

    They are byte for byte those of the package, so that no text of data is in them, and the page's own policy allows no other.
    """
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    ours = {script for script, _ in SCRIPTS.values()}
    found = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert set(found) <= ours
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found}
    assert set(re.findall(r"'sha256-([^']+)'", policy[1])) == digests
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]
    for script in found:
        page = page.replace(f"<script>{script}</script>", "")
    assert "<script" not in page
    assert not re.search(
        r"<[a-z][^<>]* on[a-z]+[\s>=]", re.sub(r'="[^"]*"', "", page)
    )  # no handler among the attributes
    return page


def assert_whole(page: str) -> None:
    """No script of others, nothing from a network, when and by what it was made, and charts with titles on both axes."""
    page = without_scripts(page)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#|data:)", page)
    assert "<footer><p>Made on " in page
    assert not re.search(r"\d%", re.sub(r"<(style|pre)>.*?</\1>|<[^>]*>", "", page, flags=re.DOTALL))  # one way: 12.5 %
    assert page.count("<svg viewBox") == page.count('<figure class="chart')
    for chart in re.findall(r'<figure class="chart.*?</figure>', page, re.DOTALL):
        titles = re.findall(r'<(?:text|h3) class="axis-title"[^>]*>([^<]*)<', chart)
        bars_or_cells = 'text-anchor="end"' in chart and len(titles) == 1  # their other axis has names, not numbers
        assert titles, chart[:300]
        assert len(titles) == 2 or bars_or_cells, titles
        assert all(title.strip() for title in titles)
