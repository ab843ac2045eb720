"""One run of `crate parts`: a vocabulary, learned or known, and what is labelled and told by it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cratecli.cli.report import named
from cratecli.cli.run import Run
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cratecli.emergence.parts import Vocabulary
    from cratecli.io.sheet import Tile
    from cratecli.model.unroll import WhiteBox
    from cratecli.runs.batch import Desk, Outcomes
    from cratecli.runs.provenance import Provenance, Setting
    from cratecli.tasks.parts import Kind, Labelled, PartRecipe
    from cratecli.tasks.parts_pictures import Pictures

PARTS_FILE, SHEET_FILE = "parts.json", "sheet.png"


class PartJob:
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
        from cratecli.tasks.parts_vocabulary import load_vocabulary

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
        from cratecli.tasks.parts_vocabulary import Saved, load_vocabulary, save_vocabulary

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
        from cratecli.tasks.parts_pictures import Pictures

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
        from cratecli.runs.jobs import deliver
        from cratecli.tasks.parts_pictures import SHEET, parts_sheet, thumbnail

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


def read_names(names: str, count: int) -> tuple[str, ...]:
    """Read names for parts. Raises `UsageError` when they are not as many as the parts."""
    given = tuple(name.strip() for name in names.split(","))
    if len(given) != count or not all(given):
        raise UsageError(f"--names gives {len([name for name in given if name])} names for {count} parts")
    return given


def _named(vocabulary: "Vocabulary", names: str | None) -> "Vocabulary":
    if names is None:
        return vocabulary
    return replace(vocabulary, names=read_names(names, len(vocabulary.names)))


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
