"""Take the pictures of pages, from `examples/` alone, in Chromium: `pip install 'cratecli[explore-test]'`.

python docs/screenshots.py [CHROMIUM]
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent
WINDOW = (1440, 900)  # px
PATIENCE = 120_000  # ms


def take(browser: str, page_file: Path, picture: Path) -> None:
    """Take a picture of a page on which a patch was pressed."""
    options = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=options)
        page = opened.new_page(
            viewport={"width": WINDOW[0], "height": WINDOW[1]}, device_scale_factor=1.5, color_scheme="light"
        )
        page.set_default_timeout(PATIENCE)
        page.goto(page_file.as_uri())
        page.wait_for_selector("#stage[data-drawn='0']")
        page.click("button[aria-label^='Layer 6, head 3']")
        box = page.locator("#stage").bounding_box()
        if box is not None:
            page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])
        page.mouse.move(0, 0)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.screenshot(path=picture)
        opened.close()


def main() -> None:
    """Make the page, and its picture."""
    named = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    browser = sys.argv[1] if len(sys.argv) > 1 else named
    if browser is None:
        sys.exit("no Chromium here: apt-get install chromium, or name one")
    with TemporaryDirectory() as name:
        page, picture = Path(name, "page.html"), Path(name, "page.png")
        photos = [f"examples/{each}.jpg" for each in ("chelsea", "coffee", "astronaut", "rocket")]
        command = [sys.executable, "-m", "cratecli", "explore", *photos, "-o", str(page), "-q"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        take(browser, page, picture)
        with Image.open(picture) as image:
            wide = round(image.width / 1.5)
            small = image.convert("RGB").resize((wide, round(image.height / 1.5)), Image.Resampling.LANCZOS)
        small.save(HERE / "explore.jpg", quality=85)


if __name__ == "__main__":
    main()
