"""`crate parts`: the parts that photos share, in the same colour in every one."""

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.options import whole_numbers
from cratecli.cli.outputs import stdin_for
from cratecli.cli.report import Report, named, what_runs
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratecli.emergence.parts import Vocabulary
    from cratecli.io.sheet import Tile
    from cratecli.model.unroll import WhiteBox
    from cratecli.tasks.batch import Failure, Job
    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.parts import Kind, Labelled, PartRecipe

PARTS_FILE, SHEET_FILE = "parts.json", "sheet.png"


def parts(
    inputs: options.Inputs,
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="The folder for everything written.")
    ] = None,
    model: options.Model = None,
    k: Annotated[
        str | None,
        typer.Option(
            "-k",
            "--k",
            metavar="N|auto",
            help="How many parts; 4 unless said, or as many as in the vocabulary that --save-parts learns again.",
        ),
    ] = None,
    as_: Annotated[
        Literal["labels", "rgb", "components"],
        typer.Option("--as", help="What is drawn of each photo: part labels, or principal components."),
    ] = "labels",
    foreground: Annotated[
        Literal["attention", "pca", "none"] | None,
        typer.Option(
            help="What tells figure from ground: the heads, the first principal component, nothing."
        ),
    ] = None,
    refine: Annotated[
        Literal["none", "guided", "grabcut"],
        typer.Option(help="How edges follow the photo: all edges (guided), the outline (grabcut)."),
    ] = "none",
    save_parts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Save the part vocabulary; one that is there hands on its names and colours."
        ),
    ] = None,
    parts_: Annotated[
        Path | None,
        typer.Option("--parts", metavar="FILE", help="Label by a saved vocabulary instead of learning one."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Names for the parts, in the order of their labels: `head,body,legs`."
        ),
    ] = None,
    layer: options.Layers = None,
    size: options.Size = None,
    seed: Annotated[int, typer.Option(help="Starts k-means.")] = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = 8,
    features_cache: options.FeaturesCache = None,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the parts that photos share: the same part has the same colour in every one.

    Into -o DIR, ./FOLDER-parts or ./parts go labels/ (indexed PNGs in VOC's palette) and overlays/, or rgb/, or
    components/; parts.json with areas, boxes and centroids; and sheet.png, the first photos side by side.
    Photos wait as descriptors in the temporary folder (TMPDIR), so that memory does not grow with them.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)
    fixed = {
        "--k": k,
        "--foreground": foreground,
        "--layer": layer,
        "--size": size,
        "--save-parts": save_parts,
        "--seed": seed or None,
    }
    if parts_ and (clash := [name for name, value in fixed.items() if value is not None]):
        raise UsageError(f"--parts labels by what was learned: {clash[0]} makes no sense beside it")
    chosen = None if layer is None else whole_numbers(layer, "--layer")
    count = _count("4" if k is None else k)
    place, jobs = _plan(inputs, output, as_, save_parts)
    if (
        names is not None
        and count != "auto"
        and not parts_
        and (k or not save_parts or not save_parts.exists())
    ):
        _read_names(names, count)

    from cratecli.tasks.features import FeatureCache
    from cratecli.tasks.parts import choose_part_recipe
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    recipe = choose_part_recipe(
        loaded, layers=chosen, size=size, foreground=foreground, k=count, refine=refine, seed=seed
    )
    cache = FeatureCache(features_cache, loaded) if features_cache else None
    run = _Run(report, jobs, loaded, recipe, batch_size=batch_size, cache=cache)
    with report, TemporaryDirectory(prefix="crate-") as folder:
        if parts_:
            run.known(parts_, names)
        else:
            run.learn(Path(folder), save_parts, names, k)
        run.write(place, as_)


class _Run:
    """One run of the command: a vocabulary, learned or known, and what is labelled by it."""

    def __init__(
        self,
        report: Report,
        jobs: "list[Job]",
        model: "WhiteBox",
        recipe: "PartRecipe",
        *,
        batch_size: int,
        cache: "FeatureCache | None",
    ) -> None:
        self.report, self.jobs, self.model, self.recipe = report, jobs, model, recipe
        self.batch_size, self.cache, self.stdin = batch_size, cache, stdin_for(jobs)
        self.vocabulary: Vocabulary
        self.outcomes: Iterator[Labelled | Failure]

    def known(self, path: Path, names: str | None) -> None:
        """Label by a vocabulary that was saved."""
        from cratecli.tasks.parts import label_jobs
        from cratecli.tasks.vocabulary import load_vocabulary

        saved = load_vocabulary(path, self.model)
        self.vocabulary = _named(saved.vocabulary, names)
        self.recipe = replace(saved.recipe, refine=self.recipe.refine)
        self.report.note(what_runs(self.model, str(self.recipe)))
        self.outcomes = label_jobs(
            self.jobs,
            self.model,
            self.vocabulary,
            self.recipe,
            batch_size=self.batch_size,
            stdin=self.stdin,
            cache=self.cache,
        )

    def learn(self, folder: Path, save: Path | None, names: str | None, k: str | None) -> None:
        """Learn a vocabulary from the photos, and save it; names and colours come from the one that was there."""
        from cratecli.emergence.parts import in_order, rename
        from cratecli.tasks.parts import Album, label_album, learn_parts
        from cratecli.tasks.vocabulary import Saved, load_vocabulary, save_vocabulary

        before = load_vocabulary(save, self.model) if save and save.exists() else None
        if before and before.recipe.layers != self.recipe.layers:
            layers = ",".join(map(str, before.recipe.layers))
            raise UsageError(
                f"{save}: was learned from layer {layers}: give --layer {layers}, or another file"
            )
        if before and k is None:
            self.recipe = replace(self.recipe, k=len(before.vocabulary.names))
        self.report.note(what_runs(self.model, str(self.recipe)))
        album = Album(folder, self.recipe)
        learned, read = learn_parts(
            album,
            self.jobs,
            self.model,
            self.recipe,
            batch_size=self.batch_size,
            stdin=self.stdin,
            cache=self.cache,
            failed=self.report.fail,
        )
        if before:
            learned = in_order(rename(learned, before.vocabulary))
            if lost := [name for name in before.vocabulary.names if name not in learned.names]:
                self.report.note(f"{save}: no part matches, and none is kept, of {', '.join(lost)}")
        self.vocabulary = _named(learned, names)
        if save:
            save_vocabulary(save, Saved(self.vocabulary, self.recipe), self.model)
            self.report.wrote(str(save))
        self.outcomes = label_album(album, read, self.vocabulary, self.recipe, self.stdin)

    def write(self, place: Path, kind: "Kind") -> None:
        """Write every photo's pictures, and what stands for all of them."""
        from cratecli.io.formats.png import encode_rgb
        from cratecli.tasks.batch import Failure, deliver
        from cratecli.tasks.parts import SHEET, draw, parts_sheet, thumbnail

        records: list[dict[str, Any]] = []
        tiles: list[Tile] = []
        for outcome in self.outcomes:
            if isinstance(outcome, Failure):
                self.report.fail(outcome)
                continue
            written = []
            for folder, png in draw(outcome, kind).items():
                path = place / folder / _within(outcome.job, place)
                deliver(path, png)
                written.append(str(path))
            records.append(_record(outcome, written))
            self.report.done(records[-1], *written)
            if len(tiles) < SHEET:
                tiles.append(thumbnail(outcome, kind))
        if records:
            about = _about(self.vocabulary, self.recipe, self.model)
            deliver(place / PARTS_FILE, json.dumps(about | {"images": records}, indent=1).encode())
            deliver(place / SHEET_FILE, encode_rgb(parts_sheet(self.vocabulary, tiles, kind)))
            self.report.wrote(str(place / PARTS_FILE), str(place / SHEET_FILE))
            if len(tiles) < len(records):
                self.report.note(f"the sheet shows the first {len(tiles)} of {len(records)} photos")


def _count(text: str) -> int | Literal["auto"]:
    """Read `auto` or one whole number."""
    if text == "auto":
        return "auto"
    numbers = whole_numbers(text, "--k")
    if len(numbers) > 1:
        raise UsageError(f"--k {text!r} is not one whole number, or auto")
    return numbers[0]


def _plan(inputs: list[str], output: str | None, kind: str, save: Path | None) -> "tuple[Path, list[Job]]":
    """Choose the folder for everything, and each photo's place in it."""
    from cratecli.tasks.batch import plan

    if output == "":
        raise UsageError("a path is empty")
    alone = len(inputs) == 1 and os.path.isdir(inputs[0])  # noqa: PTH112 - Path.is_dir raises for a name too long
    place = Path(output or (f"{Path(inputs[0]).resolve().name}-parts" if alone else "parts"))
    if output == "-":
        raise UsageError("parts fill a folder: give -o DIR")
    if place.is_file() or place.suffix.lower() in (".png", ".jpg", ".json"):
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    jobs = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False)
    sources = {os.path.realpath(job.source) for job in jobs if job.source is not None}
    written = [place / SHEET_FILE, place / PARTS_FILE]
    written += [place / folder / _within(job, place) for job in jobs for folder in {kind, "overlays"}]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    if save and os.path.realpath(save) in map(os.path.realpath, written):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return place, jobs


def _within(job: "Job", place: Path) -> Path:
    """Give a job's place below labels/, rgb/ or components/."""
    if job.target is None:
        raise ValueError("every photo has a place in the folder")
    return Path(*job.target.relative_to(place).parts[1:])


def _read_names(names: str, count: int) -> tuple[str, ...]:
    """Read names for parts. Raises `UsageError` when they are not as many as the parts."""
    given = tuple(name.strip() for name in names.split(","))
    if len(given) != count or not all(given):
        raise UsageError(f"--names gives {len([name for name in given if name])} names for {count} parts")
    return given


def _named(vocabulary: "Vocabulary", names: str | None) -> "Vocabulary":
    if names is None:
        return vocabulary
    return replace(vocabulary, names=_read_names(names, len(vocabulary.names)))


def _about(vocabulary: "Vocabulary", recipe: "PartRecipe", model: "WhiteBox") -> dict[str, Any]:
    """Say what holds for all photos."""
    return {
        "parts": [
            {"name": name, "label": colour}
            for name, colour in zip(vocabulary.names, vocabulary.colours, strict=True)
        ],
        "k": len(vocabulary.names),
        "foreground": vocabulary.ground.rule,
        "layers": list(recipe.layers),
        "sizes": list(recipe.sizes),
        "refine": recipe.refine,
        "seed": recipe.seed,
        **named(model.weights),
    }


def _record(found: "Labelled", written: list[str]) -> dict[str, Any]:
    """Say about one photo what parts.json and `--json` hold: px, upright; boxes as left, top, width, height."""
    height, width = found.rgb.shape[:2]
    return {
        "input": found.job.name,
        "outputs": written,
        "height": height,
        "width": width,
        "parts": [
            {
                "name": part.name,
                "label": part.colour,
                "area": part.area,
                "box": list(part.box.xywh),
                "centroid": [round(value, 2) for value in part.centroid],
            }
            for part in found.parts.parts
        ],
    }
