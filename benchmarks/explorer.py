"""How large pages of `crate explore` are, how soon they are painted, and how soon a pressed patch is answered.

    python benchmarks/explorer.py --write benchmarks/explorer.md

In Chromium, which is the argument of --browser or the one that is installed; Playwright drives it. The page is opened
`LOADS` times, and `PRESSES` patches are pressed each time. An answer counts from the press to the frame that shows it
(the browser's Event Timing, in steps of 8 ms); beside it stands how long the page's scripts ran.
"""

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from models import built_in, untrained
from page import command_line, publish, table_header, table_row

import cratecli
from cratecli.model.config import ARCHITECTURES
from cratecli.model.unroll import WhiteBox

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXAMPLES = Path(__file__).parents[1] / "examples"
LOADS, PRESSES = 5, 40
WINDOW = {"width": 1440, "height": 900}  # px
PATIENCE = 120_000  # ms
SHORTEST = 16  # ms: what takes less is not told by the browser, and stands for as much


def large() -> WhiteBox:
    """Make a CRATE-B/8 with random weights: as many tokens and heads as the largest that papers trained."""
    return untrained(ARCHITECTURES["crate_base_patch8_224"])


CASES: dict[str, tuple[str, Callable[[], WhiteBox]]] = {
    "crate-nano, 3 : 2": ("chelsea.jpg", built_in),
    "crate-nano, 1 : 1": ("astronaut.jpg", built_in),
    "CRATE-B/8, random weights, 1 : 1": ("astronaut.jpg", large),
}

WATCH = """
window.seen = { drawn: 0, answers: [] };
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (each.name === "pointerdown") seen.answers.push(each.duration);
}).observe({ type: "event", durationThreshold: 16 });
document.addEventListener("DOMContentLoaded", () => {
  const told = new MutationObserver(() => {
    told.disconnect();
    requestAnimationFrame(() => setTimeout(() => (seen.drawn = performance.now())));
  });
  told.observe(document.getElementById("stage"), { attributes: true, attributeFilter: ["data-drawn"] });
});
"""
SETTLED = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
)


@contextmanager
def chromium(named: str | None) -> "Iterator[Browser]":
    """Start Chromium; end the program with a line where there is none."""
    found = named or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if found is None:
        sys.exit("no Chromium here: apt-get install chromium, or name one with --browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = [] if os.getuid() else ["--no-sandbox"]
        browser = started.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


def measure(browser: "Browser", file: Path) -> dict[str, list[float]]:
    """Open a page, press patches, and give what took how long, ms."""
    page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE)
    page.add_init_script(WATCH)
    page.goto(file.as_uri())
    page.wait_for_selector("#stage[data-drawn='0']")
    page.evaluate(SETTLED)
    box = page.locator("#stage").bounding_box()
    if box is None:
        raise RuntimeError("the page shows no photo")
    scripts, draw = [], random.Random(0)
    for _ in range(PRESSES):
        page.mouse.click(
            box["x"] + draw.random() * (box["width"] - 1), box["y"] + draw.random() * (box["height"] - 1)
        )
        page.evaluate(SETTLED)
        scripts.append(page.evaluate("crate.state.took"))
    told: dict[str, Any] = page.evaluate(
        """() => ({ drawn: [seen.drawn], answers: seen.answers,
            painted: [performance.getEntriesByName("first-contentful-paint")[0].startTime] })"""
    )
    page.close()
    told["answers"] += [SHORTEST] * (PRESSES - len(told["answers"]))
    return told | {"scripts": scripts}


def middle_and_most(values: Sequence[float]) -> str:
    """Write the median, and what 95 % stay below."""
    return f"{np.median(values):.0f} ({np.percentile(values, 95):.0f})"


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, data=False, every=False)
    parser.add_argument("--browser", help="the browser's program")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name, chromium(arguments.browser) as browser:
        columns = ("MB", "first paint, ms", "all drawn, ms", "a patch answered, ms", "of it scripts, ms")
        lines = [table_header(f"Chromium {browser.version}", "patches", *columns)]
        for title, (photo, model) in CASES.items():
            loaded = model()
            file = cratecli.explore(EXAMPLES / photo, Path(name, "page.html"), loaded)
            height, width = cratecli.prepare(EXAMPLES / photo, loaded, size_of(loaded)).shape[2:]
            grid = f"{height // loaded.patch_size} × {width // loaded.patch_size}"
            loads = [measure(browser, file) for _ in range(LOADS)]
            parts = ("painted", "drawn", "answers", "scripts")
            times = (middle_and_most([each for one in loads for each in one[part]]) for part in parts)
            lines.append(table_row(title, grid, f"{file.stat().st_size / 1e6:.1f}", *times))
    publish(lines, arguments.write)


def size_of(model: WhiteBox) -> int:
    """Give the input short side of a page, px."""
    return cratecli.defaults(model).layers.sizes[0]


if __name__ == "__main__":
    main()
