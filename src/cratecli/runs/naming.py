"""Name the outputs of a run: no two of one folder alike, and none like a folder of outputs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple


class Place(NamedTuple):
    """Where the output of a photo goes: its folder, the photo's file name, and what the output's name ends with."""

    folder: Path
    photo: str
    ending: str


def name_outputs(places: Sequence[Place]) -> list[Path]:
    """Name outputs `STEM.ENDING`; a photo whose output would share its name keeps its extension, `a.jpg.png`.

    Names are shared with another output of the folder or with a folder of outputs, whatever the case. Photos of one
    name for one folder stay alike.

    >>> photos = ["a.jpg", "a.png", "a.jpg.png", "b.jpg", "B.webp", "c.jpg"]
    >>> [path.name for path in name_outputs([Place(Path("out"), photo, "png") for photo in photos])]
    ['a.jpg.png', 'a.png.png', 'a.jpg.png.png', 'b.jpg.png', 'B.webp.png', 'c.png']
    """
    used = {place.folder for place in places}
    used |= {above for folder in used for above in folder.parents}
    folders = {(folder.parent, folder.name.casefold()) for folder in used}
    names = [PurePath(place.photo).stem for place in places]
    while True:
        keys = [
            (place.folder, f"{name}.{place.ending}".casefold())
            for place, name in zip(places, names, strict=True)
        ]
        taken = Counter(keys)
        sharing = [
            number
            for number, key in enumerate(keys)
            if (taken[key] > 1 or key in folders) and names[number] != places[number].photo
        ]
        if not sharing:
            return [
                place.folder / f"{name}.{place.ending}" for place, name in zip(places, names, strict=True)
            ]
        for number in sharing:
            names[number] = places[number].photo
