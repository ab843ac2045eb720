"""What the stages of a pipeline on Ray cost a photo: bytes from one to the next, and processor time."""

import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from batch import photos_of
from page import table_header, table_row

from cratecli.model.engine import DistantModel
from cratecli.ray import stages
from cratecli.ray.carrier import RayCarrier
from cratecli.ray.parcels import Carried, ModelChoice, unpack
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.plan import plan
from cratecli.tasks.pictures import PictureChoice
from cratecli.tasks.recipes import choose_recipe
from cratecli.tasks.segment_run import segment_run

Row = dict[str, bytes]

PHOTOS = 32
READ, DECODE, LOOK, FINISH = "read", "decode", "model", "finish"
NEXT = {
    READ: "read to decode",
    DECODE: "decode to model",
    LOOK: "model to finish",
    FINISH: "finish to command",
}
VIEWS, PIXELS = "of it what the model saw", "of it pixels"


@dataclass
class Counted:
    """Bytes of the rows between the stages, and seconds of the processors that each stage takes, of some photos."""

    sizes: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NEXT, 0.0))

    def stage(self, name: str, rows: Iterable[Row]) -> list[Row]:
        """Make the rows of a stage."""
        start = time.process_time()
        made = list(rows)
        self.seconds[name] += time.process_time() - start
        self.sizes[NEXT[name]] += sum(len(row["items"]) for row in made)
        return made

    def split(self, seen: Row) -> None:
        """Count the parts of a row on its way from the model."""
        for item in unpack(seen):
            if isinstance(item, Carried) and isinstance(item.state, tuple):
                photo, views = item.state
                self.sizes[PIXELS] += len(pickle.dumps(photo))
                self.sizes[VIEWS] += len(pickle.dumps(views))


def counted(photos: Sequence[Path], choice: ModelChoice) -> Counted:
    """Segment photos by the stages of the pipeline, one after another in this process, and count."""
    count = Counted()

    def rows(_carrier: Any, order: bytes, parcels: list[bytes], _stopping: Any) -> Iterator[bytes]:
        look = stages.Look(order)
        finish = partial(stages.finish, order=order)
        for parcel in parcels:
            for read in count.stage(READ, stages.read({"parcel": parcel}, order=order)):
                for decoded in count.stage(DECODE, stages.decode(read, order=order)):
                    (seen,) = count.stage(LOOK, map(look, [decoded]))
                    count.split(seen)
                    (done,) = count.stage(FINISH, map(finish, [seen]))
                    yield done["items"]

    model = DistantModel(stages.load_here(choice))
    desk = Desk(model, 8, carrier=RayCarrier(SimpleNamespace(on="ray"), choice))  # type: ignore[arg-type]
    with TemporaryDirectory() as place, patch.object(RayCarrier, "_rows", rows):
        planned = plan(Inputs(tuple(map(str, photos))), f"{place}/", "mask", to_stdout=False)
        outcomes = segment_run(planned, desk, choose_recipe(model), picture=PictureChoice("mask"))
        if len(list(outcomes)) != len(photos):
            raise RuntimeError("not all photos were segmented")
    return count


def moved(data: Path, stored: Callable[[str, Path], list[str]]) -> Iterator[str]:
    """Count for a large model and the built-in one."""
    photos = photos_of(data)[:PHOTOS]
    columns = {}
    with TemporaryDirectory() as place:
        for case, words in {"base": "base/16, random weights", "built in": "crate-nano, built in"}.items():
            model = stored(case, Path(place))
            choice = ModelChoice(model[-1] if model else None, "auto", "cpu", "auto", 1)
            columns[words] = counted(photos, choice)
    number = len(photos)
    yield table_header(f"KB a photo, of {number}", *columns)
    file = sum(path.stat().st_size for path in photos) / number / 1e3
    yield table_row("the file", *(f"{file:,.0f}" for _ in columns))
    for name in (NEXT[READ], NEXT[DECODE], NEXT[LOOK], PIXELS, VIEWS, NEXT[FINISH]):
        yield table_row(name, *(f"{each.sizes[name] / number / 1e3:,.0f}" for each in columns.values()))
    whole = (sum(each.sizes[name] for name in NEXT.values()) for each in columns.values())
    yield table_row("all steps", *(f"{each / number / 1e3:,.0f}" for each in whole))
    yield ""
    yield table_header("processor time of a photo, ms", *columns)
    for name in NEXT:
        yield table_row(name, *(f"{1e3 * each.seconds[name] / number:.1f}" for each in columns.values()))
