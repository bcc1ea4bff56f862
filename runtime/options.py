"""What the user may ask of the stream: the flags of `runtime/stream.py`, and their checks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from engines.failures import UsageError
from runtime.compare_flags import add_compare_flags, check_compare_flags
from runtime.serving.flags import add_serving_flags
from runtime.sinks.flags import add_sink_flags, check_sink_flags


@dataclass(frozen=True)
class Options:
    """What the user asked for; the one place of all defaults."""

    camera: tuple[str, ...]
    drop: str = "auto"
    give_up: float = float("inf")
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "auto"
    target: str = "auto"
    crf: str = "auto"
    crf_budget: float | None = None
    temporal: str = "on"
    drift: bool = False
    compare: str | None = None
    shadow: int | None = None
    frames: int | None = None
    headless: bool = False
    record: Path | None = None
    encoder: str = "auto"
    labels: Path | None = None
    results: Path | None = None
    regions: str = "polygons"
    min_region: float = 0.001
    polygon_tolerance: float = 1.5
    alpha: float = 0.5
    serve: str | None = None
    token_file: Path | None = None
    insecure: bool = False
    allow_host: tuple[str, ...] = ()
    recordings: Path | None = None
    log: str = "text"
    config: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames {self.frames}: at least 1, or leave it out for all")
        if self.crf_budget is not None and not self.crf_budget > 0:
            raise UsageError(f"--crf-budget {self.crf_budget:g}: milliseconds above 0")
        if not self.give_up >= 0:
            raise UsageError(f"--give-up {self.give_up:g}: seconds, 0 or more")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"--alpha {self.alpha:g}: 0 (no mask) to 1 (mask only)")
        check_compare_flags(self.compare, self.shadow, self.precision, self.target, self.drift)
        check_sink_flags(self.min_region, self.polygon_tolerance)
        served = self.token_file or self.recordings or self.insecure or self.allow_host
        if self.serve is None and served:
            raise UsageError(
                "--token-file, --insecure, --allow-host and --recordings are for --serve HOST:PORT"
            )


def add_flags(result: argparse.ArgumentParser) -> None:
    """Add all flags but `--json`, without their defaults, which `Options` has."""
    result.add_argument(
        "--camera",
        action="append",
        required=True,
        metavar="SRC",
        help="camera index (0, '0?size=1280x720&fps=30&format=mjpeg'), device (/dev/video0), "
        "rtsp://user:password@host/path, http://host/stream.mjpg, csi://0, 'gst:PIPELINE', video, "
        "image, folder or pattern of images; street: is a virtual camera, as fast as it goes, and "
        "'street:?fps=30' a live one, which drops frames (docs/sources.md); "
        "give it several times for several cameras",
    )
    result.add_argument(
        "--drop",
        metavar="POLICY",
        help="frames that are too many: newest (replace what was not taken), all (wait for each), "
        "budget=MS (drop what is older); auto: newest if live, else all",
    )
    result.add_argument(
        "--give-up",
        type=float,
        metavar="S",
        help="end when a camera that was live stays lost for S seconds (default: never)",
    )
    result.add_argument("--bundle", type=Path, metavar="DIR", help="the model")
    result.add_argument(
        "--precision",
        choices=("auto", "fp32", "fp16", "int8", "mixed"),
        help="auto: the fastest one within the accuracy report's gate",
    )
    result.add_argument(
        "--target",
        choices=("auto", "cpu", "openvino", "tensorrt", "tensorrt-rtx"),
        help="what runs the model; auto: cpu, which is onnxruntime, or openvino where an accuracy "
        "report of this machine found it faster",
    )
    result.add_argument(
        "--crf",
        choices=("auto", "off", "fast", "exact"),
        help="sharpen masks by a dense CRF; auto: fast if the model has parameters for it",
    )
    result.add_argument(
        "--crf-budget",
        type=float,
        metavar="MS",
        help="begin no CRF iteration that would end later than this; at least one runs",
    )
    result.add_argument(
        "--temporal",
        choices=("on", "off"),
        help="steady the labels by the frames before where nothing changed",
    )
    result.add_argument(
        "--drift",
        action=argparse.BooleanOptionalAction,
        help="warn where frames, or what they do inside the model, leave what calibration saw",
    )
    result.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    result.add_argument("--alpha", type=float, metavar="A", help="mask opacity")
    add_compare_flags(result)
    add_sink_flags(result)
    add_serving_flags(result)
