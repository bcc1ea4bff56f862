"""What must hold before minutes of measuring begin."""

from __future__ import annotations

import os

from engines.bundle import Bundle
from engines.failures import Refused
from scenes.dataset import Dataset


def require_same_classes(data: str, dataset: Dataset, bundle: Bundle) -> None:
    """Raise `Refused` unless label i means the same thing in the frames and in the model."""
    theirs, ours = tuple(dataset.classes), bundle.spec.classes
    if not theirs:
        raise Refused(
            f"{data} has no labels, so nothing can be scored: give --data labelled frames, as "
            "camvid:DIR or folder:DIR"
        )
    if theirs != ours:
        raise Refused(
            f"{data} has the classes {', '.join(theirs)}, but {bundle.spec.name} was trained on "
            f"{', '.join(ours)}: give --data frames with the model's classes, in its order"
        )


def require_writable(bundle: Bundle) -> None:
    """Fail before minutes of measuring, not after: the result is stored in the bundle."""
    if not os.access(bundle.root, os.W_OK):
        raise Refused(f"{bundle.root} is read-only, and the result is stored in it: copy it first")
