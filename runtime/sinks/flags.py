"""The flags of `stream.py` that say where results go."""

from __future__ import annotations

import argparse
from pathlib import Path

from engines.failures import UsageError

ENCODERS = ("auto", "software", "h264_nvenc", "h264_v4l2m2m", "h264_qsv", "h264_amf")


def add_sink_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, as a group of their own."""
    group = parser.add_argument_group(
        "sinks", "with several cameras, files are named NAME-0, NAME-1, ..."
    )
    group.add_argument("--headless", action=argparse.BooleanOptionalAction, help="open no window")
    group.add_argument("--record", type=Path, metavar="FILE", help="write .mp4, .mkv or .mov")
    group.add_argument(
        "--encoder",
        choices=ENCODERS,
        help="of recordings; auto: the hardware's if it encodes here, else software",
    )
    group.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="write each frame's labels as a palette PNG, 00000012.png",
    )
    group.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="write a line of JSON for each frame: shares of the classes, regions, age; -: to "
        "standard output, and what else would go there to stderr",
    )
    group.add_argument(
        "--regions",
        choices=("polygons", "boxes", "off"),
        help="how much --results say of connected areas; polygons take most of the time",
    )
    group.add_argument(
        "--min-region",
        type=float,
        metavar="S",
        help="leave regions out of --results that cover less than this share of a frame",
    )
    group.add_argument(
        "--polygon-tolerance",
        type=float,
        metavar="PX",
        help="how far the polygons in --results may be from the exact outlines",
    )


def check_sink_flags(min_region: float, polygon_tolerance: float) -> None:
    """Raise `UsageError` for numbers that cannot be meant."""
    if not 0 <= min_region <= 1:
        raise UsageError(f"--min-region {min_region:g}: a share of the frame, 0 to 1")
    if not 0 <= polygon_tolerance < float("inf"):
        raise UsageError(f"--polygon-tolerance {polygon_tolerance:g}: pixels, 0 or more")
