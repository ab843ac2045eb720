"""`crate evaluate`: the papers' numbers, and the saliency field's."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.groups import grouped
from cratecli.cli.judging import Data, Judging
from cratecli.cli.options import heads_named, whole_numbers
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratecli.evaluation.protocol import Trial
    from cratecli.model.unroll import WhiteBox

app = typer.Typer(
    help="Judge models on data sets with truth: the papers' numbers, or the saliency field's.",
    no_args_is_help=True,
)

Square = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the square input, px.")]
EachLayer = Annotated[
    str | None,
    typer.Option(
        "--layer", metavar="LIST|all", help="Layers, each judged on its own, from 0; `-1` is the last."
    ),
]


@app.command()
@grouped
def voc(
    path: Data,
    *,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="The list in ImageSets/Segmentation, without .txt.")
    ] = "val",
    layer: EachLayer = None,
    size: Square = None,
    judging: Judging,
) -> None:
    """Judge attention by coarse segmentation on PASCAL VOC: mIoU of the best head for every class and photo.

    PATH is a VOCdevkit folder, or a year's in it. What is left out of --layer and --size is the paper's choice; for a
    model trained on thumbnails, a smaller size.
    """
    from cratecli.evaluation.voc import voc_sight, voc_trial

    def prepare(model: "WhiteBox") -> "Trial":
        sight = voc_sight(model, _layers(layer, model), size)
        return voc_trial(path, model, sight, split=split)

    judging.judge(prepare)


@app.command()
@grouped
def coco(
    path: Data,
    *,
    n: Annotated[int | None, typer.Option("--n", min=1, max=100, help="The most cuts in a photo.")] = None,
    tau: options.Tau = None,
    layer: EachLayer = None,
    size: Square = None,
    judging: Judging,
) -> None:
    """Judge MaskCut by COCO's average precision of boxes and masks, class-agnostic.

    PATH holds images/ and instances.json, or val2017/ and annotations/instances_val2017.json. What is left out of
    --layer, --size, --tau and --n is the paper's choice; for a model trained on thumbnails, that of `crate objects`.
    """
    from cratecli.evaluation.coco import coco_trial
    from cratecli.tasks.objects import choose_object_recipe

    def prepare(model: "WhiteBox") -> "Trial":
        recipe = choose_object_recipe(model, layers=_layers(layer, model), size=size, tau=tau, count=n)
        return coco_trial(path, model, recipe)

    judging.judge(prepare)


@app.command()
@grouped
def saliency(
    path: Data,
    *,
    off_centre: Annotated[
        bool, typer.Option("--off-centre", help="Cut photos so that their object lies off-centre.")
    ] = False,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="A row for the best head, layer and view by truth, not refined.")
    ] = False,
    mean_of_heads: Annotated[
        bool, typer.Option("--mean-of-heads", help="A row for the mean of all heads, not refined.")
    ] = False,
    layer: options.Layers = None,
    heads: options.Heads = "auto",
    keep: options.Keep = None,
    refine: options.Refine = None,
    size: options.Sizes = None,
    judging: Judging,
) -> None:
    """Judge masks as `crate segment` makes them: IoU, maxFβ, mean absolute error, accuracy, boxes found.

    PATH holds images/ and masks/, of the same stems; a mask is above 127 where the object is.
    """
    chosen = heads_named(heads)
    layers = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")

    from cratecli.evaluation.saliency import saliency_trial
    from cratecli.tasks.recipes import choose_recipe

    def prepare(model: "WhiteBox") -> "Trial":
        recipe = choose_recipe(model, layers=layers, sizes=sizes, heads=chosen, keep=keep, refine=refine)
        return saliency_trial(
            path, model, recipe, off_centre=off_centre, mean_of_heads=mean_of_heads, oracle=oracle
        )

    judging.judge(prepare)


@app.command()
@grouped
def parts(
    path: Data,
    *,
    k: Annotated[str, typer.Option("-k", "--k", metavar="N|auto", help="How many parts.")] = "4",
    foreground: Annotated[
        Literal["attention", "pca", "none"] | None,
        typer.Option(
            help="What tells figure from ground: the heads, the first principal component, nothing."
        ),
    ] = None,
    layer: options.Layers = None,
    refine: options.Refine = None,
    size: options.Sizes = None,
    judging: Judging,
) -> None:
    """Judge parts as `crate parts` finds them: NMI, ARI, and IoU under the best matching.

    PATH holds images/ and masks_part/, of the same stems: a part's number in every pixel, 0 for the ground.
    """
    layers = None if layer is None else whole_numbers(layer, "--layer")
    sizes = None if size is None else whole_numbers(size, "--size")
    count: int | Literal["auto"] = "auto" if k == "auto" else _count(k)

    from cratecli.evaluation.parts import parts_trial
    from cratecli.tasks.parts import choose_part_recipe

    def prepare(model: "WhiteBox") -> "Trial":
        recipe = choose_part_recipe(
            model, layers=layers, sizes=sizes, foreground=foreground, k=count, refine=refine or "none"
        )
        return parts_trial(path, model, recipe)

    judging.judge(prepare)


def _layers(text: str | None, model: "WhiteBox") -> "Sequence[int] | None":
    """Read a list of layers, or `all`."""
    if text is None:
        return None
    return range(model.depth) if text == "all" else whole_numbers(text, "--layer")


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"-k {text!r} is neither a whole number nor auto") from None
