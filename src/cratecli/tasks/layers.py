"""Where segmentation emerges: coding rate and sparsity layer by layer, beside what each layer sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import RGB
from cratecli.emergence.features import View, absolute_layers
from cratecli.emergence.heads import mean_attention
from cratecli.emergence.maskcut import maskcut
from cratecli.emergence.masks import enlarge, scale
from cratecli.emergence.pca import principal_components
from cratecli.geometry import Size
from cratecli.io import images
from cratecli.io.formats import ArrayEnding
from cratecli.io.formats.png import overlay
from cratecli.io.formats.tensors import Arrays
from cratecli.io.plot import Curve, plot_layers
from cratecli.io.sheet import CELL, Tile, contact_sheet, fit_within, heat, stack
from cratecli.model.engine import Model, WeightsId
from cratecli.runs.batch import Outcomes
from cratecli.runs.cache import ViewCache
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.runs.session import Session, provenance_of
from cratecli.runs.views import Look, Question, look, views_of
from cratecli.tasks.arrays_run import ArraysPhoto, arrays_run
from cratecli.tasks.combined import write_sheet
from cratecli.tasks.object_recipes import MOST_PATCHES
from cratecli.tasks.options import LayerOptions
from cratecli.tasks.recipes import LayerRecipe, choose_layer_recipe
from cratecli.wording import count_of

PICTURED = 4  # photos whose layers are shown; the curves are of all


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """What each of some layers does to one photo.

    `coding_rate` is in nats, of the tokens entering the layer, in its subspaces; `zero_fraction`, 0–1, is the share of
    exact zeros in what it hands on. `attention` is the class token's, averaged over heads, and sums to 1. `components`
    are the first four principal components of the layer's subspace tokens, in this photo, each scaled to 0–1; of the
    first the side with more attention is bright. `mask` is MaskCut's first.
    """

    coding_rate: Float[np.ndarray, " layers"]
    zero_fraction: Float[np.ndarray, " layers"]
    attention: Float[np.ndarray, "layers rows cols"]
    components: Float[np.ndarray, "layers 4 rows cols"]
    mask: Bool[np.ndarray, "layers rows cols"]
    layers: tuple[int, ...]
    weights: WeightsId | None


def layers(
    image: images.PhotoLike | Look,
    model: Model | str | Path | None = None,
    **asked: Unpack[LayerOptions],
) -> LayerTrace:
    """Trace one photo through the layers: a path, a Pillow image, an upright RGB array (0–255), or a `Look`.

    All layers are traced unless some are named. Raises `InputError` for a bad photo, `UsageError` for an option that
    makes no sense, and what `load_model` raises.
    """
    seen = look(image, model, asked.get("range"))
    return trace_batch([seen.rgb], seen.model, choose_layer_recipe(seen.model, **asked), seen.cache)[0]


def trace_batch(
    photos: Sequence[RGB], model: Model, recipe: LayerRecipe, cache: ViewCache | None = None
) -> list[LayerTrace]:
    """Trace upright RGB photos through the layers; of several sizes the first counts."""
    seen = views_of(photos, model, _question(recipe), cache=cache)
    return [_trace(view, recipe, model) for (view,) in seen]


def _question(recipe: LayerRecipe) -> Question:
    return Question(recipe.layers, recipe.sizes[:1], trace=True, most_patches=MOST_PATCHES)


def _trace(view: View, recipe: LayerRecipe, model: Model) -> LayerTrace:
    attention = mean_attention([view]).mean(axis=1)
    return LayerTrace(
        coding_rate=view.coding_rate,
        zero_fraction=view.zero_fraction,
        attention=attention,
        components=np.stack([_components(*each) for each in zip(view.tokens, attention, strict=True)]),
        mask=np.stack(
            [
                maskcut(view.only(place).unit_tokens(), tau=recipe.tau, count=1)[0]
                for place in range(len(recipe.layers))
            ]
        ),
        layers=absolute_layers(recipe.layers, model.depth),
        weights=model.weights,
    )


def _components(
    tokens: Float[np.ndarray, "rows cols d"], attention: Float[np.ndarray, "rows cols"]
) -> Float[np.ndarray, "4 rows cols"]:
    """Scale the first four principal components of one photo's tokens to 0–1; those it lacks are 0."""
    rows, cols, width = tokens.shape
    flat = tokens.reshape(-1, width)
    values = principal_components(flat, 4).project(flat)
    values = np.pad(values, ((0, 0), (0, 4 - values.shape[1])))
    bright = values[:, 0] > np.median(values[:, 0])
    if bright.any() and attention.reshape(-1)[bright].mean() < attention.mean():
        values[:, 0] *= -1
    return np.stack([scale(each.reshape(rows, cols)) for each in values.T])


@dataclass(frozen=True, eq=False)
class LayersPhoto:
    """A photo of a run with its trace, as small as a contact sheet shows it."""

    job: Job
    trace: LayerTrace
    thumbnail: RGB

    @property
    def tiles(self) -> list[list[Tile]]:
        """Draw its rows: attention, component 1, components 2–4 as RGB, MaskCut's mask; a column a layer."""
        trace, size = self.trace, Size(*self.thumbnail.shape[:2])

        def grown(grid_map: np.ndarray) -> np.ndarray:
            return np.asarray(enlarge(grid_map.astype(np.float32), size))

        attention = [heat(scale(grown(each))) for each in trace.attention]
        first, colours = [], []
        for each in trace.components:
            levels = np.stack([grown(component) for component in each], axis=-1)
            levels = (levels * 255).round().astype(np.uint8)
            first.append(np.repeat(levels[..., :1], 3, axis=-1))
            colours.append(np.ascontiguousarray(levels[..., 1:]))
        masks = [overlay(self.thumbnail, grown(each) >= 0.5) for each in trace.mask]
        return [
            [Tile(self.thumbnail), *map(Tile, attention)],
            *([Tile(np.full_like(self.thumbnail, 255)), *map(Tile, row)] for row in (first, colours, masks)),
        ]


def layers_run(
    plan: Plan, desk: Desk, recipe: LayerRecipe, *, drawn: bool
) -> Outcomes[LayersPhoto | Written]:
    """Trace the photos of a plan through the layers, and write the sheet of curves and maps, if one is to be `drawn`.

    A bad photo is a `Failure`, not the end. Raises `OutputError` when the sheet cannot be written.
    """
    traced: list[LayersPhoto] = []

    def finish(photo: DecodedPhoto, views: Sequence[View]) -> LayersPhoto:
        return LayersPhoto(photo.job, _trace(views[0], recipe, desk.model), fit_within(photo.rgb, CELL))

    with Session(plan, replace(desk, range=recipe.range)) as session:
        for outcome in session.work(_question(recipe), finish):
            yield outcome
            if isinstance(outcome, LayersPhoto):
                traced.append(outcome)
        if not drawn or not traced or desk.stopping():
            return
        traced.sort(key=plan.place_of)
        weights = desk.model.weights
        made = provenance_of("layers", recipe.as_data(), plan, desk, several=True)
        yield write_sheet(session, layers_sheet(traced, weights.name if weights else "model"), made)


def layers_arrays(
    plan: Plan, desk: Desk, recipe: LayerRecipe, ending: ArrayEnding
) -> Outcomes[ArraysPhoto[LayersPhoto]]:
    """Trace the photos of a plan through the layers, and write what each layer does as arrays; see `arrays_run`."""

    def measure(photo: DecodedPhoto, views: Sequence[View]) -> tuple[LayersPhoto, Arrays]:
        (view,), trace = views, _trace(views[0], recipe, desk.model)
        heads = view.attention.shape[1]
        subspaces = view.tokens.reshape(*view.tokens.shape[:3], heads, -1).transpose(0, 3, 1, 2, 4)
        measured = {
            "coding_rate": trace.coding_rate,
            "zero_fraction": trace.zero_fraction,
            "attention": view.attention,
            "subspaces": subspaces,
            "components": trace.components,
        }
        numbers = {name: each.astype(np.float32) for name, each in measured.items()}
        done = LayersPhoto(photo.job, trace, fit_within(photo.rgb, CELL))
        return done, {"layers": np.array(trace.layers, np.int64), **numbers, "maskcut": trace.mask}

    return arrays_run("layers", plan, desk, recipe, _question(recipe), ending=ending, measure=measure)


def layers_sheet(traced: Sequence[LayersPhoto], name: str) -> RGB:
    """Put the curves, mean and spread over photos, over the first photos' layers."""
    layers = traced[0].trace.layers
    curves = [
        Curve("coding rate, nats", np.stack([photo.trace.coding_rate for photo in traced])),
        Curve("zero fraction", np.stack([photo.trace.zero_fraction for photo in traced])),
    ]
    labels, rows = [], []
    for photo in traced[:PICTURED]:
        for what, row in zip(
            ("attention", "component 1", "components 2-4", "MaskCut"), photo.tiles, strict=True
        ):
            labels.append(f"{Path(photo.job.name).name} · {what}")
            rows.append(row)
    sheet = contact_sheet(rows, columns=["", *(f"layer {layer}" for layer in layers)], labels=labels)
    title = f"{name}, {count_of(len(traced), 'photo')}"
    return stack(plot_layers(curves, layers, title, width=sheet.shape[1]), sheet)
