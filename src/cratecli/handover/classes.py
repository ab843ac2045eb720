"""Name the objects of a finished run by the class that the run's own model sees in each of them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from cratecli.arrays import RGB
from cratecli.errors import CrateError, InputError, UsageError, WeightsError
from cratecli.geometry import Box, Grid, Size, fit_grid
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun, RunModel
from cratecli.handover.photos import read_photo_again
from cratecli.io.formats.record import Annotated, Annotation
from cratecli.model.engine import out_of_memory
from cratecli.model.unroll import WhiteBox
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.tensors import model_inputs
from cratecli.runs.views import describe
from cratecli.weights import fetch
from cratecli.weights.checkpoint import load_model
from cratecli.weights.graphs import is_graph, load_graph
from cratecli.weights.loading import find_weights

MARGIN = 0.1
"""Room around an object's box, as a share of its longer side.

Of 109 validation photos of one object, crate-nano names 41 % of such crops rightly, 37 % of the whole photos, 33 % of
the bare boxes and 38 % with a margin of 0.25.
"""

TOGETHER = 8  # crops that go through the model together, at most
_ELSE = "use --label NAME or --label-from folder"


def name_objects(
    run: FinishedRun, *, device: str = "auto", note: Callable[[str], None] = lambda _: None
) -> tuple[dict[int, tuple[str, ...]], list[Failure]]:
    """Name the objects of each photo, by its number, and tell of photos that are not as they were.

    What the model is shown is the upright photo, around the object's box. Raises `UsageError` where the run does not
    say which model it asked, or that model's classes have no names, `WeightsError` where it is not here or not the
    same, and `DeviceError`.
    """
    asked: dict[RunModel, list[FinishedPhoto]] = {}
    for photo in run.photos:
        if photo.model is None:
            raise UsageError(f"{run.manifest}: does not say which model was asked: {_ELSE}")
        asked.setdefault(photo.model, []).append(photo)
    loadable = {known: _loadable(known) for known in asked}
    names: dict[int, tuple[str, ...]] = {}
    failed: list[Failure] = []
    for known, photos in asked.items():
        model = load_model(loadable[known], device=device, dtype="float32")
        if not model.labels:
            raise UsageError(f"{known.name} has no names for its classes: {_ELSE}")
        note(f"classes are those of {describe(model)}")
        for photo, annotated in replace(run, photos=tuple(photos)).rows():
            try:
                names[photo.number] = _names(model, photo, annotated)
            except InputError as error:
                failed.append(Failure(Job(photo.source, None), error))
    return names, failed


def _loadable(known: RunModel) -> str:
    """Give the name or file of the run's model; of an ONNX graph, those of the model that was exported.

    Raises `UsageError` or `WeightsError` unless it is here, with the same bytes.
    """
    then = f"the run asked one with sha256 {known.sha256}"
    if known.is_file and not Path(known.name).is_file():
        raise WeightsError(f"{known.name}: the model is not there any more; {then}: {_ELSE}")
    path = find_weights(known.name)[1]
    if fetch.fingerprint(path)[1] != known.sha256:
        raise WeightsError(f"{known.name}: not the same model; {then}: {_ELSE}")
    return _exported(path) if is_graph(path) else known.name


def _exported(graph: Path) -> str:
    """Find the model that an ONNX graph was exported from: by its name, or by its file beside the graph.

    Raises `WeightsError` where it is not here.
    """
    facts = load_graph(graph).facts
    name, sha256 = facts.weights or "its model", facts.weights_sha256
    for place in (name, str(graph.with_name(Path(name).name))):
        with suppress(CrateError):
            if fetch.fingerprint(find_weights(place)[1])[1] == sha256:
                return place
    raise WeightsError(
        f"{graph}: {name}, with sha256 {sha256}, which it was exported from and which names the "
        f"classes, is not here: put it beside the graph, or {_ELSE}"
    )


def _names(model: WhiteBox, photo: FinishedPhoto, annotated: Annotated) -> tuple[str, ...]:
    """Name the objects of one photo. Raises `InputError` where it is not as it was, or memory does not hold it."""
    if not annotated.objects:
        return ()
    rgb = read_photo_again(photo, annotated).rgb
    crops = [rgb[_around(each, Size(*rgb.shape[:2])).slices] for each in annotated.objects]
    together: dict[Grid, list[int]] = {}
    for index, crop in enumerate(crops):
        grid = fit_grid(Size(*crop.shape[:2]), model.image_size, model.patch_size)
        together.setdefault(grid, []).append(index)
    names = dict.fromkeys(range(len(crops)), "")
    for grid, members in together.items():
        for start in range(0, len(members), TOGETHER):
            some = members[start : start + TOGETHER]
            best = _best([crops[index] for index in some], grid, model, photo.shown)
            names |= {index: model.labels[number] for index, number in zip(some, best, strict=True)}
    return tuple(names.values())


def _best(crops: list[RGB], grid: Grid, model: WhiteBox, shown: str) -> list[int]:
    """Classify crops that share a grid: the number of the class with the highest score, of each."""
    try:
        with torch.inference_mode():
            scores: torch.Tensor = model(model_inputs(crops, grid, model))
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"{shown}: its objects need more memory than there is to be named") from None
    if not scores.isfinite().all():
        raise InputError(f"{shown}: the model's class scores are not finite")
    return [int(number) for number in scores.argmax(dim=1)]


def _around(each: Annotation, size: Size) -> Box:
    left, top, width, height = each.box
    box = Box(top, left, top + height, left + width)
    return box.grown(round(MARGIN * max(width, height)), size)
