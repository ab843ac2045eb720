"""`crate parts`: the parts that photos share, in the same colour in every one."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.options import whole_numbers
from cratecli.cli.report import named
from cratecli.cli.run import Photos, Run, Running
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cratecli.emergence.parts import Vocabulary
    from cratecli.io.sheet import Tile
    from cratecli.model.unroll import WhiteBox
    from cratecli.tasks.batch import Desk, Outcomes
    from cratecli.tasks.inputs import Inputs
    from cratecli.tasks.partpictures import Pictures
    from cratecli.tasks.parts import Kind, Labelled, PartRecipe
    from cratecli.tasks.plan import Plan
    from cratecli.tasks.provenance import Provenance, Setting

PARTS_FILE, SHEET_FILE = "parts.json", "sheet.png"


@grouped
def parts(
    photos: Photos,
    *,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="The folder for everything written.")
    ] = None,
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
    size: options.Sizes = None,
    seed: Annotated[int, typer.Option(help="Starts k-means.")] = 0,
    running: Running,
) -> None:
    """Find the parts that photos share: the same part has the same colour in every one.

    Into -o DIR, ./FOLDER-parts or ./parts go labels/ (indexed PNGs in VOC's palette) and overlays/, or rgb/, or
    components/; parts.json with areas, boxes and centroids; and sheet.png, the first photos side by side.
    Photos wait as descriptors in the temporary folder (TMPDIR), so that memory does not grow with them.
    """
    report = running.report()
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
    sizes = None if size is None else whole_numbers(size, "--size")
    count = _count("4" if k is None else k)
    planned = _plan(photos.inputs(), output, as_, save_parts)
    known = names is not None and count != "auto" and not parts_
    if known and (k or not save_parts or not save_parts.exists()):
        _read_names(names or "", count if isinstance(count, int) else 0)
    run = Run(planned, running, report)
    if run.over():
        return

    from cratecli.tasks.parts import choose_part_recipe
    from cratecli.tasks.provenance import provenance

    loaded = running.load()
    recipe = choose_part_recipe(
        loaded, layers=chosen, sizes=sizes, foreground=foreground, k=count, refine=refine, seed=seed
    )
    asked = {**photos.settings, **running.settings, "as": as_} | ({} if names is None else {"names": names})
    with TemporaryDirectory(prefix="crate-") as folder:
        made = partial(provenance, "parts", model=loaded, batch_size=running.batch_size, inputs=photos.given)
        job = _Job(run, loaded, recipe, lambda settings: made(settings={**asked, **settings}))
        if parts_:
            job.known(parts_, names, as_)
        else:
            job.learn(Path(folder), save_parts, names, k, as_)


class _Job:
    """One run of the command: a vocabulary, learned or known, and what is labelled by it."""

    def __init__(
        self,
        run: Run,
        model: "WhiteBox",
        recipe: "PartRecipe",
        made: "Callable[[Mapping[str, Setting]], Provenance]",
    ) -> None:
        self.run, self.report, self.model, self.recipe = run, run.report, model, recipe
        self._made = made

    def known(self, path: Path, names: str | None, kind: "Kind") -> None:
        """Label by a vocabulary that was saved."""
        from cratecli.tasks.parts import label_jobs
        from cratecli.tasks.vocabulary import load_vocabulary

        saved = load_vocabulary(path, self.model)
        vocabulary = _named(saved.vocabulary, names)
        self.recipe = replace(saved.recipe, refine=self.recipe.refine)
        self.report.starts(self.model, str(self.recipe), self.recipe.sizes)
        made = self._made({"parts": str(path), "refine": self.recipe.refine})
        with self.run.desk(self.model, made, shared=False) as desk:
            written = self._pictures(desk, kind, made)
            outcomes = label_jobs(self.run.plan.jobs, desk, vocabulary, self.recipe, written=written)
            self._tell(outcomes, vocabulary, kind, made)

    def learn(self, folder: Path, save: Path | None, names: str | None, k: str | None, kind: "Kind") -> None:
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
        self.report.starts(self.model, str(self.recipe), self.recipe.sizes)
        handed_on = {"save-parts": str(save)} if before else {}
        made = self._made({**self.recipe.settings, **handed_on})
        album = Album(folder, self.recipe)
        with self.run.desk(self.model, made, shared=False) as desk:
            outcomes = learn_parts(album, self.run.plan.jobs, desk, self.recipe)
            read = list(self.run.through(outcomes))
            learned = album.learn()
            if before:
                learned = in_order(rename(learned, before.vocabulary))
                if lost := [name for name in before.vocabulary.names if name not in learned.names]:
                    self.report.note(f"{save}: no part matches, and none is kept, of {', '.join(lost)}")
            vocabulary = _named(learned, names)
            if save:
                save_vocabulary(save, Saved(vocabulary, self.recipe), self.model)
                self.report.wrote(str(save))
            written = self._pictures(desk, kind, made)
            found = label_album(album, read, desk, vocabulary, self.recipe, written=written)
            self._tell(found, vocabulary, kind, made)

    def _pictures(self, desk: "Desk", kind: "Kind", made: "Provenance") -> "Pictures":
        from cratecli.tasks.partpictures import Pictures

        return Pictures(desk, self._place, kind, made)

    @property
    def _place(self) -> Path:
        if self.run.plan.place is None:
            raise ValueError("parts fill a folder")
        return self.run.plan.place

    def _tell(
        self,
        outcomes: "Outcomes[Labelled]",
        vocabulary: "Vocabulary",
        kind: "Kind",
        made: "Provenance",
    ) -> None:
        """Tell of every photo, and write what stands for all of them."""
        from cratecli.io.formats.png import encode_rgb
        from cratecli.tasks.jobs import deliver
        from cratecli.tasks.partpictures import SHEET, parts_sheet, thumbnail

        place = self._place
        records: list[dict[str, Any]] = []
        tiles: list[tuple[int, Tile]] = []
        for found in self.run.through(outcomes):
            records.append(_record(found))
            self.report.done(records[-1], *map(str, found.written))
            if len(tiles) < SHEET:
                tiles.append((self.report.order[found.job.name], thumbnail(found, kind)))
        if records:
            records.sort(key=lambda record: self.report.order[record["input"]])
            tiles.sort(key=lambda each: each[0])
            about = _about(vocabulary, self.recipe, self.model) | {
                "crate": made.since(place / PARTS_FILE, place)
            }
            deliver(place / PARTS_FILE, json.dumps(about | {"images": records}, indent=1).encode())
            sheet = parts_sheet(vocabulary, [tile for _, tile in tiles], kind)
            deliver(place / SHEET_FILE, encode_rgb(sheet, made.text(place / SHEET_FILE, place)))
            self.report.wrote(str(place / PARTS_FILE), str(place / SHEET_FILE))
            if len(tiles) < len(records):
                self.report.note(f"the sheet shows {len(tiles)} of {len(records)} photos")


def _count(text: str) -> int | Literal["auto"]:
    """Read `auto` or one whole number."""
    if text == "auto":
        return "auto"
    numbers = whole_numbers(text, "--k")
    if len(numbers) > 1:
        raise UsageError(f"--k {text!r} is not one whole number, or auto")
    return numbers[0]


def _plan(inputs: "Inputs", output: str | None, kind: str, save: Path | None) -> "Plan":
    """Choose the folder for everything, and each photo's place in it."""
    from cratecli.tasks.plan import plan

    if output == "":
        raise UsageError("a path is empty")
    alone = inputs.alone and bool(inputs.folders)
    place = Path(output or (f"{inputs.folders[0].resolve().name}-parts" if alone else "parts"))
    if output == "-":
        raise UsageError("parts fill a folder: give -o DIR")
    if place.is_file() or place.suffix.lower() in (".png", ".jpg", ".json"):
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs.named):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    planned = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False, apart=place)
    sources = {os.path.realpath(job.source) for job in planned.jobs if job.source is not None}
    written = [place / SHEET_FILE, place / PARTS_FILE]
    within = [job.target.relative_to(place / kind) for job in planned.jobs if job.target is not None]
    written += [place / folder / each for each in within for folder in {kind, "overlays"}]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    if save and os.path.realpath(save) in map(os.path.realpath, written):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return replace(planned, place=place, also=tuple({place / "overlays" / each.parent for each in within}))


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


def _record(found: "Labelled") -> dict[str, Any]:
    """Say about one photo what parts.json and `--json` hold: px, upright; boxes as left, top, width, height."""
    height, width = found.rgb.shape[:2]
    return {
        "input": found.job.name,
        "outputs": list(map(str, found.written)),
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
