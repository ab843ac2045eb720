"""Write and read Label Studio's tasks (a prediction for each photo, masks as brush RLE) and its labelling config."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

from cratecli.io.formats import brush
from cratecli.io.formats.indexed import voc_palette
from cratecli.io.formats.record import Annotated, AnnotatedPhotos, Annotation, annotate, check_size

SERVED = "/data/local-files/?d="  # URL under which Label Studio serves files of its local storage


def write(photos: AnnotatedPhotos, version: str, stream: BinaryIO, prefix: str = "") -> None:
    """Write the tasks as JSON, one line for each photo; `version` names the model that predicted the masks.

    `prefix` is the path from Label Studio's document root to the photos' folder, which may not be the root itself.
    """
    stream.write(b"[")
    for number, photo in enumerate(photos):
        stream.write(
            (",\n" if number else "\n").encode() + json.dumps(_task(photo, version, prefix)).encode()
        )
    stream.write(b"\n]\n")


def _task(photo: Annotated, version: str, prefix: str) -> dict[str, Any]:
    regions = [
        {
            "id": f"object-{number}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": photo.width,
            "original_height": photo.height,
            "image_rotation": 0,
            "score": each.score,
            "value": {"format": "rle", "rle": brush.encode(each.mask), "brushlabels": [each.label]},
        }
        for number, each in enumerate(photo.objects, 1)
    ]
    place = "/".join([*filter(None, prefix.split("/")), photo.name])
    return {
        "data": {"image": SERVED + quote(place, errors="surrogateescape")},
        "meta": {"width": photo.width, "height": photo.height},
        "predictions": [{"model_version": version, "score": photo.score, "result": regions}],
    }


def read(stream: BinaryIO) -> Iterator[Annotated]:
    """Read tasks as `write` writes them, one on each line. Raises `ValueError` for anything else."""
    if stream.readline() != b"[\n":
        raise ValueError("not tasks of Label Studio, a line each")
    try:
        for line in stream:
            if line == b"]\n":
                return
            yield _read(json.loads(line.rstrip(b",\n")))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not tasks of Label Studio ({type(error).__name__}: {error})") from None
    raise ValueError("tasks of Label Studio that end early")


def _read(task: Mapping[str, Any]) -> Annotated:
    height, width = check_size(task["meta"]["height"], task["meta"]["width"])
    (prediction,) = task["predictions"]
    name = unquote(task["data"]["image"].removeprefix(SERVED), errors="surrogateescape")
    objects = [_object(each, height, width) for each in prediction["result"]]
    return Annotated(name, height, width, objects, 0.0 if objects else float(prediction["score"]))


def _object(region: Mapping[str, Any], height: int, width: int) -> Annotation:
    if (region["original_height"], region["original_width"]) != (height, width):
        raise ValueError("a region is not of its photo's size")
    (label,) = region["value"]["brushlabels"]
    mask = brush.decode(region["value"]["rle"], height, width)
    return annotate(mask, float(region["score"]), str(label))


def labelling(names: Sequence[str]) -> bytes:
    """Write the labelling config for the tasks: one brush for each class, in the colours of VOC's palette."""
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in voc_palette().tolist()]
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="{colours[number % 256]}"/>\n'
        for number, name in enumerate(names, 1)
    )
    brushes = f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n'
    return f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n{brushes}</View>\n'.encode()
