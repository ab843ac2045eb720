"""`crate evaluate`: the papers' numbers, and the saliency field's."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cratecli.cli import options
from cratecli.cli.evaluation import Data, EvaluationRun
from cratecli.cli.groups import grouped
from cratecli.cli.options import heads_named, whole_numbers
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratecli.model.unroll import WhiteBox

app = typer.Typer(
    help="Evaluate models on data sets with ground truth: the papers' numbers, or the saliency field's.",
    no_args_is_help=True,
)

Square = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the square input, px.")]
EachLayer = Annotated[
    str | None,
    typer.Option(
        "--layer", metavar="LIST|all", help="Layers, each evaluated on its own, from 0; `-1` is the last."
    ),
]


@app.command(
    epilog="Examples:\n\ncrate evaluate voc VOCdevkit/\n\ncrate evaluate voc VOCdevkit/ --layer all --markdown"
)
@grouped
def voc(
    path: Data,
    *,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="The list in ImageSets/Segmentation, without .txt.")
    ] = "val",
    layer: EachLayer = None,
    size: Square = None,
    run: EvaluationRun,
) -> None:
    """Evaluate attention by coarse segmentation on PASCAL VOC: mIoU of the best head for every class and photo.

    PATH is a VOCdevkit folder, or a year's in it. Without --layer and --size, the paper's are used; for a model trained
    on thumbnails, a smaller size.
    """
    from cratecli.evaluation.voc import voc_protocol

    run.evaluate(
        lambda model: voc_protocol(path, model, split=split, layers=_layers(layer, model), size=size)
    )


@app.command(
    epilog="Examples:\n\ncrate evaluate coco coco/\n\ncrate evaluate coco coco/ --resume -m vit-small-patch8-dino"
)
@grouped
def coco(
    path: Data,
    *,
    n: Annotated[int | None, typer.Option("--n", min=1, max=100, help="The most cuts in a photo.")] = None,
    tau: options.Tau = None,
    layer: EachLayer = None,
    size: Square = None,
    run: EvaluationRun,
) -> None:
    """Evaluate MaskCut by COCO's average precision of boxes and masks, class-agnostic.

    PATH holds images/ and instances.json, or val2017/ and annotations/instances_val2017.json. Without --layer, --size,
    --tau and --n, the paper's are used; for a model trained on thumbnails, those of `crate objects`.
    """
    from cratecli.evaluation.coco import coco_protocol

    run.evaluate(
        lambda model: coco_protocol(path, model, layers=_layers(layer, model), size=size, tau=tau, count=n)
    )


@app.command(
    epilog="Examples:\n\ncrate evaluate saliency DUTS/ --oracle\n\ncrate evaluate saliency DUTS/ --refine none --json"
)
@grouped
def saliency(
    path: Data,
    *,
    off_centre: Annotated[
        bool, typer.Option("--off-centre", help="Crop photos so that their object lies off-centre.")
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
    run: EvaluationRun,
) -> None:
    """Evaluate the masks of `crate segment`: IoU, maxFβ, mean absolute error, accuracy, boxes that are right.

    PATH holds images/ and masks/, of the same stems; a mask is above 127 where the object is.
    """
    chosen, layers, sizes = heads_named(heads), _numbers(layer, "--layer"), _numbers(size, "--size")

    from cratecli.evaluation.saliency import saliency_protocol

    run.evaluate(
        lambda model: saliency_protocol(
            path,
            model,
            off_centre=off_centre,
            mean_of_heads=mean_of_heads,
            oracle=oracle,
            layers=layers,
            sizes=sizes,
            heads=chosen,
            keep=keep,
            refine=refine,
        )
    )


@app.command(
    epilog="Examples:\n\ncrate evaluate parts cars/\n\ncrate evaluate parts cars/ -k 8 --foreground pca"
)
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
    run: EvaluationRun,
) -> None:
    """Evaluate the parts of `crate parts`: NMI, ARI, and IoU under the best matching.

    PATH holds images/ and masks_part/, of the same stems: a part's number in every pixel, 0 for the background.
    """
    layers, sizes = _numbers(layer, "--layer"), _numbers(size, "--size")
    count: int | Literal["auto"] = "auto" if k == "auto" else _count(k)

    from cratecli.evaluation.parts import parts_protocol

    run.evaluate(
        lambda model: parts_protocol(
            path,
            model,
            k=count,
            foreground=foreground,
            refine=refine or "none",
            layers=layers,
            sizes=sizes,
        )
    )


def _numbers(text: str | None, option: str) -> "Sequence[int] | None":
    """Read a list of whole numbers, if one was given."""
    return None if text is None else whole_numbers(text, option)


def _layers(text: str | None, model: "WhiteBox") -> "Sequence[int] | None":
    """Read a list of layers, or `all`."""
    return range(model.depth) if text == "all" else _numbers(text, "--layer")


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"-k {text!r} is neither a whole number nor auto") from None
