"""Take the pictures of pages of `crate explore` and `crate serve`, of `examples/` alone, in Chromium.

pip install 'cratecli[explore-test]'; apt-get install chromium
python docs/screenshots.py                              # explore.jpg, serve.jpg, and the pictures of gallery/
python docs/screenshots.py --pages gallery/             # keep the pages: gallery/index.html
python docs/screenshots.py --only coins --browser /usr/bin/chromium
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import cratecli
from cratecli.cli.app import app

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
WINDOW, SCALE = (1440, 900), 1.5  # px, and how many of the screen's stand for one
WIDTH = 1120  # px of a picture of the gallery
PATIENCE = 120_000  # ms
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Look:
    """What is done on a page before its picture is taken.

    `at` is the place that is pressed, as shares of width and height; `maps` the start of the label of a button of the
    matrix; `pressed` are further buttons.
    """

    photo: str
    at: tuple[float, float] | None = None
    maps: str | None = None
    tab: str = "attention"
    show: str = "attention"
    pressed: Sequence[str] = ()

    def arrange(self, page: Page) -> None:
        """Do it."""
        if self.maps:
            page.click(f"#matrix button[aria-label^='{self.maps}']")
        if self.at:
            box = page.locator("#stage").bounding_box()
            if box is None:
                raise RuntimeError("the page shows no photo")
            page.mouse.click(box["x"] + self.at[0] * box["width"], box["y"] + self.at[1] * box["height"])
        page.click(f"#tab-{self.tab}")
        page.check(f"input[name='show'][value='{self.show}']", force=True)
        for each in self.pressed:
            page.locator(each).click(force=True)
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.evaluate(SETTLED)


FIRST = Look("chelsea", at=(0.4, 0.45), maps="Layer 6, head 3")
GALLERY = (
    Look("raccoon"),
    Look("chelsea", at=(0.4, 0.45), maps="Layer 6, head 3"),
    Look("coffee", show="cutout", pressed=["#auto"]),
    Look("motorcycle", tab="objects"),
    Look("astronaut", tab="parts", pressed=["input[value='clusters']"]),
    Look("rocket", tab="layers"),
    Look("coins", at=(0.1, 0.17), maps="Layer 2, head 1"),
    Look("camera", tab="parts", pressed=["input[value='components']"]),
)


def take(page: Page, file: Path, look: Look, picture: Path, *, place: int, width: int) -> None:
    """Open a page at one of its photos, and take its picture."""
    page.goto(file.as_uri())
    page.wait_for_selector("#stage[data-drawn='0']")
    if place:
        page.click(f"#strip button:nth-child({place + 1})")
        page.wait_for_selector(f"#stage[data-drawn='{place}']")
    keep(page, look, picture, width)


def keep(page: Page, look: Look, picture: Path, width: int) -> None:
    """Arrange the page that is open, and take its picture."""
    look.arrange(page)
    shot = picture.with_suffix(".png")
    page.screenshot(path=shot)
    with Image.open(shot) as image:
        size = width, round(image.height * width / image.width)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(picture, quality=82, optimize=True)
    shot.unlink()


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


def take_server(page: Page) -> None:
    """Give a server photos, and take a picture of the objects of the last."""
    with served() as address:
        page.goto(address)
        page.set_input_files("#file", [EXAMPLES / f"{each}.jpg" for each in ("raccoon", "rocket", "coffee")])
        page.wait_for_selector("#stage[data-drawn='2']")
        keep(page, Look("coffee", tab="objects"), HERE / "serve.jpg", WINDOW[0])


def main() -> None:
    """Make the pages, and their pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=Path, help="keep the pages of the gallery in this folder")
    parser.add_argument(
        "--only", help="take one picture: explore, serve, or the name of a photo of the gallery"
    )
    parser.add_argument("--browser", help="the browser's program")
    asked = parser.parse_args()
    browser = asked.browser or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        sys.exit("no Chromium here: apt-get install chromium, or name one with --browser")
    with TemporaryDirectory() as name, sync_playwright() as started:
        options = [] if os.getuid() else ["--no-sandbox"]
        opened = started.chromium.launch(executable_path=browser, args=options)
        window = {"width": WINDOW[0], "height": WINDOW[1]}
        page = opened.new_page(viewport=window, device_scale_factor=SCALE, color_scheme="light")  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE)
        os.chdir(EXAMPLES.parent)  # so that pages name photos as the reader does
        if asked.only in (None, "explore"):
            photos = [f"examples/{each}.jpg" for each in ("chelsea", "coffee", "astronaut", "rocket")]
            file = cratecli.explore(photos, Path(name, "page.html"))
            take(page, file, FIRST, HERE / "explore.jpg", place=0, width=WINDOW[0])
        if asked.only in (None, "serve"):
            take_server(page)
        if asked.only not in ("explore", "serve"):
            pages = (asked.pages or Path(name, "pages")).absolute()
            app(["explore", "examples", "-o", f"{pages}/", "-q"], standalone_mode=False)
            order = sorted(each.photo for each in GALLERY)
            (HERE / "gallery").mkdir(exist_ok=True)
            for look in GALLERY:
                if asked.only in (None, look.photo):
                    picture = HERE / f"gallery/{look.photo}.jpg"
                    place = order.index(look.photo)
                    take(page, pages / "index.html", look, picture, place=place, width=WIDTH)
        opened.close()


if __name__ == "__main__":
    main()
