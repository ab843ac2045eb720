"""The pages of `crate explore` and `crate serve` in a real Chromium: numbers are Python's, and nobody else is asked."""

import os
import re
import shlex
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from PIL import Image

import cratecli
from cratecli.emergence.masks import iou
from cratecli.emergence.projections import WHOLE, Projections, project
from cratecli.explorer.run import choose_explore_recipe, explore_run
from cratecli.model.unroll import WhiteBox
from cratecli.model.vit import UnrolledViT
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.outputs import Outputs, plan_run
from tests.cli.conftest import Here, Machine, picture
from tests.support.models import tiny_vit
from tests.support.photos import photo
from tests.support.served import served
from tests.support.vits import family_vit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request
else:
    pytest.importorskip(
        "playwright", reason="Playwright is not installed: pip install 'cratecli[explore-test]'"
    )

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [  # CI runs them by themselves
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]

PATIENCE = 120_000  # ms
SIZE = (96, 64)  # width and height of the photo, px
PARITY = 2e-3  # of a map's largest attention
LAST_TOKEN = 1 << 20  # stands for the last of all
HOSTILE = "<img src=x onerror=alert(1)>\"'`&.jpg"


@dataclass
class Watched:
    """A browser, and what its pages did that they should not."""

    browser: "Browser"
    faults: list[str] = field(default_factory=list)

    def open(self, file: Path, **options: Any) -> "Page":
        """Open a file, and wait until its first photo is drawn."""
        page = self.visit(file.as_uri(), f"{file.parent.as_uri()}/", **options)
        page.wait_for_selector("#stage[data-drawn='0']")
        return page

    def visit(self, address: str, home: str, **options: Any) -> "Page":
        """Go to an address, from which nothing may be asked that is not at `home`."""
        page = self.browser.new_page(**options)
        page.set_default_timeout(PATIENCE)

        def dismiss(dialog: "Dialog") -> None:
            self.faults.append(dialog.message)
            dialog.dismiss()

        def asked(request: "Request") -> None:
            if not request.url.startswith((home, "data:", "blob:")):
                self.faults.append(request.url)

        page.on("console", lambda message: self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", dismiss)
        page.on("request", asked)
        page.goto(address)
        return page


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = [] if os.getuid() else ["--no-sandbox"]  # which root cannot do with it
        watched = Watched(started.chromium.launch(executable_path=CHROMIUM, args=options))
        yield watched
        watched.browser.close()


@pytest.fixture
def browser(chromium: Watched) -> Iterator[Watched]:
    """Give the browser, and see that no page complained, opened a dialog or asked for an address."""
    chromium.faults.clear()
    yield chromium
    for context in chromium.browser.contexts:
        context.close()
    assert chromium.faults == []


def explored(model: WhiteBox, folder: Path, output: str, form: Literal["one", "each"], **asked: Any) -> None:
    """Explore both photos of a folder, in this process."""
    ending = "html" if form == "one" else "js"
    with chdir(folder):
        plan = plan_run(Inputs(("photo.png", HOSTILE)), Outputs(output, "explore", form, ending))
        outcomes = list(explore_run(plan, Desk(model), choose_explore_recipe(model, **asked)))
    assert [type(each).__name__ for each in outcomes] == ["ExploredPhoto", "ExploredPhoto", "Written"]


@pytest.fixture(scope="module")
def page_file(shared: Machine, model: WhiteBox) -> Path:
    """Make a page of two photos, of which the second has a name and a description that are HTML."""
    shared.photo("photo.png", SIZE)
    image = Image.fromarray(photo(48, 48, 1))
    exif = Image.Exif()
    exif[0x010E] = "<script>alert('EXIF')</script>"
    image.save(shared.desk / HOSTILE, exif=exif)
    explored(model, shared.desk, "page.html", "one", size=64)
    return shared.desk / "page.html"


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    return cratecli.load_model()


@pytest.fixture(scope="module")
def projections(model: WhiteBox) -> Projections:
    images = cratecli.prepare(photo(SIZE[1], SIZE[0]), model, size=64)
    return project(model, images, range(model.depth))


def settled(page: "Page") -> None:
    """Wait until what was changed is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def mask_of(page: "Page", tmp_path: Path) -> Any:
    """Download the mask as a user does."""
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "downloaded.png")
    image = picture((tmp_path / "downloaded.png").read_bytes())
    assert (image.format, image.mode, waiting.value.suggested_filename) == ("PNG", "L", "photo.mask.png")
    assert set(np.unique(np.asarray(image))) <= {0, 255}
    return np.asarray(image) > 0


def test_attention_of_patches_is_pythons(browser: Watched, page_file: Path, projections: Projections) -> None:
    agree(browser.open(page_file), projections)


def test_attention_of_a_vit_is_pythons(browser: Watched, shared: Machine, page_file: Path) -> None:
    """A ViT asks by its queries, which the page holds beside its keys."""
    vit = UnrolledViT(tiny_vit())
    explored(vit, shared.desk, "vit.html", "one")
    size = choose_explore_recipe(vit).sizes[0]
    images = cratecli.prepare(photo(SIZE[1], SIZE[0]), vit, size=size)
    page = browser.open(shared.desk / "vit.html")
    agree(page, project(vit, images, range(vit.depth)))


@pytest.mark.parametrize("family", ["siglip", "mean-pooled", "dinov3"])
def test_attention_of_a_family_is_pythons(
    browser: Watched, shared: Machine, page_file: Path, family: str
) -> None:
    """Registers are no patches; without a class token the page shows the attention that Python measured."""
    vit = UnrolledViT(family_vit(family))
    size = 5 * vit.patch_size
    explored(vit, shared.desk, f"{family}.html", "one", size=size)
    seen = project(vit, cratecli.prepare(photo(SIZE[1], SIZE[0]), vit, size=size), range(vit.depth))
    page = browser.open(shared.desk / f"{family}.html")
    whole = "the class token" if vit.has_class_token else "the whole photo"
    assert page.text_content("#token") == f"Attention of {whole}"
    agree(page, seen, (0 if vit.has_class_token else WHOLE, seen.prefix, seen.prefix + 3))
    page.evaluate("() => crate.change({ layers: [crate.state.photo.layers.length - 1], heads: [1] })")
    page.click("#stage", position={"x": 3, "y": 3})
    settled(page)
    said, command = page.text_content("#token"), page.text_content("#command")
    assert said is not None
    assert command is not None
    assert said.startswith("Attention of the patch in row 0, column 0")
    assert ("the pooling head" in said) == vit.pooling
    assert (" --at " in command) != vit.pooling
    page.click("#class-token")
    settled(page)
    assert page.text_content("#token") == f"Attention of {whole}"


def agree(page: "Page", projections: Projections, tokens: Sequence[int] = (0, 1, 1 + 37, LAST_TOKEN)) -> None:
    """Check the page's attention of several tokens, in every layer and head, against Python's."""
    layers, heads = projections.key.shape[:2]
    for asked in tokens:
        token = projections.key.shape[2] - 1 if asked == LAST_TOKEN else asked
        expected = projections.attention(token).reshape(layers, heads, -1)
        found = np.array(
            page.evaluate(
                """([layers, heads, token]) => [...Array(layers).keys()].map((layer) =>
                    [...Array(heads).keys()].map((head) => [...crate.attention(layer, head, token)]))""",
                [layers, heads, token],
            )
        )
        error = np.abs(found - expected).max(axis=-1) / expected.max(axis=-1)
        assert error.max() < PARITY


CHOICES = [
    ("Layer 6, head 0", "otsu", None),
    ("Layer 5, head 2", "mass", 0.6),
    ("All heads of layer 7", "top", 0.31),
    ("Head 3 of all layers", "value", 0.5),
    ("The mean of all layers and heads", "mean", None),
]


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize(("button", "rule", "value"), CHOICES)
def test_the_command_makes_the_mask(
    browser: Watched,
    page_file: Path,
    machine: Machine,
    here: Here,
    tmp_path: Path,
    button: str,
    rule: str,
    value: float | None,
    patch: bool,
) -> None:
    machine.photo("photo.png", SIZE)
    page = browser.open(page_file, accept_downloads=True)
    if patch:
        page.locator("#stage").click(position={"x": 40, "y": 30})
    page.click(f"#matrix button[aria-label^='{button}']")
    page.select_option("#rule", rule)
    if value is not None:
        page.fill("#value", str(value))
    settled(page)
    shown = mask_of(page, tmp_path)
    page.click("#copy")
    page.wait_for_selector("#copied:not(:empty)")
    command = shlex.split(page.inner_text("#command"))
    assert command[0] == "crate" and ("--at" in command) is patch
    assert here(*command[1:], "-q").code == 0
    made = np.asarray(picture((machine.desk / "mask.png").read_bytes())) > 0
    assert 0 < made.mean() < 1
    assert (made != shown).mean() < 0.002  # pixels on the edge, by the last bit
    share = page.inner_text("#covered")
    assert abs(float(re.sub(r"[^\d]", "", share)) / 100 - shown.mean()) < 0.02


def test_autos_mask_and_its_command(
    browser: Watched, page_file: Path, machine: Machine, here: Here, tmp_path: Path
) -> None:
    machine.photo("photo.png", SIZE)
    page = browser.open(page_file)
    page.click("#auto")
    settled(page)
    assert page.is_disabled("#rule")
    shown = mask_of(page, tmp_path)
    command = page.inner_text("#command")
    assert command == "crate segment photo.png -m crate-nano -o mask.png"
    assert here(*shlex.split(command)[1:], "-q").code == 0
    np.testing.assert_array_equal(np.asarray(picture((machine.desk / "mask.png").read_bytes())) > 0, shown)


def test_shares_and_scores_are_those_of_segment(browser: Watched, page_file: Path, model: WhiteBox) -> None:
    found = cratecli.segment(photo(SIZE[1], SIZE[0]), model)
    assert found.head_shares.sum() == pytest.approx(1)
    page = browser.open(page_file)
    labels = page.evaluate("[...document.querySelectorAll('#matrix .cell')].map((cell) => cell.title)")
    for row, layer in enumerate(found.layers):
        for head in range(model.heads):
            label = labels[layer * model.heads + head]
            assert label.startswith(f"Layer {layer}, head {head}: ")
            agreement = float(label.rpartition("agreement ")[2])
            assert agreement == pytest.approx(found.head_scores[row][head], abs=0.0051)
            share = found.head_shares[row][head]
            assert f"{round(100 * share)} %" in label or share < 0.0051


def test_the_page_begins_with_the_map_nearest_to_autos_mask(
    browser: Watched, page_file: Path, model: WhiteBox
) -> None:
    pixels = photo(SIZE[1], SIZE[0])
    auto = cratecli.segment(pixels, model)
    plain: Any = {"refine": "none", "min_area": 0, "fill_holes": False, "sizes": [64]}
    near = {
        (layer, head): iou(
            cratecli.segment(pixels, model, layers=[layer], heads=[head], **plain).mask, auto.mask
        )
        for layer in auto.layers
        for head in range(model.heads)
    }
    page = browser.open(page_file)
    layer, head = map(int, re.findall(r"\d+", page.inner_text("#chosen")))
    assert near[layer, head] > max(near.values()) - 0.05  # of patches there, of pixels here
    assert page.inner_text("#why") == "nearest to auto’s mask"
    page.click("#matrix button[aria-label='The mean of all layers and heads']")
    settled(page)
    assert page.inner_text("#why") == ""
    page.click("#strip button:nth-child(2)")
    page.wait_for_selector("#stage[data-drawn='1']")
    assert page.inner_text("#chosen") == "all layers, all heads"  # what was chosen stays


def test_names_stand_under_thumbnails(browser: Watched, shared: Machine, page_file: Path) -> None:
    page = browser.open(page_file)
    assert page.locator("#strip button").all_inner_texts() == ["photo.png", HOSTILE]
    for name in ("in/a/photo.png", "in/b/photo.png"):
        shared.photo(name, SIZE)
    photos = [shared.desk / name for name in ("in/a/photo.png", "in/b/photo.png")]
    cratecli.explore(photos, shared.desk / "same.html", size=32, layers=[7])
    page = browser.open(shared.desk / "same.html")
    assert page.locator("#strip button").all_inner_texts() == ["a/photo.png", "b/photo.png"]


def test_a_patch_is_chosen_by_pointer_touch_and_keys(browser: Watched, page_file: Path) -> None:
    page = browser.open(page_file, has_touch=True, viewport={"width": 390, "height": 844})
    box = page.locator("#stage").bounding_box()
    assert box is not None

    def token() -> str:
        settled(page)
        return page.inner_text("#token")

    def press(key: str) -> str:
        page.keyboard.press(key)
        return token()

    assert token() == "Attention of the class token"
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    assert token() == "Attention of the patch in row 0, column 0"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert token() == "Attention of the patch in row 4, column 11"
    page.touchscreen.tap(box["x"] + 1, box["y"] + box["height"] - 1)
    assert token() == "Attention of the patch in row 7, column 0"
    page.focus("#stage")
    assert press("ArrowDown") == "Attention of the patch in row 7, column 0"
    assert press("ArrowUp") == "Attention of the patch in row 6, column 0"
    assert press("Shift+ArrowRight") == "Attention of the patch in row 6, column 4"
    assert press("c") == "Attention of the class token"
    assert press("ArrowLeft") == "Attention of the patch in row 4, column 6"
    page.click("#class-token")
    assert token() == "Attention of the class token"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_all_is_reached_by_keys(browser: Watched, page_file: Path) -> None:
    page = browser.open(page_file)
    page.focus("#tab-attention")
    for tab in ("parts", "layers", "objects", "attention"):
        page.keyboard.press("ArrowRight")
        settled(page)
        assert page.get_attribute(f"#tab-{tab}", "aria-selected") == "true"
        assert page.is_visible(f"#panel-{tab}")
    page.focus("#matrix button[tabindex='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settled(page)
    pressed = page.locator("#matrix [aria-pressed='true']")
    assert pressed.count() == 1
    assert page.inner_text("#chosen") in (pressed.get_attribute("aria-label") or "").lower()
    reached = set[str]()
    page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    wanted = {"stage", "class-token", "show", "rule", "download", "copy", "tab-attention", "auto", "logs"}
    assert wanted <= reached


def test_every_control_has_a_name(browser: Watched, page_file: Path) -> None:
    page = browser.open(page_file)
    for tab in ("attention", "parts", "layers", "objects"):
        page.click(f"#tab-{tab}")
        settled(page)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, [tabindex='0']")].filter((each) =>
                each.checkVisibility() && !(each.getAttribute("aria-label") || each.textContent.trim() ||
                [...(each.labels ?? [])].some((label) => label.textContent.trim()))).map((e) => e.outerHTML)"""
        )
        assert nameless == []


def test_parts_layers_and_objects(browser: Watched, page_file: Path, model: WhiteBox) -> None:
    page = browser.open(page_file)
    page.click("#tab-parts")
    settled(page)
    assert page.locator("#part-list li").count() == 3
    page.fill("#k", "5")
    settled(page)
    assert page.is_checked("input[value='clusters']")
    shares = [float(re.sub(r"[^\d]", "", text)) for text in page.locator("#part-list b").all_inner_texts()]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(100, abs=3)
    assert shares == sorted(shares, reverse=True)
    page.click("#tab-layers")
    settled(page)
    trace = cratecli.layers(photo(SIZE[1], SIZE[0]), model, size=64)
    rows = page.locator("#depth-rows tr").all_inner_texts()
    assert [row.split()[1] for row in rows] == [f"{rate:.0f}" for rate in trace.coding_rate]
    page.click("#tab-objects")
    settled(page)
    objects = cratecli.objects(photo(SIZE[1], SIZE[0]), model)
    scores = page.locator("#object-list b").all_inner_texts()
    assert scores == [f"{each.score:.2f}" for each in objects]


def test_principal_components_are_pythons(
    browser: Watched, page_file: Path, projections: Projections
) -> None:
    from cratecli.emergence.pca import principal_components

    page = browser.open(page_file)
    page.click("#tab-parts")
    settled(page)
    layer = int(page.inner_text("#parts-layer-text"))
    tokens = projections.key[layer][:, 1:].transpose(1, 0, 2).reshape(-1, 192)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    variances = principal_components(tokens, 3).variances / tokens.var(axis=0).sum()
    shown = page.locator("#part-list b").all_inner_texts()
    assert [float(text.split()[0]) for text in shown] == pytest.approx(100 * variances, abs=1)


def test_hostile_names_and_exif_are_text(browser: Watched, page_file: Path) -> None:
    page = browser.open(page_file)
    page.click("#strip button:nth-child(2)")
    page.wait_for_selector("#stage[data-drawn='1']")
    assert page.inner_text("#name") == HOSTILE
    assert shlex.split(page.inner_text("#command"))[2] == HOSTILE
    assert page.locator("img[src='x']").count() == 0
    address = page.get_attribute("#picture", "src")
    assert address is not None
    assert dict(picture(b64decode(address.partition(",")[2])).getexif()) == {}


def test_a_folder_loads_what_is_looked_at(
    browser: Watched, shared: Machine, page_file: Path, model: WhiteBox
) -> None:
    explored(model, shared.desk, "pages/", "each", size=32, layers=[6, 7])
    page = browser.open(shared.desk / "pages/index.html")
    assert page.inner_text("#name") == HOSTILE
    page.click("#strip button:nth-child(2)")
    page.wait_for_selector("#stage[data-drawn='1']")
    assert page.inner_text("#name") == "photo.png"
    (shared.desk / "pages/photo.js").unlink()
    page.reload()
    page.wait_for_selector("#stage[data-drawn='0']")
    browser.faults.clear()
    page.click("#strip button:nth-child(2)")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "photo.js cannot be read" in page.inner_text("#trouble")
    browser.faults.clear()  # Chromium's own line of a file that is not there


@pytest.fixture
def address() -> Iterator[str]:
    """Serve the page, in a thread."""
    with served() as address:
        yield address


HAND = """([kind, name, text]) => {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: "image/png" }));
    const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: data, cancelable: true, bubbles: true })
        : new ClipboardEvent(kind, { clipboardData: data, bubbles: true });
    document.body.dispatchEvent(event);
}"""
"""Hands a photo to the page, dropped or pasted."""


def test_photos_are_dropped_pasted_and_chosen(
    browser: Watched, address: str, page_file: Path, model: WhiteBox
) -> None:
    page = browser.visit(address, address)
    assert not page.is_visible("main")
    chosen = page_file.with_name("photo.png")
    page.set_input_files("#file", chosen)
    page.wait_for_selector("#stage[data-drawn='0']")
    images = cratecli.prepare(photo(SIZE[1], SIZE[0]), model, size=page.evaluate("crate.state.photo.side"))
    agree(page, project(model, images, range(model.depth)))
    for place, (kind, name) in enumerate((("drop", HOSTILE), ("paste", "image.png")), 1):
        page.evaluate(HAND, [kind, name, b64encode(chosen.read_bytes()).decode()])
        page.wait_for_selector(f"#stage[data-drawn='{place}']")
        assert page.inner_text("#name") == name
    assert page.locator("#strip button").count() == 3
    page.click("#strip button >> nth=1")
    page.wait_for_selector("#stage[data-drawn='1']")
    assert shlex.quote(HOSTILE) in page.inner_text("#command")
    page.evaluate(HAND, ["drop", HOSTILE, ""])
    page.wait_for_selector("#refused li")
    assert page.inner_text("#refused").startswith(f"{HOSTILE}: ")
    assert "422" in browser.faults.pop()  # which Chromium says of every answer that is an error
