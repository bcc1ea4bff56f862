"""One pass over calibration frames that measures all that needs no model.

A frame is forgotten once it is measured; what stays of it is about a kilobyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from calibration.frame_checks.coverage import Coverage
from calibration.frame_checks.duplicates import Fingerprint, duplicate_findings, fingerprint, group
from calibration.frame_checks.findings import NAMED, Finding, counted, listed
from calibration.frame_checks.looks import Frame, Look, look_at, look_findings
from calibration.frames import MINIMUM, RECOMMENDED
from engines.failures import Refused
from engines.preprocess import fit_frame
from scenes.dataset import Dataset, DatasetError, Scene

LARGEST = (360, 480)  # height, width at which frames are measured where no model gives its own
STRETCH = 1.1  # how much wider or narrower than the model's input a frame may be


@dataclass(frozen=True)
class Examination:
    """What frames are, one entry per readable frame; `indices` are their places in the dataset."""

    indices: list[int]
    looks: list[Look]
    prints: list[Fingerprint]
    sizes: list[tuple[int, int]]  # height, width, before they are fitted
    coverage: Coverage
    unreadable: dict[str, str]  # "frame 12" -> what is wrong with it


def examine(dataset: Dataset, indices: Sequence[int], size: tuple[int, int] | None) -> Examination:
    """Measure frames of a dataset, as `fitted` gives them; if none is readable: `Refused`."""
    result = Examination([], [], [], [], Coverage(dataset.classes), {})
    for index in tqdm(indices, desc="examining", unit="frame", disable=None):
        scene = read(dataset, index)
        if isinstance(scene, str):
            result.unreadable[f"frame {index}"] = scene
            continue
        height, width, _ = scene.frame.shape
        frame = fitted(scene.frame, size)
        result.indices.append(index)
        result.sizes.append((height, width))
        result.looks.append(look_at(scene.name, frame))
        result.prints.append(fingerprint(scene.name, frame))
        result.coverage.add(scene.labels)
    if not result.indices:
        reasons = "; ".join(result.unreadable.values())
        raise Refused(f"not one calibration frame can be read: {reasons or 'the split is empty'}")
    return result


def fitted(frame: Frame, size: tuple[int, int] | None) -> Frame:
    """A frame at a model's `size`; without a model as it is, or at LARGEST if it is larger."""
    height, width, _ = frame.shape
    if size is None:
        size = (height, width) if height <= LARGEST[0] and width <= LARGEST[1] else LARGEST
    return fit_frame(frame, size)


def read(dataset: Dataset, index: int) -> Scene | str:
    """A frame with its labels, or the sentence that says why it cannot be read."""
    try:
        return dataset[index]
    except DatasetError as error:
        return str(error)


def prints_of(
    dataset: Dataset, size: tuple[int, int] | None
) -> tuple[list[Fingerprint], list[str]]:
    """The fingerprints of an evaluation split's frames, and why the others cannot be read."""
    prints, reasons = [], []
    for index in tqdm(range(len(dataset)), "evaluation split", unit="frame", disable=None):
        scene = read(dataset, index)
        if isinstance(scene, str):
            reasons.append(scene)
        else:
            prints.append(fingerprint(scene.name, fitted(scene.frame, size)))
    return prints, reasons


def set_findings(examination: Examination, size: tuple[int, int] | None) -> list[Finding]:
    """Warnings about the set: its files, its number, its shapes, its looks, its classes."""
    looks = examination.looks
    return [
        *_unreadable(examination),
        *_few(len(looks)),
        *_stretched(examination, size),
        *look_findings(looks),
        *duplicate_findings(group(examination.prints), len(looks)),
        *examination.coverage.findings(),
    ]


def quick_check(frames: Iterable[Frame]) -> list[Finding]:
    """What a build can say of its calibration frames [H, W, 3] in 5 ms a frame: blank, dark,
    bright, blurred, grey or odd ones, one light only, and duplicates. Frames are named #0, #1 ...
    """
    looks, prints = [], []
    for index, frame in enumerate(frames):
        looks.append(look_at(f"#{index}", frame))
        prints.append(fingerprint(f"#{index}", frame))
    return look_findings(looks) + duplicate_findings(group(prints), len(looks))


def _unreadable(examination: Examination) -> list[Finding]:
    bad = examination.unreadable
    if not bad:
        return []
    total = len(bad) + len(examination.looks)
    reasons = "; ".join(list(bad.values())[:NAMED])
    text = (
        f"{counted(len(bad), total)} unreadable ({reasons}): a copy that broke off, or labels that "
        "do not belong to their frame; a calibration would stop there, so replace or delete them"
    )
    return [Finding("unreadable", text, tuple(bad))]


def _few(count: int) -> list[Finding]:
    if count >= RECOMMENDED:
        return []
    least = "" if count >= MINIMUM else f" (a build refuses fewer than {MINIMUM})"
    text = (
        f"only {count} frames: a single odd frame decides a range{least}; take {RECOMMENDED} or "
        "more, from all places and hours in which the device will run"
    )
    return [Finding("few-frames", text)]


def _stretched(examination: Examination, size: tuple[int, int] | None) -> list[Finding]:
    """Frames that are stretched to the model's shape; without a model, to that of most frames."""
    height, width = size or Counter(examination.sizes).most_common(1)[0][0]
    names, shapes = [], set[str]()
    for look, (rows, columns) in zip(examination.looks, examination.sizes, strict=True):
        ratio = (columns / rows) / (width / height)
        if max(ratio, 1 / ratio) > STRETCH:
            names.append(look.name)
            shapes.add(f"{columns}x{rows}")
    if not names:
        return []
    whose = "most" if size is None else "the model's input"
    text = (
        f"{counted(len(names), len(examination.looks))} of another shape than {whose}, "
        f"{width}x{height} ({listed(sorted(shapes))}; {listed(names)}): they are stretched to fit, "
        "and things in them look as the camera will never show them; record them with the "
        "device's camera, or crop them"
    )
    return [Finding("stretched", text, tuple(names))]
