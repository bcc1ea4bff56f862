"""Which H.264 encoder makes a recording: the hardware's, where one really encodes, or software.

That a build of FFmpeg has an encoder says nothing about the machine, so each is tried on a few
frames of the recording's own size. VA-API is not among them: it takes frames that lie on the GPU,
which PyAV cannot make. A Jetson's encoder is reached through V4L2 only by an FFmpeg that knows it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import av
import av.logging
from av.video.codeccontext import VideoCodecContext

from engines.failures import DeviceMissing

BITS = 0.15  # a pixel and frame, for encoders without a constant quality: 1.3 Mbit/s at 640x480, 30
TRIED = 8  # frames; hardware that pipelines gives no packet before a few
SMALLEST = (640, 480)  # of the trial before the first picture came: every encoder takes it

_log = threading.Lock()  # PyAV's has one level for the whole process


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg, and how it is set up for a quality like that of x264's CRF 20."""

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    constant_quality: bool = True

    def set_up(self, context: VideoCodecContext, size: tuple[int, int], fps: Fraction) -> None:
        """Size (width, height) and pixels of a context that was made with `options`."""
        context.width, context.height = size
        context.pix_fmt = self.pixels
        if not self.constant_quality:
            context.bit_rate = round(BITS * size[0] * size[1] * fps)


# 6.5 core-ms a frame at 960x540 on the development machine; veryfast 10.9 for 40 % smaller files.
X264 = Encoder("libx264", {"preset": "superfast", "crf": "20"})
MPEG4 = Encoder("mpeg4", {"qmin": "2", "qmax": "4"})
HARDWARE = {
    encoder.codec: encoder
    for encoder in (
        Encoder("h264_nvenc", {"preset": "p4", "rc": "constqp", "qp": "23", "bf": "0"}),
        Encoder("h264_v4l2m2m", constant_quality=False),
        Encoder("h264_qsv", {"global_quality": "23", "bf": "0"}, "nv12"),
        Encoder("h264_amf", {"rc": "cqp", "qp_i": "23", "qp_p": "23"}, "nv12"),
    )
}
CHOICES = ("auto", "software", *HARDWARE)


@dataclass(frozen=True)
class Choice:
    """An encoder, and why it is this one."""

    encoder: Encoder
    reason: str

    def to_json(self) -> dict[str, str | bool]:
        """For the summary."""
        codec = self.encoder.codec
        return {"codec": codec, "hardware": codec in HARDWARE, "reason": self.reason}


def choose_encoder(asked: str, size: tuple[int, int] = SMALLEST) -> Choice:
    """What `--encoder` stands for, at a size (width, height).

    Raises `DeviceMissing` if the one that was asked for by name cannot encode here.
    """
    if asked == "software":
        return Choice(_software(), "as asked")
    if asked == "auto":
        return _first_that_works(size)
    problem = why_not(HARDWARE[asked], size)
    if problem is not None:
        raise DeviceMissing(
            f"{asked} cannot encode {size[0]}x{size[1]} here ({problem}): leave --encoder out to "
            "take what works"
        )
    return Choice(HARDWARE[asked], "as asked")


@lru_cache(maxsize=32)
def _first_that_works(size: tuple[int, int]) -> Choice:
    problems = []
    for name, encoder in HARDWARE.items():
        problem = why_not(encoder, size)
        if problem is None:
            return Choice(encoder, "hardware")
        problems.append(f"{name}: {problem}")
    return Choice(_software(), f"no hardware encoder ({'; '.join(problems)})")


def _software() -> Encoder:
    return X264 if X264.codec in av.codecs_available else MPEG4


def why_not(encoder: Encoder, size: tuple[int, int]) -> str | None:
    """Why an encoder makes no packets of frames of a size (width, height); None if it does."""
    if encoder.codec not in av.codecs_available:
        return "not in this FFmpeg"
    with _log:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)  # the reason stands in FFmpeg's log alone
        try:
            with av.logging.Capture() as said:
                packets = _packets(encoder, size)
        except (av.FFmpegError, ValueError) as error:
            return str(said[0][2]).strip() if said else str(error)
        finally:
            av.logging.set_level(level)
    return None if packets else "it gave no packet"


def _packets(encoder: Encoder, size: tuple[int, int]) -> int:
    """How many packets a few black frames become."""
    fps = Fraction(25)
    context = av.CodecContext.create(encoder.codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.options = dict(encoder.options)
    context.time_base, context.framerate = 1 / fps, fps
    encoder.set_up(context, size, fps)
    packets = 0
    for index in range(TRIED):
        frame = av.VideoFrame(*size, encoder.pixels)
        frame.pts, frame.time_base = index, 1 / fps
        packets += len(context.encode(frame))
    return packets + len(context.encode(None))
