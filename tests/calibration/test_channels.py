"""Per-channel extremes and means, against the same from whole activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.graphs.execution import load
from calibration.ranges.channels import channel_means, channel_spans, convolutions
from calibration.ranges.observe import expose

Frames = list[NDArray[np.uint8]]


def whole(model: ModelProto, name: str, frames: Frames) -> NDArray[np.float64]:
    """The results of a convolution as [C, everything else]."""
    session = load(expose(model, [name]))
    maps = np.stack([session.run([name], {"frames": frame[None]})[0][0] for frame in frames])
    return maps.astype(np.float64).swapaxes(0, 1).reshape(maps.shape[1], -1)


def test_spans_and_means_are_those_of_the_whole_maps(miniature: ModelProto, frames: Frames) -> None:
    spans = channel_spans(miniature, frames)
    assert list(spans) == convolutions(miniature)
    means = channel_means(miniature, ["wide/Conv", "atrous/Conv"], frames)
    for name in ("wide/Conv", "atrous/Conv"):
        values = whole(miniature, name, frames)
        np.testing.assert_allclose(spans[name][0], values.min(axis=1), rtol=1e-6)
        np.testing.assert_allclose(spans[name][1], values.max(axis=1), rtol=1e-6)
        np.testing.assert_allclose(means[name], values.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_the_order_of_frames_changes_no_bit(miniature: ModelProto, frames: Frames) -> None:
    names = convolutions(miniature)
    first, second = (channel_means(miniature, names, f) for f in (frames, frames[::-1]))
    for name in names:
        assert np.array_equal(first[name], second[name])
    low, high = (channel_spans(miniature, f)["wide/Conv"] for f in (frames, frames[::-1]))
    assert np.array_equal(low, high)
