"""The demo for a Hugging Face Space, started and clicked through in Chromium."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120_000  # ms
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture
def address() -> Iterator[str]:
    """Start the demo, and give its address."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    settings = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples/space/app.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **settings}) as demo:
        try:
            said = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in demo.stdout or ())
            yield next(each[0] for each in said if each)
        finally:
            demo.terminate()


def test_a_photo_is_dropped_and_pressed(address: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    options = [] if os.getuid() else ["--no-sandbox"]
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.set_input_files("input[type=file]", ROOT / "examples/raccoon.jpg")
        answer = page.get_by_label("Answer")
        whole = page.wait_for_function(
            "box => box.value.includes('confidence') && box.value", arg=answer.element_handle()
        )
        page.locator("img[src*='raccoon']").first.click(position={"x": 20, "y": 60})
        page.wait_for_function(
            "([box, before]) => box.value && box.value !== before",
            arg=[answer.element_handle(), whole.json_value()],
        )
        browser.close()
