"""What a mask of `--heads auto` costs, part by part: CPU time of one thread, as shares of the whole.

    python benchmarks/mask_cost.py PHOTOS --write benchmarks/mask_cost.md

PHOTOS is a folder of photos, at any depth. A part is timed inside the product's own code, less the parts that it
calls; a photo is read, asked and written as `crate segment PHOTO -o MASK.png` does it, with the model loaded.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest import mock

from models import built_in, one_thread, torch_and_threads
from page import command_line, publish, table_header, table_row

from cratecli import segment
from cratecli.emergence import chooser, refine
from cratecli.io import images
from cratecli.io.formats import png
from cratecli.runs.limits import one_thread_each
from cratecli.tasks import segment as task

PARTS: dict[str, tuple[object, str]] = {
    "read and decode the photo": (images, "read"),
    "fit to the input sizes, forward passes": (task, "views_of"),
    "maps of heads, layers and sizes": (chooser, "candidates"),
    "superpixels": (chooser, "divide"),
    "distances of superpixels": (chooser, "kernels"),
    "CRF: a mask of every map": (chooser, "dense_crf"),
    "cues of every mask, and the rest of the chooser": (chooser, "judge"),
    "the mask head": (task, "drawn_by_head"),
    "edges that follow the photo": (refine, "refined"),
    "encode the PNG": (png, "encode_mask"),
}


class Stopwatch:
    """Sums up CPU seconds of named parts, each less the parts inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside: list[float] = []

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Time a block, less the blocks that are timed inside it."""
        began = time.process_time()
        self._inside.append(0.0)
        yield
        spent = time.process_time() - began
        self.seconds[name] += spent - self._inside.pop()
        if self._inside:
            self._inside[-1] += spent

    def watching(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Time every call of a function."""

        @wraps(function)
        def timed(*given: Any, **options: Any) -> Any:
            with self.timing(name):
                return function(*given, **options)

        return timed


def main() -> None:
    parser = command_line(__doc__)
    asked = parser.parse_args()
    one_thread()
    paths = sorted(each for each in asked.data.rglob("*") if each.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = paths[:: asked.every]
    segment(images.read(paths[0]), built_in())  # what only the first photo pays
    watch = Stopwatch()
    with ExitStack() as stack, one_thread_each():
        for name, (module, function) in PARTS.items():
            timed = watch.watching(name, getattr(module, function))
            stack.enter_context(mock.patch.object(module, function, timed))
        for path in paths:
            with watch.timing("the rest"):
                result = segment(images.read(path), built_in())
                png.encode_mask(result.mask)
    whole = sum(watch.seconds.values())
    lines = [
        f"{len(paths)} photos, {torch_and_threads()}: {whole / len(paths) * 1000:.0f} ms of CPU time a photo here.",
        "",
        table_header("part", "share"),
        *(table_row(name, f"{watch.seconds[name] / whole:.0%}") for name in (*PARTS, "the rest")),
    ]
    publish(lines, asked.write)


if __name__ == "__main__":
    main()
