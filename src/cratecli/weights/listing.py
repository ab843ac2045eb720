"""The list of models: a record of every row of the registry, and whether its file is on this machine."""

from pydantic import Field

from cratecli.records import Record
from cratecli.weights import fetch, registry


class ModelRecord(Record):
    """One model of the list. What is not known is null."""

    name: str = Field(description="The model's name in the registry.")
    architecture: str = Field(description="Its named architecture, `timm:NAME`, or `custom`.")
    bytes: int | None = Field(description="The exact size of its file, bytes.")
    approximate_bytes: int | None = Field(description="The size of its file as published, rounded, bytes.")
    licence: str | None = Field(description="The licence of its weights.")
    trained_on: str | None = Field(description="The data that its weights were trained on.")
    pinned: bool = Field(description="Whether the registry gives its file's SHA-256.")
    unverified: bool = Field(description="Whether its file's layout was never seen: loading may be refused.")
    path: str | None = Field(description="Its file on this machine; null when it is not here.")
    default: bool = Field(description="Whether it is the model that commands take when none is named.")
    note: str | None = Field(description="A remark of the registry.")


def list_models() -> list[ModelRecord]:
    """List the models in the order of the registry. Raises `RegistryError`, and `WeightsError` as `locate`."""
    default, records = registry.default_name(), []
    for row in registry.load_registry().checkpoints.values():
        file = fetch.locate(row)
        records.append(
            ModelRecord(
                name=row.name,
                architecture=row.architecture,
                bytes=row.bytes,
                approximate_bytes=row.approximate_bytes,
                licence=row.licence,
                trained_on=row.trained_on,
                pinned=row.pinned,
                unverified=row.unverified,
                path=None if file is None else str(file),
                default=row.name == default,
                note=row.note,
            )
        )
    return records
