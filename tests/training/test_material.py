"""Material: sure objects and grounds of photos; a photo that is another by now is not taken for the old one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cratecli.errors import InputError, NothingMatchedError
from cratecli.geometry import Grid
from cratecli.training.certainty import SURE, Taught
from cratecli.training.material import gather
from cratecli.training.pool import frame_size
from cratecli.training.taught import TaughtPhoto

GRID = Grid(2, 3)
MASK = np.zeros(frame_size(GRID), bool)  # of the photo squeezed into its frame
MASK[20:80, 20:80] = True


def test_a_photo_that_is_all_object_gives_none(rows: list[TaughtPhoto]) -> None:
    full = TaughtPhoto.of(
        rows[2].photo, rows[2].sha256, Taught(np.ones_like(MASK), 0.7, 0.95, 0.95), GRID, pooled=True
    )
    material = gather([*rows, full], SURE)
    assert len(material.objects) == 4 and len(material.grounds) == 5 and material.photos == 6


@pytest.fixture
def rows(tmp_path: Path) -> list[TaughtPhoto]:
    """Write five photos of a red square on blue, of which the first is not sure, and one that could not be read."""
    made = [TaughtPhoto("broken.png", error="cannot be read")]
    for number in range(5):
        path = tmp_path / f"{number}.png"
        pixels = np.where(MASK[..., None], (255, 0, number), (0, 0, 255)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        taught = Taught(MASK, 0.7, 0.9 if number else 0.5, 0.9)
        made.append(TaughtPhoto.of(str(path), sha256, taught, GRID, pooled=True))
    return made


def test_sure_objects_are_cut_out_and_grounds_hold_none(rows: list[TaughtPhoto]) -> None:
    said: list[str] = []
    material = gather(rows, SURE, note=said.append)
    assert len(material.objects) == 4 and len(material.grounds) == material.photos == 5
    assert all(each.mask.all() and (each.rgb[..., 0] == 255).all() for each in material.objects)
    assert all((each == (0, 0, 255)).all() for each in material.grounds)
    assert said == ["4 sure objects and 5 grounds in 5 photos"]


def test_too_few_to_learn_from_is_said(rows: list[TaughtPhoto]) -> None:
    with pytest.raises(NothingMatchedError, match="3 sure objects and 4 grounds in 4 photos: too few"):
        gather(rows[:-1], SURE)


def test_a_photo_that_changed_or_went_is_named(rows: list[TaughtPhoto]) -> None:
    path = Path(rows[2].photo)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=f"{path}: is not the photo any more"):
        gather(rows, SURE)
    path.unlink()
    with pytest.raises(InputError, match=str(path)):
        gather(rows, SURE)
