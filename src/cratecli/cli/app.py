"""The face of `crate`: the commands, and the one place where an error becomes a line and an exit code."""

import sys
from collections.abc import Callable
from reprlib import repr as short
from typing import Annotated, Any

import typer

from cratecli.cli.commands import evaluate, models
from cratecli.cli.commands.doctor import doctor
from cratecli.cli.commands.explain import explain
from cratecli.cli.commands.explore import explore
from cratecli.cli.commands.export import export
from cratecli.cli.commands.heads import heads
from cratecli.cli.commands.layers import layers
from cratecli.cli.commands.objects import objects
from cratecli.cli.commands.parts import parts
from cratecli.cli.commands.segment import segment
from cratecli.cli.commands.self_train import self_train
from cratecli.cli.commands.serve import serve
from cratecli.cli.commands.train import train
from cratecli.cli.commands.worker import worker
from cratecli.cli.console import forget_stdout, put, tell
from cratecli.cli.streams import any_character, only_our_words
from cratecli.errors import CrateError
from cratecli.files import TEMPORARY
from cratecli.tasks.options import wanted
from cratecli.version import __version__

INTERRUPTED, READER_LEFT = 130, 141

ASK, MEASURE, MAKE, LOOK_AFTER = HEADINGS = ("Ask", "Measure", "Make", "Look after")
"""The headings of `crate --help`, in their order."""


class _ByHeading(typer.core.TyperGroup):
    """Lists commands in the order of their headings."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands' names."""
        headings = {name: str(command.rich_help_panel) for name, command in self.commands.items()}  # type: ignore[attr-defined]
        return sorted(super().list_commands(ctx), key=lambda name: HEADINGS.index(headings[name]))


app = typer.Typer(
    cls=_ByHeading,
    help="Emergent segmentation with CRATE, the white-box transformer.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
COMMANDS: dict[Callable[..., None], tuple[str, str, str]] = {
    segment: (ASK, "crate segment photo.jpg -o mask.png", "crate segment photos/ -o masks/ --resume"),
    parts: (ASK, "crate parts photos/ -k 4 -o parts/", "crate parts new/ --parts birds.safetensors"),
    objects: (ASK, "crate objects photo.jpg --n 5", "crate objects photos/ -o coco.json"),
    heads: (ASK, "crate heads photo.jpg", "crate heads photos/ --layer all -o heads.png"),
    layers: (ASK, "crate layers photo.jpg", "crate layers photos/ --json | jq '.[].coding_rate'"),
    explore: (ASK, "crate explore photo.jpg --open", "crate explore photos/ -o pages/"),
    train: (MAKE, "crate train photos/ --recipe nano -o run/", "crate train photos/ -o run/ --resume"),
    self_train: (
        MAKE,
        "crate self-train photos/ -r -o run/",
        "crate segment new/ --head run/head.safetensors -o masks/",
    ),
    export: (MAKE, "crate export masks/ --as yolo", "crate export masks/ --as cvat-masks -o masks.zip"),
    explain: (LOOK_AFTER, "crate explain mask.png", "crate explain mask.png --json | jq .recipe"),
    worker: (ASK, "crate worker < requests.jsonl", 'echo \'{"input": "photo.jpg"}\' | crate worker'),
    serve: (ASK, "crate serve --port 8000", "crate serve --host 0.0.0.0 --token-file token.txt"),
    doctor: (LOOK_AFTER, "crate doctor", "crate doctor --json | jq '.[] | select(.level == \"problem\")'"),
}
"""Every command, the heading that it stands under, and two examples for the end of its help."""

for _command, (_heading, *_examples) in COMMANDS.items():
    _epilog = "\n\n".join(["Examples:", *_examples])
    app.command(rich_help_panel=_heading, epilog=_epilog)(_command)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=MEASURE)
app.add_typer(models.app, name="models", rich_help_panel=LOOK_AFTER)


def _version(wanted: bool) -> None:
    if wanted:
        put([f"crate {__version__}"])
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take what stands before the command."""
    del version


def main() -> None:
    """Run `crate`, and end the process with the exit code of EXPERIENCE: 0, 1, 2, 3, 4, 5, 130 or 141."""
    with only_our_words(), any_character():
        sys.exit(_run())


def _run() -> int:
    try:
        code = app(prog_name="crate", standalone_mode=False)
        if code == INTERRUPTED:  # typer's own answer to SIGINT
            tell("interrupted")
        put([])
    except CrateError as error:
        tell(str(error))
        code = error.exit_code
    except typer.TyperException as error:
        if text := _in_our_words(error):
            tell(text)
        code = error.exit_code
    except SystemExit as error:
        if isinstance(
            error.__context__, BrokenPipeError
        ):  # what typer and rich make of a reader that has left
            forget_stdout()
            return READER_LEFT
        raise
    except OSError as error:
        forget_stdout()
        tell(_explained(error))
        code = 1
    except (MemoryError, RuntimeError, ImportError) as error:
        if not isinstance(error, MemoryError) and not any(each in str(error) for each in _NO_MORE):
            raise
        tell("out of memory, or of threads: the system gives no more; raise its limits, or run fewer at once")
        code = 1
    return code or 0


def _in_our_words(error: typer.TyperException) -> str:
    """Say what a value should be as options of questions are told; all else in typer's words."""
    param = getattr(error, "param", None)
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    if param is not None and found and all(fault["msg"].startswith("Input should be ") for fault in found):
        return f"{param.opts[-1]} is {short(found[0]['input'])}, not {wanted(found)}"
    text = error.format_message().replace("Value error, ", "")
    return text[:1].lower() + text[1:].rstrip(".") if text.isascii() else text


_NO_MORE = (
    "can't start new thread",  # Python's words, for want of memory or where a container allows no more
    "failed to map segment",  # the linker's, of a library for which there is no memory
    "cannot allocate memory",
)


def _explained(error: OSError) -> str:
    """Say what a library, or the printing of a help text, could not do."""
    reason = str(error.strerror or error)
    if error.filename is None and isinstance(
        error, FileNotFoundError
    ):  # Python's, of a folder that it looks for
        if "temporary" in reason:
            return f"{reason}: {TEMPORARY}"
        return "the working folder: no longer there; change to another"
    return f"{error.filename or 'standard output'}: {reason}"
