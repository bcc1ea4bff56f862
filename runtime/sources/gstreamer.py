"""Cameras that only GStreamer reads: CSI on a Jetson, and any pipeline of the local user's.

PyPI's OpenCV has no GStreamer, and a Jetson's is one more way to crash; `gst-launch-1.0` is on
every Jetson, runs in a process of its own, and hands pictures over through a pipe as YUV4MPEG2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.container import InputContainer

from engines.failures import DeviceMissing, UsageError
from runtime.sources.decoding import reason
from runtime.sources.feed import Feed, Lost

INSTALL = (
    "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
TAIL = ["!", "videoconvert", "!", "video/x-raw,format=I420", "!", "y4menc", "!", "fdsink"]
GRACE = 0.3  # s for GStreamer to close its camera


def pipeline_feed(pipeline: str) -> Feed:
    """The feed of `gst:PIPELINE`, a gst-launch line without a sink. For the local user only: a
    pipeline can read and write any file, so nothing that comes over a network may choose one."""
    try:
        words = shlex.split(pipeline)
    except ValueError as error:
        raise UsageError(f"the pipeline after gst: is not understood ({error})") from None
    if not words:
        raise UsageError("gst: needs a pipeline, for example 'gst:videotestsrc is-live=true'")
    if "sink" in words[-1].split("=")[0] or "appsink" in words:
        raise UsageError("leave the sink out of the gst: pipeline: it must end with video frames")
    _check_installed()
    return Feed("gstreamer", shlex.join(words))


def csi_feed(sensor: int, size: tuple[int, int] | None, fps: float | None) -> Feed:
    """The feed of a CSI camera on a Jetson; `size` is (height, width)."""
    _check_installed()
    if not has_element("nvarguscamerasrc"):
        raise DeviceMissing(
            "CSI cameras are read with GStreamer's nvarguscamerasrc, which is not here: it belongs "
            "to a Jetson (sudo apt-get install nvidia-l4t-gstreamer); elsewhere use a USB camera, "
            "--camera 0"
        )
    wanted = "video/x-raw(memory:NVMM)"
    if size is not None:
        wanted += f",width={size[1]},height={size[0]}"
    if fps is not None:
        wanted += f",framerate={round(fps)}/1"
    source = f"nvarguscamerasrc sensor-id={sensor} ! '{wanted}' ! nvvidconv"
    return Feed("gstreamer", f"{source} ! video/x-raw,format=I420")


def _check_installed() -> None:
    if shutil.which("gst-launch-1.0") is None:
        raise DeviceMissing(f"GStreamer's gst-launch-1.0 is not installed: {INSTALL}")


def has_element(name: str) -> bool:
    """Whether the system's GStreamer knows an element."""
    probe = ["gst-inspect-1.0", "--exists", name]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


@contextmanager
def opened(feed: Feed) -> Iterator[InputContainer]:
    """The running pipeline's pictures."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as words:
        command = ["gst-launch-1.0", "-q", *shlex.split(feed.address), *TAIL, f"fd={writing}"]
        # Output of drivers (argus prints much) must not mix with the pictures or ours.
        process = subprocess.Popen(
            command,
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
        )
        os.close(writing)
        try:
            try:
                container = av.open(f"pipe:{reading}", format="yuv4mpegpipe")
            except (av.FFmpegError, OSError) as error:
                _end(process)
                words.seek(0)
                raise Lost(_explained(words.read(4096).decode(errors="replace"), error)) from error
            with container:
                yield container
        finally:
            _end(process)
            os.close(reading)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _explained(words: str, error: BaseException) -> str:
    """GStreamer's first error line, that of an element if there is one, and what helps."""
    lines = [line.strip() for line in words.splitlines()]
    told = [line for line in lines if "from element" in line]
    told += [line for line in lines if "error" in line.lower() or "WARNING" in line]
    said = told[0] if told else reason(error)
    if "argus" in words.lower():
        said += "; sudo systemctl restart nvargus-daemon"
    return f"GStreamer: {said}"
