"""From what `--camera` says to the feed of a camera, if it is one."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from engines.failures import UsageError, hint
from runtime.sources.feed import Feed
from runtime.sources.gstreamer import csi_feed, pipeline_feed
from runtime.sources.network import HTTP, RTSP, network_feed
from runtime.sources.size import parse_size, within
from runtime.sources.v4l2 import device_feed, device_path

SCHEMES = (*RTSP, *HTTP, "csi")


def feed_of(text: str) -> Feed | None:
    """The feed of a USB, CSI or network camera or of a `gst:` pipeline; None of anything else."""
    if text.startswith("gst:"):
        return pipeline_feed(text.removeprefix("gst:"))
    if device_path(text):
        return device_feed(text)
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return None
    scheme = scheme.lower()
    if scheme in (*RTSP, *HTTP):
        return network_feed(text)
    if scheme == "csi":
        return _csi(rest)
    raise UsageError(f"{scheme}:// cameras are not read: {hint(scheme, SCHEMES)}")


def _csi(rest: str) -> Feed:
    """`csi://0?size=1280x720&fps=30`."""
    sensor, _, query = rest.partition("?")
    try:
        given = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        size = parse_size(given.pop("size"), 16, 16384) if "size" in given else None
        fps = within(float(given.pop("fps")), 1, 1000) if "fps" in given else None
        if given:
            raise ValueError(given)
        return csi_feed(int(within(int(sensor or "0"), 0, 63)), size, fps)
    except ValueError:
        raise UsageError(
            f"csi://{rest} is not understood: the form is csi://SENSOR?size=WxH&fps=N, for example "
            "--camera 'csi://0?size=1280x720&fps=30'"
        ) from None
