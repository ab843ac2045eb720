"""The typed records that every command over photos prints."""

from pydantic import Field

from cratecli.records import Record


class FailureRecord(Record):
    """A photo that failed: what `--jsonl` prints in place of its record."""

    input: str = Field(description="The photo's path, or `standard input`.")
    error: str = Field(description="What is wrong, in one line.")


class PlannedRecord(Record):
    """Where a photo would go: what `--dry-run` prints with `--json` or `--jsonl`."""

    input: str = Field(
        description="The photo's path or URL, or that of a shard or table; `-` is standard input."
    )
    output: str = Field(
        description="The output's path or URL; `-` is standard output, a folder that of all photos in a shard or table."
    )


class Rle(Record):
    """COCO's compressed run-length encoding of a mask, by columns."""

    size: list[int] = Field(
        min_length=2, max_length=2, description="Height and width of the upright photo, px."
    )
    counts: str = Field(description="COCO's text of run lengths.")
