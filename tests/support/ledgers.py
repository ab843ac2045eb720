"""A run of three photos and its manifest, shared with a process beside."""

import hashlib
from pathlib import Path

import numpy as np

from cratecli.io.formats.record import Annotated, annotate
from cratecli.runs.jobs import Job, deliver
from cratecli.runs.ledger import Ledger
from cratecli.runs.provenance import Provenance

FOUND = Annotated("", 4, 5, [annotate(np.eye(4, 5, dtype=bool), 0.5)])
PREAMBLE = """
from pathlib import Path
from tests.support.ledgers import *
ledger = Ledger(Path("out/manifest.jsonl"), made())
"""


def made(keep: str = "otsu") -> Provenance:
    return Provenance(
        command="segment",
        recipe={"keep": keep},
        weights="nano",
        weights_sha256="0" * 64,
        dtype="float32",
    )


def ledger(keep: str = "otsu") -> Ledger:
    return Ledger(Path("out/manifest.jsonl"), made(keep))


def job(name: str, source: str | None = None) -> Job:
    return Job(Path(source or f"in/{name}.jpg"), Path(f"out/{name}.png"))


JOBS = [job("a"), job("b"), job("sub/c")]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def do(book: Ledger, each: Job, content: str = "photo") -> str:
    """Do one photo, as a run would: gives what became of it."""
    if not book.claim(each):
        return "elsewhere"
    if book.done(each, sha(content)):
        book.give_back(each)
        return "done"
    output = f"mask of {content}".encode()
    deliver(each.target, output)
    book.record(each, sha(content), output, FOUND, threshold=0.5)
    return "made"
