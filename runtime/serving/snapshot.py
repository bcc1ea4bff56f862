"""One frame as PNG: as the camera saw it, its labels, or both."""

from __future__ import annotations

import io

from PIL import Image as Pictures

from engines.failures import Failure, UsageError
from runtime.serving.channel import Channel
from runtime.sinks.label_maps import label_png

KINDS = ("overlay", "frame", "labels")


def snapshot(channel: Channel, kind: str) -> bytes:
    """The newest frame of a channel as PNG.

    "labels" is a palette image: its colours are the classes', its values the class indices.
    """
    if kind not in KINDS:
        raise UsageError(f"no picture {kind!r}: {', '.join(KINDS)}")
    result = channel.latest
    if result is None:
        raise Failure("no frame has come yet: try again in a second")
    if kind == "labels":
        return label_png(result.labels, channel.session.spec.palette)
    picture = channel.picture(result) if kind == "overlay" else result.frame.image
    data = io.BytesIO()
    Pictures.fromarray(picture).save(data, "PNG", compress_level=3)
    return data.getvalue()
