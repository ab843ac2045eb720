"""`crate serve`: a page for photos, an HTTP API and Label Studio's protocol, before one warm model."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cratecli.cli import options
from cratecli.cli.console import tell
from cratecli.cli.signals import finishing
from cratecli.errors import UsageError

NEEDS_EXTRA = "crate serve needs an extra: pip install 'cratecli[serve]'"
TOKEN = "CRATE_TOKEN"


def serve(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="The port; 0 takes one that is free.")
    ] = 8000,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The address to listen at; any but this machine's own needs a token."
        ),
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients may call the server; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"The file with the token; else the variable {TOKEN} has it, if there is one.",
        ),
    ] = None,
    local_files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Label Studio's document root, whose photos its tasks may name."),
    ] = None,
    uploads: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Label Studio's folder of uploads: media/upload in its data folder."
        ),
    ] = None,
    model: options.Model = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: Annotated[
        int, typer.Option(min=1, max=256, help="Photos that go through the model together, if as many wait.")
    ] = 8,
    max_requests: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Requests in hand and waiting; more get 503 and Retry-After."),
    ] = 64,
    max_bytes: Annotated[int, typer.Option(min=1024, metavar="N", help="The most bytes of a request.")] = 64
    << 20,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="The most pixels a photo may have.")
    ] = 50_000_000,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds within which a request is answered, or refused.")
    ] = 60,
    quiet: options.Quiet = False,
) -> None:
    """Serve a page, an HTTP API and Label Studio's ML-backend protocol: the model is loaded once.

    On the page a photo is dropped, and explored as by `crate explore`. `POST /v1/segment` and `/v1/objects` take a
    photo and the options of Python. What is in hand is finished on SIGINT and SIGTERM.
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError(NEEDS_EXTRA) from None

    from cratecli.runs.views import describe
    from cratecli.serve.app import make_app
    from cratecli.serve.folders import Folders
    from cratecli.serve.guards import Rules
    from cratecli.serve.limits import Limits
    from cratecli.serve.server import address_of, is_loopback, listen
    from cratecli.serve.server import serve as serve_until
    from cratecli.serve.service import Service
    from cratecli.weights.checkpoint import load_model

    token = _token(token_file)
    if token is None and not is_loopback(host):
        raise UsageError(f"--host {host} is reached from elsewhere: give --token-file FILE, or set {TOKEN}")
    limits = Limits(max_bytes, max_pixels, timeout, requests=max_requests, together=batch_size)
    folders = Folders(local_files, uploads)
    names = frozenset(name.lower() for name in allow_host or [])
    listening = listen(host, port)
    with listening, finishing() as stop:
        loaded = load_model(model, device=device, dtype=dtype)
        service = Service(loaded, limits, folders, tell)
        app = make_app(service, Rules(names, token, host))
        if not quiet or port == 0:
            tell(f"{describe(loaded)}: ready at {address_of(listening)}")
        serve_until(app, listening, limits, stop)


def _token(file: Path | None) -> str | None:
    """Read the token. Raises `UsageError` for a file that has none."""
    token = os.environ.get(TOKEN, "").strip()
    if file is not None:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"{file}: cannot be read: {reason}") from None
        if not token:
            raise UsageError(f"{file}: is empty, and should hold a token")
    return token or None
