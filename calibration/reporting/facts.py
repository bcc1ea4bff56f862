"""How a report was measured, in words for people: pairs of a term and a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calibration.numerals import size

if TYPE_CHECKING:
    from calibration.report import Report

FP16_MAX = 65504

# What the words of a scheme mean (calibration/scheme.py).
SCHEME_WORDS = {
    "minmax": "ranges from the lowest to the highest value seen",
    "average": "ranges from each frame's extremes, averaged",
    "percentile": "ranges that leave a few extreme values out",
    "entropy": "ranges that keep most of the values' information",
    "mse": "ranges with the smallest squared rounding error",
    "qat": "ranges and weights learned in fine-tuning",
    "per-tensor": "one scale for all channels of a weight",
    "plain-rounding": "depthwise weights rounded one by one",
    "equalise": "channels of neighbouring layers brought to one scale",
    "absorb": "large biases moved into the next layer",
    "bias": "the mean error of each layer taken off its bias",
}


def facts(report: Report) -> list[tuple[str, str]]:
    """Frames, model, weights, calibration, machine, versions."""
    origin, machine = report.provenance, dict(report.machine)
    calibration = origin.get("calibration")
    cpu, cores, load = (machine.pop(key) for key in ("cpu", "cores", "load"))
    lines = [
        ("Frames", frames(report)),
        ("Model", f"{report.model}, {geometry(report)}"),
        ("Weights", f"{origin.get('source', '?')} sha256 {origin.get('source_sha256', '?')[:16]}…"),
        ("Calibration", calibration_text(calibration) if calibration else "none: no INT8 graph"),
        ("Machine", f"{cpu}, {cores} cores, load {load} before measuring"),
        ("Energy", report.power or "not measured: no power meter that may be read here"),
        ("Measured with", ", ".join(f"{k} {v}" for k, v in machine.items())),
        ("Built with", ", ".join(f"{k} {v}" for k, v in origin["built_with"].items()) or "?"),
        ("Measured at", report.measured_at),
    ]
    return [*lines, *(("Not run here", reason) for reason in report.skipped)]


def frames(report: Report) -> str:
    """How many, of what; and whether they had to be scaled."""
    wanted = report.rows[0].input_size
    foreign = [size(one) for one in report.frame_sizes if one != wanted]
    scaled = f"; {', '.join(foreign)} scaled to {size(wanted)}" if foreign else ""
    return f"{how_many(report)} of {report.data}, split {report.split}{scaled}"


def how_many(report: Report) -> str:
    """The frames that were measured: "12 of 101" or "101"."""
    some = "" if report.images == report.images_in_split else f" of {report.images_in_split}"
    return f"{report.images}{some}"


def geometry(report: Report) -> str:
    """Input size and output stride."""
    fp32 = report.rows[0]
    return f"{size(fp32.input_size)}, output stride {fp32.output_stride}"


def calibration_text(calibration: dict[str, Any]) -> str:
    """The provenance of the INT8 ranges in words."""
    digest = str(calibration.get("digest", "?"))[:16]
    method = calibration.get("method", "?")
    text = f"{method} over {calibration.get('frames', '?')} frames (sha256 {digest}…)"
    largest = calibration.get("largest_activation")
    if largest:
        text += f"; largest activation {largest['magnitude']:.0f}, FP16 holds {FP16_MAX}"
    return text


def words_of(methods: list[str]) -> list[tuple[str, str]]:
    """The words of some schemes, each once, with their meaning."""
    used = {word for method in methods for word in method.split("+")}
    return [(word, meaning) for word, meaning in SCHEME_WORDS.items() if word in used]
