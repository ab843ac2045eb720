"""`--range` as its user meets it: in every question, its records, what is made again, and exports."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Here, Machine

QUICK = ("--size", "64", "--layer", "-1")
PLAIN = (*QUICK, "--refine", "none")


def scaled(machine: Machine, name: str, largest: int) -> Path:
    """Put a grey photo on the desk, in numbers up to `largest`."""
    grey = np.asarray(Image.open(machine.photo("eight.png")).convert("L"), float)
    (machine.desk / "eight.png").unlink()
    path = machine.desk / name
    Image.fromarray(np.round(grey / 255 * largest).astype(np.uint16)).save(path)
    return path


def mask(machine: Machine, here: Here, *options: str) -> np.ndarray:
    done = here("segment", "photo.png", "-o", "mask.png", *PLAIN, *options)
    assert done.code == 0
    return np.asarray(Image.open(machine.desk / "mask.png"))


def test_twelve_bits_in_sixteen_are_the_mask_of_the_whole_range(machine: Machine, here: Here) -> None:
    scaled(machine, "photo.png", 65535)
    whole = mask(machine, here)
    scaled(machine, "photo.png", 4095)
    done = here("segment", "photo.png", "-o", "mask.png", *PLAIN)
    assert "photo.png: its largest number is" in done.err
    assert "read as of 0 to 4095" in done.err
    twelve = np.asarray(Image.open(machine.desk / "mask.png"))
    assert ((twelve > 0) & (whole > 0)).sum() / ((twelve > 0) | (whole > 0)).sum() > 0.98
    np.testing.assert_array_equal(mask(machine, here, "--range", "0:4095"), twelve)
    assert (mask(machine, here, "--range=-60000:65535") > 0).mean() != (twelve > 0).mean()


def test_every_layout_of_twelve_bits_is_the_mask_of_eight(machine: Machine, here: Here) -> None:
    """FAULTS 24: alpha multiplied or not, PPM, and a TIFF that Pillow takes for a broken one."""
    tifffile = pytest.importorskip("tifffile")
    eight = np.asarray(Image.open(machine.photo("photo.png")).convert("RGB"))
    expected = mask(machine, here)
    twelve = eight.astype(np.uint16) * 16
    alpha = np.dstack([twelve, np.full(twelve.shape[:2], 4095, np.uint16)])
    folder = machine.desk / "in"
    folder.mkdir()
    for extra in ("assocalpha", "unassalpha"):
        tifffile.imwrite(folder / f"{extra}.tif", alpha, photometric="rgb", extrasamples=[extra])
    big = twelve.astype(">u2")
    tifffile.imwrite(folder / "big.tif", big, photometric="rgb", bigtiff=True, byteorder=">")
    size = f"{big.shape[1]} {big.shape[0]}"
    (folder / "deep.ppm").write_bytes(f"P6 {size} 65535\n".encode() + big.tobytes())
    done = here("segment", "in", "-o", "out", *PLAIN)
    assert done.err.count("read as of 0 to 4095") == 4
    found = {path.stem: np.asarray(Image.open(path)) for path in (machine.desk / "out").glob("*.png")}
    assert sorted(found) == ["assocalpha", "big", "deep", "unassalpha"]
    for each in found.values():
        assert ((each > 0) & (expected > 0)).sum() / ((each > 0) | (expected > 0)).sum() > 0.98
    done = here("export", "out", "--as", "coco", "-o", "raw.json", "--orientation", "raw")
    assert (done.code, len(json.loads((machine.desk / "raw.json").read_text())["images"])) == (0, 4)


@pytest.mark.parametrize(
    ("command", "options", "output"),
    [
        ("segment", PLAIN, "out.png"),
        ("objects", PLAIN, "out.json"),
        ("heads", QUICK, "out.png"),
        ("layers", QUICK, "out.png"),
        ("parts", (*PLAIN, "--k", "2"), "out"),
    ],
)
def test_it_is_recorded_and_makes_the_same_again(
    machine: Machine, here: Here, command: str, options: tuple[str, ...], output: str
) -> None:
    scaled(machine, "photo.png", 900)
    done = here(command, "photo.png", "-o", output, "--range=-50:900", *options, "-q")
    assert (done.code, done.err) == (0, "")
    file = machine.desk / output / ("parts.json" if command == "parts" else "")
    before = file.read_bytes()
    told = here("explain", str(file))
    assert "--range=-50:900" in told.out.decode().split()
    words = told.out.decode().split()[1:]
    assert here(*words, "-q").code == 0
    assert file.read_bytes() == before
    here(command, "photo.png", "-o", output, "--range", "full", *options, "-q")
    assert file.read_bytes() != before


def test_a_worker_and_an_export_read_by_it(machine: Machine, here: Here) -> None:
    scaled(machine, "photo.png", 4095)
    asking = {"input": "photo.png", "sizes": [64], "layers": [-1], "refine": "none", "heads": "all"}
    lines = "\n".join(json.dumps(asking | {"range": each}) for each in ("auto", "0:4095", "0:9000", "9:1"))
    first, second, third, fourth = map(json.loads, here("worker", "-q", stdin=lines.encode()).lines)
    assert first["rle"] == second["rle"]
    assert first["head_scores"] != third["head_scores"]
    assert fourth["error"].startswith("range '9:1' is not auto, full, LOW:HIGH")
    assert here("segment", "photo.png", "-o", "run/", "--range", "0:9000", *PLAIN, "-q").code == 0
    assert here("export", "run", "--as", "cutout", "-o", "cut/", "-q").code == 0
    (cutout,) = machine.desk.glob("cut/*.png")
    assert np.asarray(Image.open(cutout))[..., :3].max() == pytest.approx(187 * 4095 / 9000, abs=1)


def test_resuming_with_another_range_does_it_again(machine: Machine, here: Here) -> None:
    scaled(machine, "photo.png", 4095)
    again = ("segment", "photo.png", "-o", "run/", "--resume", *PLAIN, "-q", "--jsonl")
    assert len(here(*again).lines) == 1
    assert len(here(*again).lines) == 0
    assert len(here(*again, "--range", "0:8000").lines) == 1


def test_what_is_no_range_is_a_usage_error(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    done = here("segment", "photo.png", "--range", "9:1")
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("crate: --range '9:1' is not auto, full, LOW:HIGH or percentile:A:B")


def test_a_white_logo_is_seen_and_a_cutout_keeps_alpha(machine: Machine, here: Here) -> None:
    rows, cols = np.mgrid[:48, :64]
    logo = np.full((48, 64, 4), 255, np.uint8)
    logo[..., 3] = np.where((rows - 24) ** 2 + (cols - 32) ** 2 < 200, 128, 0)
    Image.fromarray(logo).save(machine.desk / "logo.png")
    done = here("segment", "logo.png", "--as", "cutout", "-o", "run/", "--size", "64")
    assert done.code == 0
    assert "logo.png: all that shows is nearly white: its transparent ground is taken for black" in done.err
    cutout = np.asarray(Image.open(machine.desk / "run/logo.png"))
    assert set(np.unique(cutout[..., 3])) <= {0, 1, 128}
    assert (cutout[..., 3] == 128).sum() > 300
    assert cutout[..., :3][cutout[..., 3] == 128].min() == 255
    assert here("export", "run", "--as", "cutout", "-o", "cut/", "-q").code == 0
    (again,) = machine.desk.glob("cut/*.png")
    np.testing.assert_array_equal(np.asarray(Image.open(again)), cutout)
