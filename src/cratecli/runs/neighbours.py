"""What earlier runs left in a run's folder: the same photos under other names, and other commands' outputs."""

import os
from collections.abc import Mapping, Set
from pathlib import Path

from cratecli.runs.row_file import RowFile


def outputs_beside(file: RowFile, folder: Path, inputs: Mapping[str, str], command: str) -> list[str]:
    """List what a command made of a run's photos under other names, and is still there; `inputs` by their keys."""
    ours = set(inputs.values()) - {"-"}
    others = [key for key, known in file.rows.items() if key not in inputs and known.input in ours]
    alike = (key for key in others if file.command_of(key) == command)
    return sorted(key for key in alike if os.path.lexists(folder / key))


def outputs_of_others(
    file: RowFile, folder: Path, keys: Set[str], options: str, command: str
) -> dict[str, list[str]]:
    """List, by command, the outputs of other commands among `keys`, the places of outputs made with some `options`."""
    theirs: dict[str, list[str]] = {}
    for key in sorted(keys & file.rows.keys()):
        theirs.setdefault(file.rows[key].options, []).append(key)
    theirs.pop(options, None)
    foreign: dict[str, list[str]] = {}
    for places in theirs.values():  # rows of the same options are of one command
        made_by = file.command_of(places[0])
        if made_by not in (None, command):
            there = [key for key in places if os.path.lexists(folder / key)]
            foreign.setdefault(str(made_by), []).extend(there)
    return {each: sorted(places) for each, places in foreign.items() if places}
