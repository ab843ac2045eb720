"""Plan a run of parts: a folder with a picture of each photo, a sheet, and a file that says which parts there are."""

import os
from dataclasses import replace
from pathlib import Path

from cratecli.errors import UsageError
from cratecli.io.urls import refuse_url
from cratecli.runs.inputs import Inputs, refuse_no_path
from cratecli.runs.manifest import BESIDE
from cratecli.runs.plan import plan, plan_one
from cratecli.runs.planned import Plan
from cratecli.runs.refusals import real_sources, refuse_inputs, refuse_reading

_FILES = (".png", ".jpg", ".json", ".tar", ".parquet", ".npz", ".safetensors")  # no folder is named so
PARTS_FILE, SHEET_FILE = "parts.json", "sheet.png"  # what a run of parts writes beside its pictures


def plan_parts(inputs: Inputs, output: str | None, kind: str, save: Path | None, ending: str = "png") -> Plan:
    """Plan a run of parts: the folder for everything it writes, and in it each photo's place.

    Without `output` it is `./NAME-parts` for one folder or shard, else `./parts`; `save` is where a vocabulary is
    saved. Of the kind `none` that is all that is written. Raises what `plan` raises.
    """
    if kind == "none":
        return _plan_learning(inputs, save)
    refuse_no_path(output)
    refuse_url(output or "", "written")
    place = Path(output or _named_after(inputs))
    if place.is_file() or place.suffix.lower() in _FILES:
        raise UsageError(f"{place} is a file, or named like one: parts fill a folder")
    if any(Path(name).resolve() == place.resolve() for name in inputs.named):
        raise UsageError(
            f"{place} is an input: choose another output, or the sheet becomes a photo of the next run"
        )
    planned = plan(inputs, f"{place / kind}{os.sep}", kind, to_stdout=False, ending=ending, apart=place)
    trees = tuple(place / tree for tree in (kind, *BESIDE.get(kind, ())))
    planned = replace(planned, place=place, trees=trees)
    sources = real_sources(planned.jobs)
    whole = (place / SHEET_FILE, place / PARTS_FILE)
    written = [*whole, *(file for job in planned.jobs for file in planned.files(job))]
    if taken := [path for path in written if os.path.realpath(path) in sources]:
        raise UsageError(f"{taken[0]} is an input: choose another output")
    refuse_reading((*whole, save), [each.packed.path for each in planned.streams])
    folders = [each.folder for each in planned.streams if each.folder]
    filled = {os.path.realpath(each) for folder in folders for each in (folder, *planned.beside(folder))}
    if save and (
        os.path.realpath(save) in map(os.path.realpath, written)
        or filled & {*map(str, Path(os.path.realpath(save)).parents)}
    ):
        raise UsageError(f"{save} is written by this run anyway: choose another file for the vocabulary")
    return replace(planned, whole=whole if save is None else (*whole, save))


def _plan_learning(inputs: Inputs, save: Path | None) -> Plan:
    """Plan a run that writes a vocabulary, and nothing of each photo."""
    if save is None:
        raise UsageError("nothing is written of the photos: give --save-parts FILE")
    planned = plan_one(inputs, None, "parts", to_stdout=True)
    refuse_inputs(save, planned.jobs)
    refuse_reading([save], [each.packed.path for each in planned.streams])
    return replace(planned, target=save, whole=(save,))


def _named_after(inputs: Inputs) -> str:
    """Name the folder of a run after its one folder or shard."""
    if inputs.alone and inputs.folders:
        return f"{inputs.folders[0].resolve().name}-parts"
    return f"{inputs.packed[0].place.name}-parts" if inputs.alone and inputs.packed else "parts"
