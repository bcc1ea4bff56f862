"""How calibration frames look: too dark, too bright, blurred, grey, or all alike in their light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.frame_checks.findings import Finding, counted, listed
from calibration.frames import FLAT, MINIMUM

Frame = NDArray[np.uint8]  # [H, W, 3]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# CamVid's 468 frames at 480x360: brightness 46 (dusk) to 172, sharpness from 198, saturation from
# 0.05. A Gaussian blur of 2 pixels leaves them a sharpness of at most 13.
DARK, BRIGHT = 30.0, 225.0
BLURRED = 20.0
GREY = 0.02
ONE_LIGHT = 16.0  # grey levels between the 5th and the 95th percentile of brightness
FAR_OUT = 4.0  # times the quartiles' distance beyond a quartile; CamVid's dusk lies 2.5 beyond


@dataclass(frozen=True)
class Look:
    """One frame in numbers: mean and deviation of its luma (0 to 255), the variance of the luma's
    Laplacian, and the mean saturation (0 to 1)."""

    name: str
    brightness: float
    contrast: float
    sharpness: float
    saturation: float

    @property
    def blank(self) -> bool:
        """One flat colour: a lens cap, a black or an overexposed frame."""
        return self.contrast < FLAT


MEASURES = ("brightness", "contrast", "sharpness", "saturation")


def look_at(name: str, frame: Frame) -> Look:
    """Measure a frame."""
    luma = frame @ LUMA
    red, green, blue = np.moveaxis(frame, 2, 0)  # max(axis=2) takes 30 times as long
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return Look(
        name,
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
        sharpness=laplacian_variance(luma),
        saturation=float(((highest - lowest) / np.maximum(highest, np.float32(1))).mean()),
    )


def laplacian_variance(luma: NDArray[np.float32]) -> float:
    """The variance of the four-neighbour Laplacian [H, W]; 0 for a frame of less than 3x3."""
    if min(luma.shape) < 3:
        return 0.0
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((4 * luma[1:-1, 1:-1] - around).var())


@dataclass(frozen=True)
class Defect:
    """A look that a frame should not have."""

    code: str
    applies: Callable[[Look], bool]
    what: str
    remedy: str


DEFECTS = (
    Defect(
        "blank", lambda look: look.blank, "blank (one flat colour, black for example)",
        "a camera cap, a failed decode or a frame before exposure had settled; delete them",
    ),
    Defect(
        "dark", lambda look: look.brightness < DARK, f"darker than {DARK:.0f} of 255",
        "night or underexposure; keep them only if the device will run in such light",
    ),
    Defect(
        "bright", lambda look: look.brightness > BRIGHT, f"brighter than {BRIGHT:.0f} of 255",
        "overexposure; keep them only if the device will see such light",
    ),
    Defect(
        "blurred", lambda look: look.sharpness < BLURRED, "blurred",
        "the lens is out of focus, wet or dirty, or the camera shook; clean it, record them again",
    ),
    Defect(
        "grey", lambda look: look.saturation < GREY, "without colour",
        "an infrared mode, or pictures that were converted; a model for colour frames is to be "
        "calibrated on colour frames",
    ),
)  # fmt: skip


def look_findings(looks: Sequence[Look]) -> list[Finding]:
    """Every defect once, with the frames that have it; then what is wrong with all together.

    A blank frame has no other defect, and a frame with a defect is not odd on top of it.
    """
    findings: list[Finding] = []
    for defect in DEFECTS:
        names = [
            look.name
            for look in looks
            if defect.applies(look) and (defect.code == "blank" or not look.blank)
        ]
        if names:
            text = f"{counted(len(names), len(looks))} {defect.what} ({listed(names)}): "
            findings.append(Finding(defect.code, text + defect.remedy, tuple(names)))
    told = {name for finding in findings for name in finding.frames}
    findings += _one_light([look for look in looks if not look.blank])
    findings += _outliers([look for look in looks if look.name not in told])
    return findings


def _one_light(looks: Sequence[Look]) -> list[Finding]:
    if len(looks) < MINIMUM:
        return []
    low, high = np.percentile([look.brightness for look in looks], [5, 95])
    if high - low >= ONE_LIGHT:
        return []
    text = (
        f"nearly all frames are equally bright ({low:.0f} to {high:.0f} of 255): recorded at one "
        "hour or with a fixed exposure; if the device will also run at other hours, add frames "
        "from those"
    )
    return [Finding("one-light", text)]


def _outliers(looks: Sequence[Look]) -> list[Finding]:
    """Frames far beyond the quartiles of a measure; of sharpness, its logarithm."""
    if len(looks) < MINIMUM:
        return []
    reasons: dict[str, str] = {}
    for measure in MEASURES:
        values = np.array([getattr(look, measure) for look in looks])
        scale = np.log(values + 1) if measure == "sharpness" else values
        first, third = np.percentile(scale, [25, 75])
        reach = FAR_OUT * (third - first)
        for index in np.flatnonzero((scale < first - reach) | (scale > third + reach)):
            reasons.setdefault(looks[int(index)].name, f"{measure} {values[index]:.3g}")
    if not reasons:
        return []
    examples = [f"{name}: {reason}" for name, reason in reasons.items()]
    text = (
        f"{counted(len(reasons), len(looks))} unlike all others ({listed(examples)}): another "
        "camera, a glitch, or a rare but real view; look at them, delete what the device will "
        "never see"
    )
    return [Finding("odd", text, tuple(reasons))]
