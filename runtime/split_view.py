"""One frame under the masks of two engines, side by side, and where the two differ.

Side by side and not a wipe, at the frame's full size: engines differ in lines of a pixel or two
between classes, which a wipe shows on one side alone and a smaller picture not at all. Where both
agree the picture is dimmed, so that the rest stands out, on each side in the class of that side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.blend import blend
from engines.spec import Colour, ModelSpec
from runtime.agreement import Match
from runtime.frame_path import Labels
from runtime.overlay import font_size, legend_strip, present, stamp, status_strip
from runtime.source import Image

DIM = 154  # 256ths of the light of pixels that agree: enough to read the scene by
LIFT = 0.5  # of the way to white for the colours of pixels that differ: dark classes show, too


class SplitView:
    """Draws the first engine's mask on the left and the second one's on the right.

    Args:
        spec: Gives class names and colours.
        alpha: Opacity of the masks, 0 to 1; may be set from any thread.
    """

    def __init__(self, spec: ModelSpec, alpha: float) -> None:
        self.alpha = alpha
        self._classes = tuple(zip(spec.classes, spec.palette, strict=True))
        self._dimmed = tuple(_dim(colour) for colour in spec.palette)
        self._lifted = lifted(spec.palette)

    def draw(
        self, frame: Image, first: Labels, second: Labels, titles: tuple[str, str], status: str
    ) -> Image:
        """A picture [H, 2 W, 3] of a frame [H, W, 3]; a title for each half, one line for both."""
        differ = np.flatnonzero(first != second)
        dark = (frame.astype(np.uint16) * DIM >> 8).astype(np.uint8)  # a quarter of a table's time
        halves = [self._half(dark, labels, differ) for labels in (first, second)]
        size = font_size(len(frame))
        for half, title in zip(halves, titles, strict=True):
            stamp(half, status_strip(title, frame.shape[1], size), top=True)
        picture = np.concatenate(halves, axis=1)
        width = picture.shape[1]
        stamp(picture[size + size // 2 :], status_strip(status, width, size), top=True)
        stamp(picture, legend_strip(self._visible(first, second), width, size), top=False)
        return picture

    def _half(self, dark: Image, labels: Labels, differ: NDArray[np.intp]) -> Image:
        """One side; `differ` are the places of pixels in reading order."""
        picture = blend(dark, labels, self._dimmed, self.alpha)
        picture.reshape(-1, 3)[differ] = self._lifted[labels.ravel()[differ]]
        return picture

    def _visible(self, *sides: Labels) -> tuple[tuple[str, Colour], ...]:
        """Name and colour of the classes on either side, in class order."""
        seen = {index for labels in sides for index in present(labels, len(self._classes))}
        return tuple(self._classes[index] for index in sorted(seen))


def status_line(match: Match, mean: float, worst: str, fps: float, age: float) -> str:
    """What both halves have in common, in one line."""
    most = f"   most in {worst} ({100 * match.worst_share:.2f} %)" if worst else ""
    return (
        f"{100 * match.share:.2f} % agree   mean {100 * mean:.2f} %{most}   "
        f"{fps:.0f} FPS   age {1e3 * age:.0f} ms"
    )


def lifted(palette: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """[class, channel]: the palette on its way to white."""
    colours = np.asarray(palette, np.float64).reshape(-1, 3)
    return np.round(colours + LIFT * (255 - colours)).astype(np.uint8)


def _dim(colour: Colour) -> Colour:
    red, green, blue = colour
    return red * DIM >> 8, green * DIM >> 8, blue * DIM >> 8
