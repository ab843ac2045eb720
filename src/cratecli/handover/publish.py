"""Publish a trained CRATE on the Hub: its weights, a config that timm reads, and a card written from the run."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError

from cratecli.errors import InputError, UsageError
from cratecli.files import TEMPORARY, read_text_bytes
from cratecli.model.config import ARCHITECTURES, CrateConfig
from cratecli.training.folder import CHECKPOINT, METRICS
from cratecli.training.records import LastRow, MeasuresRow, MetricsRow, OpeningRow
from cratecli.weights.checkpoint import build_crate, read_tensors
from cratecli.weights.download import DownloadError, explained, reason
from cratecli.weights.hub import MODEL_FILE, hub_client, parse_address
from cratecli.weights.store import store_model

CONFIG, CARD = "config.json", "README.md"
_ROW = TypeAdapter[MetricsRow](MetricsRow)


@dataclass(frozen=True)
class Publication:
    """What a repository on the Hub gets: `files` by name, for `repository`, OWNER/NAME."""

    repository: str
    files: Mapping[str, bytes]

    @property
    def card(self) -> str:
        """Give the text of the model card."""
        return self.files[CARD].decode()


def prepare_publication(source: str | Path, repository: str, *, licence: str | None = None) -> Publication:
    """Put together what `publish` uploads: from a run of `crate train`, or a checkpoint file of a CRATE.

    The weights are checked as `load_model` checks them, and written under our tensor names with their config; float16
    stays float16. A run's card says on what, how and how well it was trained. `licence` is an identifier of the Hub,
    such as `apache-2.0`. Raises `UsageError`, `WeightsError`, and `InputError` for metrics that cannot be read.
    """
    named = repository.removeprefix("hf:")
    try:
        repository, revision = parse_address(f"hf:{named}")
    except UsageError:
        revision = named
    if revision is not None:
        raise UsageError(f"{named!r} is no repository of the Hub: write OWNER/NAME")
    path = Path(source)
    run = _read_run(path) if path.is_dir() else None
    file = path / CHECKPOINT if run else path
    if not file.is_file():
        what = "its run has no checkpoint yet: crate train --resume goes on" if run else "no such file"
        raise UsageError(f"{file}: {what}")
    config, content = _weights(file)
    about = _timm_config(config)
    card = _card(repository, config, about["architecture"], licence=licence, run=run)
    pages = {CONFIG: json.dumps(about, indent=2) + "\n", CARD: card}
    return Publication(
        repository, {MODEL_FILE: content} | {name: text.encode() for name, text in pages.items()}
    )


def publish(publication: Publication, *, private: bool = False) -> str:
    """Upload a publication in one commit, into a new repository or one that is there, and give the commit's address.

    The user's token goes to the Hub alone, to no other endpoint. Raises `WeightsError` when the Hub cannot be reached
    or refuses.
    """
    from huggingface_hub import CommitOperationAdd

    hub, name = hub_client(), publication.repository
    operations = [CommitOperationAdd(path, content) for path, content in publication.files.items()]
    with explained(f"cannot publish {name}", "a token that may write is needed: hf auth login"):
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            commit = hub.create_commit(name, operations, commit_message="Upload a CRATE")
        except (
            RuntimeError,
            LookupError,
            TypeError,
        ) as error:  # of the client: an upload or an answer that is broken
            raise DownloadError(reason(error.__cause__ or error)) from error
    return str(commit.commit_url)


def _weights(file: Path) -> tuple[CrateConfig, bytes]:
    """Read a checkpoint strictly, and write it anew with its config inside."""
    tensors = read_tensors(file)
    model = build_crate(tensors, file)
    halves = all(tensor.dtype == torch.float16 for tensor in tensors.by_name.values())
    try:
        with TemporaryDirectory() as folder:
            written = Path(folder, MODEL_FILE)
            dtype: Literal["float16", "float32"] = "float16" if halves else "float32"
            store_model(written, model.config, model.state_dict(), labels=model.labels, dtype=dtype)
            return model.config, written.read_bytes()
    except OSError as error:
        raise UsageError(f"no temporary file can be written ({error.strerror}): {TEMPORARY}") from None


def _timm_config(config: CrateConfig) -> dict[str, Any]:
    """Describe a model for timm: the named architecture that is nearest, and the fields in which it differs."""
    fields = config.to_dict()

    def changes(name: str) -> dict[str, Any]:
        named = ARCHITECTURES[name].to_dict()
        return {field: value for field, value in fields.items() if named[field] != value}

    architecture = min(ARCHITECTURES, key=lambda name: len(changes(name)))
    return {
        "architecture": architecture,
        "num_classes": config.classes,
        "num_features": config.width,
        "model_args": changes(architecture),
        "pretrained_cfg": config.for_timm(),
    }


@dataclass(frozen=True)
class _Run:
    """What the metrics of a run say: how it began, its last measures, and whether every step was taken."""

    opening: OpeningRow
    measures: MeasuresRow | None
    last: LastRow | None


def _read_run(folder: Path) -> _Run:
    metrics = folder / METRICS
    try:
        lines = read_text_bytes(metrics).splitlines()
    except OSError as error:
        raise UsageError(f"{folder}: is no run of crate train: {METRICS}: {error.strerror}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_ROW.validate_json(line))
        except (ValidationError, ValueError):
            raise InputError(f"{metrics}:{number}: is no row of metrics") from None
    if not rows or not isinstance(opening := rows[0], OpeningRow):
        raise UsageError(f"{folder}: is no run of crate train, whose model could be published")
    measured = [row for row in rows if isinstance(row, MeasuresRow)]
    last = rows[-1] if isinstance(rows[-1], LastRow) else None
    return _Run(opening, measured[-1] if measured else None, last)


def _card(
    repository: str, config: CrateConfig, architecture: str, *, licence: str | None, run: _Run | None
) -> str:
    """Write the model card: what the Hub sorts by, what the model is, how to use it, and how it was trained."""
    from huggingface_hub import ModelCardData

    about = ModelCardData(
        license=licence,
        library_name="timm",
        pipeline_tag="image-classification" if config.classes else "image-feature-extraction",
        tags=["crate", "white-box-transformer", "emergent-segmentation"],
    )
    sizes = (
        f"`{architecture}`: input {config.image_size} px, patch {config.patch_size}, width {config.width}, "
        f"{config.depth} layers, {config.heads} heads; {config.attention.upper()} and {config.sparsifier.upper()}, "
        f"step size η = {config.step_size:g}, sparsity weight λ = {config.sparsity_weight:g}"
    )
    use = f"""\
        ```sh
        crate models pull hf:{repository}
        crate segment photo.jpg -m hf:{repository} -o mask.png
        ```

        ```python
        import cratecli.model.zoo, timm

        model = timm.create_model("hf-hub:{repository}", pretrained=True)
        ```
        """
    parts = [
        f"---\n{about.to_yaml()}\n---\n",
        f"# {repository.partition('/')[2]}\n",
        "A CRATE, the white-box transformer (arXiv:2306.01129), whose attention separates objects from the\n"
        "background without having seen a mask (arXiv:2308.16271).\n",
        f"- Architecture: {sizes}\n- Classes: {config.classes or 'none'}\n"
        f"- Licence: {licence or 'not stated'}\n",
        "## Use\n",
        textwrap.dedent(use),
        _training(run) if run else "",
    ]
    return "\n".join(filter(None, parts))


def _training(run: _Run) -> str:
    opening, measures, last = run.opening, run.measures, run.last
    end = f"{last.step:,} of {opening.steps:,} steps" if last else "not finished: its last checkpoint"
    start = (
        f"fine-tuned from `{opening.init.name}` (sha256 {opening.init.sha256})"
        if opening.init
        else "from scratch"
    )
    settings = opening.recipe.to_dict()
    settings.pop("model")
    rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items() if value != "")
    versions = ", ".join(f"{name} {version}" for name, version in opening.versions.items())
    found = ""
    if measures is not None:
        values = "".join(f"| {name} | {value:.4g} |\n" for name, value in measures.measures.items())
        found = f"\nMeasured at epoch {measures.epoch:g}:\n\n| measure | |\n|---|---:|\n{values}"
    return (
        "## Training\n\n"
        f"By `crate train`, on class labels alone, {start}; {end}.\n\n"
        f"- Data: {opening.images:,} images of {opening.classes:,} classes; the SHA-256 of their names and sizes is "
        f"{opening.data}\n- Software: {versions}; {opening.device}, {opening.processes} process(es)\n\n"
        f"| setting | |\n|---|---|\n{rows}{found}"
    )
