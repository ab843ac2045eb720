"""The JSON records of an export, as users' programs read them."""

from pydantic import Field

from cratecli.records import Record


class ExportRecord(Record):
    """Reports one exported photo: a line of `crate export --jsonl`."""

    input: str = Field(description="Path of the photo.")
    output: str | None = Field(
        description="Path of the file that holds the photo's objects, its own or one for all photos; "
        "null on standard output."
    )
    objects: int = Field(ge=0, description="Number of the photo's objects.")
    iou: float | None = Field(
        ge=0,
        le=1,
        description="Mean intersection over union (0–1) of the photo's objects with what the written file decodes "
        "to, in pixels of the upright photo; null for a picture that cannot be decoded to masks.",
    )
