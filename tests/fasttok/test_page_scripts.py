"""The scripts of pages do what they say, in a browser, under the page's own policy; skipped where there is no Chromium."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fasttok.common import html
from fasttok.common.html import tag

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=1000", "--dump-dom",
)  # fmt: skip
PROBE = """
const out = [], all = (what) => [...document.querySelectorAll(what)];
const rows = () => all("table.long tbody tr"), press = (what, key) =>
  what.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const head = all("th button")[1]; head.click(); head.click();
out.push(rows().slice(0, 3).map(row => row.cells[1].textContent).join(" "));
const box = all("input[type=search]")[0]; box.value = "ROW 1"; box.dispatchEvent(new Event("input"));
out.push(rows().filter(row => !row.hidden).length, all(".filter output")[0].textContent);
const slider = all(".cursor input")[0]; slider.value = 5; slider.dispatchEvent(new Event("input"));
out.push(all(".cursor output")[0].textContent, all(".moments .shown").map(one => one.dataset.step).join(" "));
out.push(all("output.values")[0].textContent);
const chips = all("[data-token]"); chips[0].focus(); press(chips[0], "ArrowRight");
out.push(document.activeElement.textContent, all(".told")[0].textContent, all(".lit").length);
document.body.textContent = "FOUND " + out.join(" / ");
"""


def page() -> str:
    """A page with all that scripts work on."""
    x = np.arange(20) / 10
    curve = html.plot([html.Series("a", x, np.sin(x), html.COMPUTED)], html.Axes("time (s)", "x (m)", told=True))
    pictures = html.moments([(step, html.Markup("<b>picture</b>"), f"{step}") for step in (0, 4, 6)])
    return html.page(
        "t",
        html.timeline(pictures, html.cursor(19, 10.0, "time"), tag("div", curve, class_="timed")),
        html.tokens([("put", False), ("7", True), ("9", True)], ["frequency 0 of x", "frequency 1 of x"]),
        html.table(["n", "share", "name"], [[i, html.percent(0.031 * i), f"row {i:02d}"] for i in range(12)]),
    )


def shown(document: str, tmp_path: Path) -> str:
    """What the browser makes of a page."""
    file = tmp_path / "page.html"
    file.write_text(document)
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_tables_sort_and_filter_the_slider_moves_and_tokens_are_linked(tmp_path: Path) -> None:
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page())
    found = shown(open_page.replace("</body>", f"<script>{PROBE}</script></body>"), tmp_path)
    assert re.findall(r"FOUND (.*?)</body>", found, re.DOTALL)[0].strip().split(" / ") == [
        "34.1 % 31.0 % 27.9 %",
        "7", "7 of 12 rows",
        "step 5, 0.50 s", "4", "a 0.4794",
        "9", "9: frequency 1 of x", "1",
    ]  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_pages_policy_runs_its_own_scripts_and_no_other(tmp_path: Path) -> None:
    found = shown(page().replace("</body>", "<script>document.title = 'hostile'</script></body>"), tmp_path)
    assert "<title>t</title>" in found
    assert 'class="timeline scripted"' in found
    assert 'type="search"' in found
