"""Near-duplicates: the same picture smaller, squeezed, mirrored or noisy is found; another is not."""

import cv2
import numpy as np

from cratecli.training.duplicates import ALIKE, likeness, thumbprint


def picture(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))


def test_the_same_picture_is_found_in_another_form_and_others_are_not() -> None:
    photo = picture(0)
    noisy = np.clip(photo + np.random.default_rng(1).normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    forms = [
        photo,
        cv2.resize(photo, (64, 64), interpolation=cv2.INTER_AREA),
        photo[:, ::-1],
        noisy,
        picture(9),
    ]
    best, which = likeness(
        [thumbprint(np.ascontiguousarray(form)) for form in forms],
        [thumbprint(picture(5)), thumbprint(photo)],
    )
    assert (best[:4] > ALIKE).all() and (which[:4] == 1).all()
    assert best[4] < 0.9


def test_a_picture_of_one_colour_is_like_nothing() -> None:
    grey = thumbprint(np.full((20, 20, 3), 90, np.uint8))
    assert likeness([grey], [grey])[0][0] == 0
