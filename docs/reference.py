"""Write each command's options into its page, and the page of records, from the code itself.

python docs/reference.py            # write
python docs/reference.py --check    # only tell whether a page is stale
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from inspect import Parameter, getdoc, signature
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from typer.models import OptionInfo

from cratecli.cli.app import app
from cratecli.doctor.finding import Finding
from cratecli.evaluation.records import EvaluationRecord, MeasureRecord, RowRecord
from cratecli.explorer.records import ExploreRecord
from cratecli.handover.records import ExportRecord
from cratecli.model.graph import GraphFacts
from cratecli.runs.manifest import ManifestObject, ManifestRow
from cratecli.runs.provenance import Provenance, Selection
from cratecli.runs.records import FailureRecord, PlannedRecord, Rle
from cratecli.tasks.records import (
    HeadsRecord,
    LayersRecord,
    ObjectRecord,
    ObjectsRecord,
    PartName,
    PartRecord,
    PartsFile,
    PartsRecord,
    SegmentRecord,
)
from cratecli.tasks.requests import Request, WorkerFailure
from cratecli.training.records import (
    HeadOpeningRow,
    LastRow,
    LossRow,
    MeasuresRow,
    OpeningRow,
    TrainedRecord,
)
from cratecli.weights.listing import ModelRecord

HERE = Path(__file__).parent
WIDTH = 100  # columns of prose
MARKED = re.compile(r"(<!-- options ([\w-]+(?: \w+)?) -->\n).*?(<!-- end -->)", re.S)


def commands() -> dict[str, Callable[..., None]]:
    """Give every command's function by its words: `segment`, `evaluate voc`."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    return {
        f"{prefix}{each.name or each.callback.__name__.replace('_', '-')}": each.callback
        for prefix, group in groups
        for each in group.registered_commands
    }


def options(name: str) -> str:
    """Write a command's options as a Markdown table, from its function's signature."""
    command = commands()[name]
    defaults = signature(command).parameters
    rows = ["| option | | default |", "|---|---|---|"]
    for parameter, hint in get_type_hints(command, include_extras=True).items():
        option = next((each for each in get_args(hint) if isinstance(each, OptionInfo)), None)
        if option is None:
            continue
        given = [
            option.default,
            *(option.param_decls or ()),
        ]  # in an annotation typer takes the first for a default
        names = [each for each in given if isinstance(each, str)] or [f"--{parameter.replace('_', '-')}"]
        kind, default = get_args(hint)[0], defaults[parameter].default
        metavar = option.metavar or "|".join(_choices(kind)) or _plain(kind)
        spelt = ", ".join(f"`{each}`" for each in names) + (f" {metavar}" if metavar else "")
        shown = "required" if default is Parameter.empty else "" if default in (None, False) else str(default)
        cells = [spelt, option.help or "", shown]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _choices(kind: object) -> list[str]:
    """Give the words of a Literal, also inside a union, or of an enum."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return list(kind)
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _plain(kind: object) -> str:
    return {int: "N", float: "X", str: "TEXT"}.get(next(iter(get_args(kind)), kind), "")


def fresh(page: str) -> str:
    """Give a page with its options up to date."""
    return MARKED.sub(lambda found: found[1] + options(found[2]) + found[3], page)


RECORDS: dict[str, tuple[str, tuple[type[BaseModel], ...]]] = {
    "`crate segment --json`": ("A photo.", (SegmentRecord,)),
    "`crate objects --json`": ("A photo.", (ObjectsRecord, ObjectRecord)),
    "`crate parts --json`": ("A photo.", (PartsRecord, PartRecord)),
    "`crate heads --json`": ("A photo.", (HeadsRecord,)),
    "`crate layers --json`": ("A photo.", (LayersRecord,)),
    "`crate explore --json`": ("A photo.", (ExploreRecord,)),
    "Every command over photos": ("", (FailureRecord, PlannedRecord, Rle)),
    "`parts.json`": ("What a run of `crate parts` writes beside its pictures.", (PartsFile, PartName)),
    "`manifest.jsonl`": ("A line a photo that is done.", (ManifestRow, ManifestObject)),
    "Provenance": (
        "What outputs, `parts.json`, COCO files and manifests hold; `crate explain --json` prints it.",
        (Provenance, Selection),
    ),
    "`crate worker`, `crate serve`": (
        "A request, beside the options of its question; and a failure.",
        (Request, WorkerFailure),
    ),
    "`crate export --json`": ("A photo.", (ExportRecord,)),
    "`crate evaluate --json`": ("A model.", (EvaluationRecord, RowRecord, MeasureRecord)),
    "`crate train --json`, `crate self-train --json`": ("The run.", (TrainedRecord,)),
    "`metrics.jsonl`": (
        "A row of one of these kinds.",
        (OpeningRow, HeadOpeningRow, LossRow, MeasuresRow, LastRow),
    ),
    "`crate models list --json`": ("A model.", (ModelRecord,)),
    "`crate doctor --json`": ("A finding.", (Finding,)),
    "`crate models export`": ("What an exported file says of itself.", (GraphFacts,)),
}
"""What programs read, by where it is printed or written."""

INTRODUCTION = """# Records: the JSON that programs read

<!-- made by docs/reference.py -->

Every record is a pydantic model: validated when it is written or read. With `--json` a command
prints one array, with `--jsonl` a record a line. Boxes are left, top, width and height in px of
the upright photo (EXIF orientation applied); masks are COCO's compressed RLE; shares, scores and
confidences are 0–1. A field that a record does not need may be left out.
"""


def records() -> str:
    """Write the page of records: a table of fields and the JSON Schema of each."""
    parts = [INTRODUCTION]
    for place, (about, models) in RECORDS.items():
        parts.append("\n".join([f"## {place}", "", about]).rstrip())
        for model in models:
            intro = (getdoc(model) or "").splitlines()[0]
            rows = [f"| `{name}` | {kind} | {meaning} |" for name, kind, meaning in _fields(model)]
            parts.append(fill(f"**{model.__name__}.** {intro}", WIDTH, break_on_hyphens=False))
            parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *rows]))
        schemas = models_json_schema([(model, "serialization") for model in models])[1]
        lines = [
            f" {json.dumps(each)}: {json.dumps(schema, ensure_ascii=False)}"
            for each, schema in schemas["$defs"].items()
        ]
        schema = ",\n".join(lines)
        parts.append(
            f"<details><summary>JSON Schema</summary>\n\n```json\n{{\n{schema}\n}}\n```\n\n</details>"
        )
    return "\n\n".join(parts) + "\n"


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Give name, type and meaning of every field, as JSON has them."""
    properties = model.model_json_schema(mode="serialization").get("properties", {})
    for name, schema in properties.items():
        meaning = str(schema.get("description", "")).replace("|", "\\|").replace("\n", " ")
        yield name, _type(schema), meaning


def _type(schema: Mapping[str, Any]) -> str:
    """Name a JSON type in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(map(_type, schema.get("anyOf", schema.get("oneOf", []))))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def main() -> None:
    """Write the pages, or check them."""
    pages = {path: fresh(path.read_text()) for path in sorted(HERE.glob("*.md"))} | {
        HERE / "records.md": records()
    }
    stale = [path for path, page in pages.items() if not path.exists() or path.read_text() != page]
    if "--check" in sys.argv:
        sys.exit(f"stale, run docs/reference.py: {', '.join(path.name for path in stale)}" if stale else 0)
    for path in stale:
        path.write_text(pages[path])


if __name__ == "__main__":
    main()
