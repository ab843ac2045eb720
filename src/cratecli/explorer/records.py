"""What `crate explore` prints of each photo, as a typed record."""

from pydantic import Field

from cratecli.explorer.run import ExploredPhoto
from cratecli.model.engine import Model
from cratecli.records import Record
from cratecli.tasks.recipes import ViewRecipe


class ExploreRecord(Record):
    """What `crate explore` says of a photo."""

    input: str = Field(description="The photo's path, or `standard input`.")
    output: str | None = Field(description="The data file's path; null where one page holds all photos.")
    height: int = Field(description="Height of the upright photo, px.")
    width: int = Field(description="Width of the upright photo, px.")
    grid: list[int] = Field(description="Rows and columns of patches.")
    layers: list[int] = Field(description="Layers whose tokens the page holds, from 0.")
    size: int = Field(description="Input short side, px.")
    bytes: int = Field(description="Bytes that the photo takes in the page.")
    weights: str | None = Field(description="The model's name, or the path of its checkpoint file.")
    weights_sha256: str | None = Field(description="SHA-256 of the checkpoint file, hexadecimal.")


def explore_record(photo: ExploredPhoto, recipe: ViewRecipe, model: Model) -> ExploreRecord:
    """Describe a photo of a page."""
    weights = model.weights
    return ExploreRecord(
        input=photo.job.name,
        output=None if photo.job.target is None else str(photo.job.target),
        height=photo.card.height,
        width=photo.card.width,
        grid=list(photo.grid),
        layers=list(recipe.layers),
        size=recipe.sizes[0],
        bytes=photo.size,
        weights=weights.name if weights else None,
        weights_sha256=weights.sha256 if weights else None,
    )
