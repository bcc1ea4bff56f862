"""What both CRFs of `benchmarks/crf.py` are given: frames, and a network's logits for them.

The network is the bundle's FP32 graph at its own input size. Its logits are resized to a quarter of
the wanted size, as a network of that size would give them. A street is drawn at the wanted size;
other frames are stretched to it, so enlarged ones are smoother than a camera's, and their lattices
smaller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.failures import UsageError
from engines.labels import upsample
from engines.preprocess import fit_frame
from engines.session import Session, open_session
from scenes.dataset import open_dataset

Frame = NDArray[np.uint8]
Logits = NDArray[np.float32]

STRIDE = 4  # of the logits that ours takes
RARITY = 3.0  # how far classes that the model does not have lie below those that it has


@dataclass(frozen=True)
class Size:
    """A frame's size, and how many classes there are."""

    width: int
    height: int
    classes: int

    @staticmethod
    def of(text: str) -> Size:
        """Read "480x360x11"."""
        match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
        if match is None or min(numbers := [int(number) for number in match.groups()]) < 1:
            raise UsageError(f"a size is WIDTHxHEIGHTxCLASSES, such as 480x360x11, not {text!r}")
        return Size(*numbers)

    @property
    def text(self) -> str:
        """The frame's, as in "480x360"."""
        return f"{self.width}x{self.height}"

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class Case:
    """A frame [H, W, 3], its logits [C, H/4, W/4], and these upsampled [C, H, W] for the peer."""

    frame: Frame
    logits: Logits
    full: Logits


def load_cases(bundle: Bundle, data: str, split: str, size: Size, count: int) -> list[Case]:
    """At most `count` frames spread over the split, with the bundle's logits."""
    with open_session(bundle, "fp32", "cpu") as session:
        return [make_case(session, frame, size) for frame in frames(data, split, size, count)]


def frames(data: str, split: str, size: Size, count: int) -> Iterator[Frame]:
    """Frames of a dataset at a size."""
    from scenes.dataset import spread

    dataset = open_dataset(drawn_at(data, size), split)
    for index in spread(len(dataset), count):
        yield fit_frame(dataset[index].frame, size.frame)


def drawn_at(data: str, size: Size) -> str:
    """A street's spec with the size added, unless it has one; any other spec as it is."""
    kind, _, options = data.partition("?")
    if kind != "street:" or "size=" in options:
        return data
    return "street:?" + "&".join(filter(None, (options, f"size={size.text}")))


def make_case(session: Session, frame: Frame, size: Size) -> Case:
    """One frame with the network's logits for it."""
    scores = session.run(fit_frame(frame, session.spec.input_size)[None])[0]
    coarse = upsample(scores, (-(-size.height // STRIDE), -(-size.width // STRIDE)))
    logits = np.ascontiguousarray(with_classes(coarse, size.classes))
    full = np.ascontiguousarray(upsample(logits, size.frame))
    return Case(frame.copy(), logits, full)  # a copy, as pydensecrf refuses read-only memory


def with_classes(logits: Logits, classes: int) -> Logits:
    """Logits [K, h, w] of a model as logits of C classes [C, h, w].

    The first C of them; where the model has fewer, its classes are repeated, mirrored left to right
    and lowered. With CamVid's 11 and 10 more, these win on 4 to 8 % of a street's pixels.
    """
    known = len(logits)
    mirrored = logits[..., ::-1]
    extra = [mirrored[c % known] - np.float32(RARITY * (c // known)) for c in range(known, classes)]
    return np.stack([*logits[:classes], *extra])
