"""The base of all typed records: what programs read of `crate`, validated and serialised by pydantic."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """One record of `--json` and `--jsonl`: sizes and boxes are in px of the upright photo."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, serialize_by_alias=True, validate_by_name=True
    )

    def as_data(self) -> dict[str, Any]:
        """Give plain data for JSON: the fields that were set, in their order."""
        return self.model_dump(exclude_unset=True)
