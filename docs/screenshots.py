"""Take the pictures of pages, from `examples/` alone, in Chromium: `pip install 'cratecli[explore-test]'`.

python docs/screenshots.py [CHROMIUM]
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent
WINDOW = (1440, 900)  # px
PATIENCE = 120_000  # ms


def take(browser: str, address: str, act: Callable[[Page], None], name: str) -> None:
    """Open an address, act on the page, and write its picture beside the docs."""
    options = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as started, TemporaryDirectory() as folder:
        opened = started.chromium.launch(executable_path=browser, args=options)
        page = opened.new_page(
            viewport={"width": WINDOW[0], "height": WINDOW[1]}, device_scale_factor=1.5, color_scheme="light"
        )
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        act(page)
        page.mouse.move(0, 0)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture = Path(folder, "page.png")
        page.screenshot(path=picture)
        opened.close()
        with Image.open(picture) as image:
            wide = round(image.width / 1.5)
            small = image.convert("RGB").resize((wide, round(image.height / 1.5)), Image.Resampling.LANCZOS)
        small.save(HERE / name, quality=85)


def press_an_eye(page: Page) -> None:
    """Press the cat's eye, of a head that sees both."""
    page.wait_for_selector("#stage[data-drawn='0']")
    page.click("button[aria-label^='Layer 6, head 3']")
    box = page.locator("#stage").bounding_box()
    if box is not None:
        page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])


def drop_photos(page: Page) -> None:
    """Give the server photos, and show the objects of the last."""
    page.set_input_files("#file", [ROOT / f"examples/{each}.jpg" for each in ("raccoon", "rocket", "coffee")])
    page.wait_for_selector("#stage[data-drawn='2']")
    page.click("#tab-objects")


@contextmanager
def served() -> Iterator[str]:
    """Start a server, and give its address."""
    command = [sys.executable, "-m", "cratecli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            if server.stderr is not None:
                yield server.stderr.readline().split()[-1]
        finally:
            server.terminate()


def main() -> None:
    """Make the pages, and their pictures."""
    named = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    browser = sys.argv[1] if len(sys.argv) > 1 else named
    if browser is None:
        sys.exit("no Chromium here: apt-get install chromium, or name one")
    with TemporaryDirectory() as name:
        page = Path(name, "page.html")
        photos = [f"examples/{each}.jpg" for each in ("chelsea", "coffee", "astronaut", "rocket")]
        command = [sys.executable, "-m", "cratecli", "explore", *photos, "-o", str(page), "-q"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        take(browser, page.as_uri(), press_an_eye, "explore.jpg")
    with served() as address:
        take(browser, address, drop_photos, "serve.jpg")


if __name__ == "__main__":
    main()
