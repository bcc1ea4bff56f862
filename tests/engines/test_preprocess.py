"""The one preprocessing: size, identity, and no aliasing when shrinking."""

from __future__ import annotations

import numpy as np
import pytest

from engines.preprocess import fit_frame


def test_a_frame_that_fits_is_passed_through_untouched() -> None:
    frame = np.zeros((36, 48, 3), np.uint8)
    assert fit_frame(frame, (36, 48)) is frame


@pytest.mark.parametrize("shape", [(54, 96), (37, 51), (20, 24), (480, 640)])
def test_a_flat_colour_survives_any_resize(shape: tuple[int, int]) -> None:
    frame = np.broadcast_to(np.array([200, 50, 120], np.uint8), (*shape, 3))
    fitted = fit_frame(frame, (36, 48))
    assert fitted.shape == (36, 48, 3)
    assert fitted.dtype == np.uint8
    np.testing.assert_allclose(fitted, np.broadcast_to([200, 50, 120], (36, 48, 3)), atol=2)


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((72, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    fitted = fit_frame(stripes, (18, 24))
    assert abs(float(fitted.mean()) - 127.5) < 4
    assert float(fitted.std()) < 30  # point sampling would keep 0 and 255: a deviation of 127


def test_channels_keep_their_order() -> None:
    frame = np.zeros((10, 10, 3), np.uint8)
    frame[..., 0] = 255
    assert fit_frame(frame, (20, 20)).reshape(-1, 3).mean(0).argmax() == 0


def test_a_grey_or_float_image_is_named() -> None:
    with pytest.raises(ValueError, match="uint8"):
        fit_frame(np.zeros((4, 4), np.uint8), (4, 4))
