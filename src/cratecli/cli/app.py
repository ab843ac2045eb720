"""The face of `crate`: the commands, and the one place where an error becomes a line and an exit code."""

import sys
from typing import Annotated

import typer

from cratecli.cli.commands import models  # TEMP
from cratecli.cli.commands.doctor import doctor
from cratecli.cli.commands.explain import explain
from cratecli.cli.commands.export import export
from cratecli.cli.commands.heads import heads
from cratecli.cli.commands.layers import layers
from cratecli.cli.commands.objects import objects
from cratecli.cli.commands.parts import parts
from cratecli.cli.commands.segment import segment
from cratecli.cli.commands.train import train
from cratecli.cli.commands.worker import worker
from cratecli.cli.console import forget_stdout, put, tell
from cratecli.cli.streams import only_our_words
from cratecli.errors import CrateError
from cratecli.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    help="Emergent segmentation with CRATE, the white-box transformer.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(segment)
app.command()(parts)
app.command()(objects)
app.command()(heads)
app.command()(layers)
app.command()(train)
app.command()(export)
app.command()(explain)
app.command()(worker)
app.command()(doctor)
# TEMP app.add_typer(evaluate.app, name="evaluate")
app.add_typer(models.app, name="models")


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
    with only_our_words():
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
        if text := error.format_message():
            text = text.replace("Value error, ", "")
            tell(text[0].lower() + text[1:].rstrip(".") if text.isascii() else text)
        code = error.exit_code
    except OSError as error:
        forget_stdout()
        tell(f"{error.filename or 'standard output'}: {error.strerror or error}")
        code = 1
    return code or 0
