"""What programs read of a run, as typed records: the base of all, and those that every command prints."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """One record of `--json` and `--jsonl`: sizes and boxes are in px of the upright photo."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, serialize_by_alias=True, validate_by_name=True
    )

    def as_data(self) -> dict[str, Any]:
        """Give plain data for JSON: the fields that were set, in their order."""
        return self.model_dump(exclude_unset=True)


class FailureRecord(Record):
    """A photo that failed: what `--jsonl` prints in place of its record."""

    input: str = Field(description="The photo's path, or `standard input`.")
    error: str = Field(description="What is wrong, in one line.")


class PlannedRecord(Record):
    """Where a photo would go: what `--dry-run` prints with `--json` or `--jsonl`."""

    input: str = Field(description="The photo's path; `-` is standard input.")
    output: str = Field(description="The output's path; `-` is standard output.")


class Rle(Record):
    """COCO's compressed run-length encoding of a mask, by columns."""

    size: list[int] = Field(
        min_length=2, max_length=2, description="Height and width of the upright photo, px."
    )
    counts: str = Field(description="COCO's text of run lengths.")
