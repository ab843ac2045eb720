"""The page on which photos are dropped: that of `crate explore`, which asks this server."""

from cratecli.explorer.page import page
from cratecli.explorer.photo import facts_of
from cratecli.model.unroll import WhiteBox


def page_of(model: WhiteBox) -> bytes:
    """Make the page for a model, without a photo."""
    return page("crate serve", {**facts_of(model), "cards": []}, served=True).encode()
