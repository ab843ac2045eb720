"""Explore photos: one page of all, or a folder with a page and a data file for each photo."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote

from cratecli.emergence.features import View
from cratecli.errors import UsageError
from cratecli.explorer.page import page
from cratecli.explorer.photo import Card, card_of, facts_of, look_into, segment_recipe
from cratecli.geometry import Grid
from cratecli.io.formats.pages import MARK, as_json, card_in, data_file
from cratecli.io.formats.record import Annotated
from cratecli.model.engine import Model
from cratecli.runs.batch import Outcomes
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.provenance import Provenance
from cratecli.runs.session import Session, provenance_of
from cratecli.runs.views import Question
from cratecli.tasks.options import OneSizeOptions
from cratecli.tasks.recipes import ViewRecipe, choose_layer_recipe
from cratecli.wording import count_of

INDEX = "index.html"
MOST_PAGE = 200_000_000  # bytes of a page: browsers take seconds to read more
_CARD = 1 << 20  # bytes of a card, which stands in the first line of a data file


@dataclass(frozen=True, eq=False)
class ExploredPhoto:
    """A photo of a run: its card, and its data as JSON, of `size` bytes, unless they stand at the job's target."""

    job: Job
    card: Card
    grid: Grid
    size: int
    data: str


def choose_explore_recipe(model: Model, **asked: Unpack[OneSizeOptions]) -> ViewRecipe:
    """Take all layers at the size of `layers`, and what was asked for instead. Raises `UsageError`."""
    recipe = choose_layer_recipe(model, **asked)
    return ViewRecipe(recipe.layers, recipe.sizes[:1], range=recipe.range)


def explore_run(
    plan: Plan, desk: Desk, recipe: ViewRecipe, *, drawn: bool = True
) -> Outcomes[ExploredPhoto | Written]:
    """Look into the photos of a plan, and write one page of all, if it is to be `drawn`; or a folder with a page.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when an output cannot be written, and `UsageError`
    for photos that one page does not hold, or where a page of somebody else's is in the way.
    """
    folder = plan.place
    if folder is not None:
        _refuse_foreign(folder / INDEX)
    of_all = provenance_of("explore", recipe.as_data(), plan, desk, several=True)
    made = provenance_of("explore", recipe.as_data(), plan, desk, several=False)
    explored: list[ExploredPhoto] = []
    desk = replace(desk, range=recipe.range)
    with Session(plan, desk, None if folder is None else made) as session:

        def finish(photo: DecodedPhoto, views: Sequence[View]) -> ExploredPhoto:
            card, data = card_of(photo), look_into(photo, views, recipe, desk)
            text, grid = as_json(data.model_dump()), Grid(data.rows, data.cols)
            size = len(text)
            if folder is not None:
                about = made.of_photo(photo.job, photo.sha256).model_copy(update={"folder": "."})
                content = data_file(card.model_dump() | {"crate": about.as_data()}, text).encode()
                annotated = Annotated(card.name, card.height, card.width, ())
                session.hand_over(photo.job, photo.sha256, content, annotated)
                text = ""
            return ExploredPhoto(photo.job, card, grid, size, text)

        asked = segment_recipe(desk.model, recipe)
        for outcome in session.work(Question(asked.layers, asked.sizes), finish):
            yield outcome
            if isinstance(outcome, ExploredPhoto) and folder is None and drawn:
                explored.append(outcome)
                _refuse_large(explored, len(plan.jobs))
        if desk.stopping() and drawn:
            index = plan.target if folder is None else folder / INDEX
            again = "" if folder is None else " with --resume"
            desk.note(f"{index or 'the page'}: was not written: run the command again{again}")
            return
        if folder is None and not explored:
            return
        if folder is not None:
            index = folder / INDEX
            facts = {**facts_of(desk.model), "crate": of_all.seen_from(index, folder).as_data()}
            yield session.write(folder_page(folder, facts).encode(), index)
        else:
            explored.sort(key=plan.place_of)
            held = any(job.held is not None for job in plan.jobs)
            how = None if held else of_all.seen_from(plan.target)
            yield session.write(one_page(explored, desk.model, how).encode())


def one_page(photos: Sequence[ExploredPhoto], model: Model, made: Provenance | None) -> str:
    """Write a page that holds all photos; it says how it was `made`, which cannot be done again of photos in memory."""
    cards: list[dict[str, Any]] = [photo.card.model_dump() for photo in photos]
    contents = {**facts_of(model), "cards": cards} | ({"crate": made.as_data()} if made else {})
    name = Path(photos[0].card.name).name if len(photos) == 1 else f"{len(photos)} photos"
    return page(f"{name} · crate explore", contents, [photo.data for photo in photos])


def folder_page(folder: Path, facts: dict[str, Any]) -> str:
    """Write the page of a folder: a card for every data file that lies in it, of earlier runs too."""
    cards = [card | {"source": address} for address, card in sorted(_cards_below(folder), key=lambda c: c[0])]
    return page(f"{len(cards)} photos · crate explore", {**facts, "cards": cards}, folder=True)


def _cards_below(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in folder.rglob("*.js"):
        with file.open(encoding="ascii", errors="replace") as stream:
            card = card_in(stream.readline(_CARD))
        if card is not None:
            card.pop("crate", None)
            yield quote(os.fsencode(file.relative_to(folder).as_posix())), card


def _refuse_large(photos: Sequence[ExploredPhoto], count: int) -> None:
    """Raise `UsageError` for more data than a page should hold, as soon as that is clear; `count` photos are asked."""
    size = sum(photo.size for photo in photos)
    expected = size * count / len(photos)
    if size > MOST_PAGE or expected > 2 * MOST_PAGE:
        about = f"{count_of(count, 'photo', ('takes', 'take'))} about {expected / 1e6:,.1f} MB"
        raise UsageError(f"{about}, too much for one page ({MOST_PAGE / 1e6:,.1f} MB): give -o FOLDER/")


def _refuse_foreign(file: Path) -> None:
    """Raise `UsageError` for a page that is not one of ours."""
    try:
        with file.open("rb") as stream:
            if stream.read(len(MARK)) != MARK.encode():
                raise UsageError(f"{file}: is there, and no page of crate explore: choose another folder")
    except OSError:
        return
