"""`crate explore` as its user meets it: one page of all photos, or a folder that is looked at photo by photo."""

import html
import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from cratecli.explorer import run as task
from tests.cli.conftest import Here, Machine, failed

QUICK = ("--size", "32", "--layer", "6,7")


def facts(page: str) -> dict[str, Any]:
    """Read what a page knows of all its photos."""
    found = re.search(r'id="contents">(.*?)</script>', page, re.DOTALL)
    assert found
    held: dict[str, Any] = json.loads(found[1])
    return held


def names(page: Path) -> list[str]:
    return [card["name"] for card in facts(page.read_text())["cards"]]


def test_one_page_of_all_photos(machine: Machine, here: Here) -> None:
    machine.photo("in/b.png")
    machine.photo("in/a.png", seed=1)
    (machine.desk / "in/c.png").write_bytes(b"no photo")
    done = here("explore", "in", "-o", "new/page.html", "-q", *QUICK)
    assert (done.code, done.out) == (1, b"new/page.html\n")
    page = machine.desk / "new/page.html"
    assert names(page) == ["in/a.png", "in/b.png"]
    assert machine.files() == ["in/a.png", "in/b.png", "in/c.png", "new/page.html"]
    again = here("explain", page, "-q").out.decode().split()
    first = page.read_bytes()
    page.unlink()
    assert here(*again[1:], "-q").code == 1
    assert page.read_bytes() == first


def test_where_the_page_goes(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = machine.photo("photo.png")
    assert here("explore", photo, "-q", *QUICK).out.startswith(b"<!doctype html>\n")
    assert here("explore", "-", "-o", "-", "-q", *QUICK, stdin=photo.read_bytes()).out.endswith(b"</html>\n")
    monkeypatch.setattr("cratecli.cli.outputs.stdout_kind", lambda: "terminal")
    assert here("explore", photo, "-q", *QUICK).out == b"photo.explore.html\n"
    failed(here("explore", photo, "-o", "page.png", *QUICK), 2, "let the name end with .html")
    failed(here("explore", photo, "-o", "page.html", "--resume", *QUICK), 2, "give -o FOLDER/")
    failed(here("explore", photo, "-o", "photo.explore.html", "--exists", "error"), 2, "is there already")


def test_records(machine: Machine, here: Here) -> None:
    done = here("explore", machine.photo("photo.png", (48, 36)), "--json", *QUICK)
    (record,) = json.loads(done.out)
    assert record["grid"] == [4, 5]
    assert (record["layers"], record["size"], record["output"]) == ([6, 7], 32, None)
    assert machine.files() == ["photo.png"]


def test_a_folder_with_a_page_and_a_file_a_photo(machine: Machine, here: Here) -> None:
    machine.photo("in/a.png")
    machine.photo("in/sub/b c.png", seed=1)
    done = here("explore", "in", "-r", "-o", "pages/", "-q", *QUICK)
    assert sorted(done.lines) == ["pages/a.js", "pages/index.html", "pages/sub/b c.js"]
    index = machine.desk / "pages/index.html"
    cards = facts(index.read_text())["cards"]
    assert [(card["name"], card["source"]) for card in cards] == [
        ("in/a.png", "a.js"),
        ("in/sub/b c.png", "sub/b%20c.js"),
    ]
    machine.photo("in/new.png", seed=2)
    before = (machine.desk / "pages/a.js").stat().st_mtime_ns
    resumed = here("explore", "in", "-r", "-o", "pages/", "--resume", *QUICK)
    assert "2 photos were done before" in resumed.err
    assert (machine.desk / "pages/a.js").stat().st_mtime_ns == before
    assert names(index) == ["in/a.png", "in/new.png", "in/sub/b c.png"]
    (machine.desk / "in/new.png").unlink()
    assert here("explore", "in", "-r", "-o", "pages/", "--resume", "--prune", *QUICK).code == 0
    assert names(index) == ["in/a.png", "in/sub/b c.png"]
    failed(here("export", "pages", "--as", "coco", "-q"), 1, "explore")
    content = (machine.desk / "pages/a.js").read_bytes()
    again = here("explain", "pages/a.js", "-q").out.decode().split()
    assert here(*again[1:], "-q").code == 0
    assert (machine.desk / "pages/a.js").read_bytes() == content


def test_somebody_elses_page_stays(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    (machine.desk / "site").mkdir()
    (machine.desk / "site/index.html").write_text("<h1>mine</h1>")
    failed(here("explore", photo, "-o", "site/", "-q", *QUICK), 2, "no page of crate explore")
    assert machine.files() == ["photo.png", "site/index.html"]


def test_too_much_for_one_page(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MOST_PAGE", 1000)
    done = here("explore", machine.photo("photo.png"), "-o", "page.html", "-q", *QUICK)
    assert re.match(r"crate: 1 photo takes about 0\.\d MB, ", done.err)
    failed(done, 2, "too much for one page (0.0 MB): give -o FOLDER/")
    assert machine.files() == ["photo.png"]


def test_names_stand_as_text(machine: Machine, here: Here) -> None:
    name = "</title><script>alert(1)</script>&.png"
    machine.photo(f"in{name}".replace("/", "∕"))
    (photo,) = machine.files()
    page = here("explore", photo, "-o", "-", "-q", *QUICK).out.decode()
    assert f"<title>{html.escape(photo)} · crate explore</title>" in page
    assert page.count(photo) == 0
    assert "alert(1)</script>" not in page


def test_nothing_is_loaded_from_elsewhere(machine: Machine, here: Here) -> None:
    page = here("explore", machine.photo("photo.png"), "-o", "-", "-q", *QUICK).out.decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert set(re.findall(r"https?://[^\s\"'<]*", page)) == {"http://www.w3.org/2000/svg"}


def test_the_browser_opens_the_page(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def first_alone(address: str) -> bool:
        opened.append(address)
        return len(opened) == 1

    monkeypatch.setattr(webbrowser, "open", first_alone)
    photo = machine.photo("photo.png")
    assert here("explore", photo, "-o", "a page.html", "--open", "-q", *QUICK).code == 0
    assert opened == [(machine.desk / "a page.html").as_uri()]
    done = here("explore", photo, "-o", "a page.html", "--open", "-q", *QUICK)
    assert done.err == "crate: no browser opened a page.html: open it yourself\n"
    failed(here("explore", photo, "-o", "-", "--open", *QUICK), 2, "--open needs a page on the disk")


def test_photos_of_one_colour_and_smaller_than_a_patch(machine: Machine, here: Here) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "grey").save(machine.desk / "grey.png")
    Image.new("RGB", (3, 2), "white").save(machine.desk / "tiny.png")
    done = here("explore", "grey.png", "tiny.png", "-o", "page.html", "-q", *QUICK)
    assert done.code == 0, done.err
    data = re.findall(r'id="photo-\d">(.*?)</script>', (machine.desk / "page.html").read_text())
    assert [json.loads(each)["flat"] for each in data] == [True, True]


def test_a_grid_that_no_page_holds(machine: Machine, here: Here) -> None:
    done = here("explore", machine.photo("photo.png"), "-o", "page.html", "-q", "--size", "1100")
    failed(done, 1, "patches are more than a page holds")
