"""Cameras and videos of the network: RTSP, MJPEG over HTTP, video files over HTTP."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from engines.failures import SourceFailed, UsageError
from runtime.redaction import redact
from runtime.sources.decoding import CONTAINERS, reason
from runtime.sources.feed import Feed, Lost

RTSP, HTTP = ("rtsp", "rtsps"), ("http", "https")
FILES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".ogv", ".3gp"})
TRANSPORTS = ("tcp", "udp")
ANALYSIS = 300_000  # us of stream that FFmpeg looks at before the first picture; 5 s by itself


def network_feed(url: str) -> Feed:
    """The feed of a URL. Options of ours are taken out of its query, all else is the camera's.

    An HTTP address that ends like a video file is one: all its frames count. Any other is live.
    """
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # brackets that are no IPv6 address
        host = None
    if not host:
        raise UsageError(f"{redact(url)} names no host: the form is {scheme}://host:port/path")
    if any(letter.isspace() for letter in url):
        raise UsageError(f"{redact(url)} has a blank in it: write %20 for it")
    options: dict[str, str] = {}
    kept = []
    for item in parts.query.split("&") if parts.query else []:
        name, _, value = item.partition("=")
        if name == "transport" and scheme in RTSP:
            _check("transport", value, TRANSPORTS)
            options[name] = value
        elif name == "verify" and scheme in ("rtsps", "https"):
            _check("verify", value, ("on", "off"))
            options[name] = value
        else:
            kept.append(item)
    address = parts._replace(scheme=scheme, query="&".join(kept)).geturl()
    file = scheme in HTTP and PurePosixPath(parts.path).suffix.lower() in FILES
    return Feed("network", address, options, live=not file)


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={redact(value)} in the camera's address: {' or '.join(choices)}")


@contextmanager
def opened(feed: Feed) -> Iterator[InputContainer]:
    """The connected stream, with its video found."""
    timeout = (feed.opening, feed.reading)
    try:
        container = av.open(feed.address, options=_options(feed), timeout=timeout)
    except (av.FFmpegError, OSError) as error:
        raise _failure(error) from error
    with container:
        if not container.streams.video:
            raise SourceFailed("it has no video")
        yield container


def _options(feed: Feed) -> dict[str, str]:
    """For FFmpeg: what it may talk to, that it must not queue, and how certificates are checked.

    A server decides what its answer contains and where it redirects to, so the lists hold it to
    network protocols and to containers that open nothing else.
    """
    scheme = urlsplit(feed.address).scheme
    secure = {"tls_verify": "0"} if feed.options.get("verify") == "off" else _certificates()
    live = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": str(ANALYSIS)}
    live = live if feed.live else {}
    if scheme in RTSP:
        return {
            "protocol_whitelist": "rtp,rtsp,srtp,udp,tcp,tls,crypto",
            "format_whitelist": "rtsp,rtp,mpegts,sdp",
            "rtsp_transport": feed.options.get("transport", "tcp"),
            "allowed_media_types": "video",
            "timeout": str(round(1e6 * feed.reading)),
            **(secure if scheme == "rtsps" else {}),
            **live,
        }
    resumed = {"reconnect": "1", "reconnect_on_network_error": "1", "reconnect_delay_max": "2"}
    return {
        "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
        "format_whitelist": f"{CONTAINERS},mpjpeg,jpeg_pipe",
        "rw_timeout": str(round(1e6 * feed.reading)),
        **(secure if scheme == "https" else {}),
        **(live or resumed),
    }


def _certificates() -> dict[str, str]:
    """FFmpeg checks no certificate by itself; the system's store says whom to believe."""
    paths = ssl.get_default_verify_paths()
    store = paths.cafile or paths.openssl_cafile
    return {"tls_verify": "1", "ca_file": store}


def _failure(error: av.FFmpegError | OSError) -> SourceFailed:
    """Why it did not open: `Lost` if that may pass."""
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return SourceFailed(
            "it refuses the user or password: write them before the host's name, as in "
            "user:password@host, with %40 for an @"
        )
    if isinstance(error, av.error.HTTPForbiddenError):
        return SourceFailed("it forbids this address to this user")
    if isinstance(error, av.error.HTTPNotFoundError):
        return Lost("it has nothing at this path: see the camera's manual for the right one")
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
        return Lost("what it sends is no video that FFmpeg can read")
    known = {
        errno.ECONNREFUSED: "nothing answers at that port: is the camera on, and the port right?",
        errno.EIO: "it is not found or broke off: check the host's name with ping",
        errno.ETIMEDOUT: "it did not answer in time",
        errno.EINVAL: "it sends, or redirects to, what no camera does: a playlist, a local file",
    }
    return Lost(known.get(error.errno or 0) or redact(reason(error)))
