"""The class for pipelines of Ray Data: called as Ray calls it; slow: by Ray itself."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cratecli import segment
from cratecli.errors import UsageError
from cratecli.io.formats.record import decode_rle
from cratecli.ray import Segmenter
from tests.support.shards import jpeg


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(column="photo", sizes=[32], heads="agree", refine="none")


def test_masks_are_those_of_segment_and_a_bad_row_has_an_error(segmenter: Segmenter) -> None:
    content = jpeg(3)
    rgb = np.asarray(Image.open(io.BytesIO(content)))
    cells = np.empty(6, object)
    cells[:] = [content, {"bytes": content, "path": None}, rgb, b"no photo", None, {"path": "/etc/passwd"}]
    batch = segmenter({"photo": cells, "label": np.arange(6)})
    assert list(batch["label"]) == list(range(6))
    expected = segment(rgb, sizes=[32], heads="agree", refine="none")
    for place in range(3):
        size = [int(batch["height"][place]), int(batch["width"][place])]
        mask = decode_rle({"size": size, "counts": batch["rle"][place]})
        np.testing.assert_array_equal(mask, expected.mask)
        assert batch["confidence"][place] == round(expected.confidence, 4)
        assert (batch["area"][place], batch["error"][place]) == (expected.area, "")
    assert [bool(each) for each in batch["error"]] == [False] * 3 + [True] * 3
    assert "not an image of a known format" in batch["error"][3]
    assert {name: batch[name].dtype for name in ("height", "empty", "area")} == {
        "height": np.int32,
        "empty": np.bool_,
        "area": np.int64,
    }


def test_options_are_checked_before_a_photo_is_seen() -> None:
    with pytest.raises(UsageError, match="keep"):
        Segmenter(keep="nonsense")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray warns of its own settings
def test_a_pipeline_of_ray_has_masks() -> None:
    ray: Any = pytest.importorskip("ray", reason="ray[data] is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = [{"key": number, "image": jpeg(number)} for number in range(9)]
        rows[4]["image"] = b"no photo"
        masks = ray.data.from_items(rows).map_batches(
            Segmenter,
            fn_constructor_kwargs={"sizes": [32], "heads": "agree", "refine": "none"},
            batch_size=4,
            concurrency=1,
        )
        found = {row["key"]: row for row in masks.take_all()}
    finally:
        ray.shutdown()
    assert sorted(found) == list(range(9))
    assert [key for key, row in found.items() if row["error"]] == [4]
    assert all(row["height"] == 24 for key, row in found.items() if key != 4)
