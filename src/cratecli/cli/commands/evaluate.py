"""`crate evaluate`: the papers' numbers, and the saliency field's."""

import typer

from cratecli.cli.evaluation import Data, EvaluationRun, Runs
from cratecli.cli.groups import grouped
from cratecli.evaluation.options import PartsProtocolOptions, SaliencyProtocolOptions, VocProtocolOptions
from cratecli.tasks.options import CutOptions

app = typer.Typer(
    help="Evaluate models on data sets with ground truth: the papers' numbers, or the saliency field's.",
    no_args_is_help=True,
)


@app.command(
    epilog="Examples:\n\ncrate evaluate voc VOCdevkit/\n\ncrate evaluate voc VOCdevkit/ --layer all --markdown"
)
@grouped
def voc(path: Data, *, asked: VocProtocolOptions, run: EvaluationRun) -> None:
    """Evaluate attention by coarse segmentation on PASCAL VOC: mIoU of the best head for every class and photo.

    PATH is a VOCdevkit folder, or a year's in it. Each layer is evaluated on its own. Without --layer and --size, the
    paper's are used; for a model trained on thumbnails, a smaller size.
    """
    from cratecli.evaluation.voc import voc_protocol

    run.evaluate(lambda model: voc_protocol(path, model, **asked))


@app.command(
    epilog="Examples:\n\ncrate evaluate coco coco/\n\ncrate evaluate coco coco/ --resume -m vit-small-patch8-dino\n\n"
    "crate evaluate coco coco/ --run objects.parquet"
)
@grouped
def coco(path: Data, *, asked: CutOptions, finished: Runs = None, run: EvaluationRun) -> None:
    """Evaluate MaskCut by COCO's average precision of boxes and masks, class-agnostic.

    PATH holds images/ and instances.json, or val2017/ and annotations/instances_val2017.json. Photos are squeezed into
    a square of --size; each layer is cut on its own. Without --layer, --size, --tau and --n, the paper's are used; for
    a model trained on thumbnails, those of `crate objects`. With --run, the objects of `crate objects` are judged as
    they are.
    """
    from cratecli.evaluation.coco import coco_protocol, coco_run

    if finished:
        run.judge(finished, asked, lambda opened: coco_run(path, opened))
        return
    run.evaluate(lambda model: coco_protocol(path, model, **asked))


@app.command(
    epilog="Examples:\n\ncrate evaluate saliency DUTS-TE/ --oracle\n\n"
    "crate evaluate saliency mine/ --images jpg --masks png\n\ncrate evaluate saliency DUTS-TE/ --run masks/"
)
@grouped
def saliency(
    path: Data, *, asked: SaliencyProtocolOptions, finished: Runs = None, run: EvaluationRun
) -> None:
    """Evaluate the masks of `crate segment`: IoU, maxFβ, mean absolute error, accuracy, boxes that are right.

    PATH holds images/ and masks/, of the same stems, or is DUTS, ECSSD, HKU-IS, DUT-OMRON or MSRA10K as it unpacks;
    --images and --masks name other folders. The object is what is opaque, not index 0, not black, or above 127. With
    --run, the masks of `crate segment` are judged as they are.
    """
    from cratecli.evaluation.saliency import saliency_protocol, saliency_run

    if finished:
        images, masks = asked.get("images"), asked.get("masks")
        run.judge(finished, asked, lambda opened: saliency_run(path, opened, images=images, masks=masks))
        return
    run.evaluate(lambda model: saliency_protocol(path, model, **asked))


@app.command(
    epilog="Examples:\n\ncrate evaluate parts cars/\n\ncrate evaluate parts cars/ -k 8 --foreground pca"
)
@grouped
def parts(path: Data, *, asked: PartsProtocolOptions, run: EvaluationRun) -> None:
    """Evaluate the parts of `crate parts`: NMI, ARI, and IoU under the best matching.

    PATH holds images/ and masks_part/, of the same stems: a part's number in every pixel, 0 for the background.
    """
    from cratecli.evaluation.parts import parts_protocol

    run.evaluate(lambda model: parts_protocol(path, model, **asked))
