"""The page of recipes: every block runs in bash as it stands, and leaves what it says."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Machine

PAGE = Path(__file__).parents[2] / "docs/recipes.md"
RECIPES = {
    title.rstrip(".,:;?"): block
    for title, block in re.findall(
        r"^\*\*(.+?)\*\*(?:(?!```).)*```sh\n(.*?)```", PAGE.read_text(), re.M | re.S
    )
}
GIVEN = [
    "photo.jpg",
    *(f"photos/{name}.jpg" for name in ("a", "b", "sub/c", "drafts/d", "sub/e")),
    "list.txt",
]
MASKS = ["masks/a.png", "masks/b.png"]
TREE = [*MASKS, "masks/drafts/d.png", "masks/sub/c.png", "masks/sub/e.png"]
LISTED = [name.replace("masks/", "masks/photos/") for name in TREE]
GIVES: dict[str, list[str]] = {
    "A photo through a pipe": ["mask.png"],
    "Several photos in one stream": ["frames/stdin-0001.png", "frames/stdin-0002.png"],
    "Cut the object out": ["object.png"],
    "Is there anything in it": ["empty.txt"],
    "How was this mask made": ["mask.png"],
    "A tree of folders": TREE,
    "Leave a folder out": [*MASKS, "masks/sub/c.png", "masks/sub/e.png"],
    "See first": ["plan.txt"],
    "Only what is new": MASKS,
    "Correct some masks": [*MASKS, "truth.json"],
    "Overnight": TREE,
    "Under cron, or in CI": ["crate.log", *TREE],
    "Two at once, or two machines": TREE,
    "What `find` finds": ["areas.csv", *LISTED],
    "A list from a file": ["masks/photos/b.png", "masks/photos/sub/c.png"],
    "Several processes": LISTED,
    "Which photos failed": ["errors.txt", "failed.txt", "masks/photo.png", "run.jsonl"],
    "Only masks to be trusted": [*MASKS, "sure/a.png", "sure/b.png"],
    "In a Makefile": ["Makefile", "masks/a.png"],
    "A worker that stays warm": ["box.json", "mask.png"],
    "A server": ["object.png", "serve.log"],
    "Objects as one COCO file": ["objects.json"],
    "Masks for YOLO": [
        *("lowest.txt", *MASKS, "yolo/data.yaml"),
        *(f"yolo/{place}" for place in ("images/a.jpg", "images/b.jpg", "labels/a.txt", "labels/b.txt")),
    ],
    "NumPy": ["arrays/a.npz", "arrays/b.npz", *MASKS, "shape.txt"],
    "Shards": ["count.txt", "masks.tar", "shard.tar"],
    "A contact sheet": ["heads.png"],
    "Is this machine ready": ["doctor.json"],
}
"""What files each recipe leaves, beside those that were there."""

SAYS: dict[str, tuple[str, str]] = {
    "See first": ("plan.txt", r"photos/a\.jpg +masks/a\.png\n"),
    "What `find` finds": ("areas.csv", r'(?m)^"photos/sub/c\.jpg",\d+,[\d.]+$'),
    "Which photos failed": ("failed.txt", r"^list\.txt: .+\n$"),
    "A worker that stays warm": ("box.json", r"^\[\s*\d"),
    "Shards": ("count.txt", r"^5\n$"),
    "NumPy": ("shape.txt", r"^\(1, 36, 48\)\n$"),
    "Masks for YOLO": ("lowest.txt", r"^(0\.\d+|1)\n$"),
    "Is there anything in it": ("empty.txt", r"^true\n$"),
}
"""What stands in a file that a recipe leaves."""


def lay_out(machine: Machine) -> None:
    """Lay the folder out as the page says."""
    for seed, name in enumerate(GIVEN[:-1]):
        machine.photo(name, seed=seed)
    (machine.desk / "list.txt").write_text("photos/b.jpg\nphotos/sub/c.jpg\n")


def _lacking(block: str) -> list[str]:
    tools = ("jq", "column", "curl", "timeout", "xargs", "make", "find", "tar")
    return [tool for tool in tools if re.search(rf"\b{tool}\b", block) and not shutil.which(tool)]


def test_every_recipe_has_its_check() -> None:
    assert list(RECIPES) == list(GIVES)
    assert PAGE.read_text().count("```sh\n") == len(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_leaves_what_it_says(machine: Machine, title: str) -> None:
    if lacking := _lacking(RECIPES[title]):
        pytest.skip(f"this machine has no {lacking[0]}")
    lay_out(machine)
    done = machine.shell(f"set -euo pipefail\n{RECIPES[title]}")
    assert done.code == 0, done.err
    made = {name for name in machine.files() if name not in GIVEN}
    assert made == set(GIVES[title])
    for name in GIVES[title]:
        path = machine.desk / name
        assert path.stat().st_size > 0, name
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
    if title in SAYS:
        name, pattern = SAYS[title]
        assert re.search(pattern, (machine.desk / name).read_text())
