"""Whether the frames to calibrate on are among those that scores are measured on."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.frame_checks.duplicates import Fingerprint, leak_findings
from calibration.frame_checks.examination import prints_of
from calibration.frame_checks.findings import NAMED, Finding, counted
from engines.failures import UsageError
from scenes.dataset import Dataset, DatasetError, open_dataset

EVALUATION = "val"  # the split that is looked at unless others are named


def evaluation_splits(data: str, split: str, against: Sequence[str]) -> dict[str, Dataset]:
    """Name -> frames of what is to be compared: each of `against`, a split of `data` or SPEC/SPLIT.

    Without any it is the evaluation split, if it is there, with labels, and not `split` itself. A
    named one that is `split` itself is a `UsageError`; one that cannot be opened a `DatasetError`.
    """
    if not against:
        return {} if split == EVALUATION else _default(data)
    result = {}
    for name in against:
        spec, other = _parts(name, data)
        if (spec, other) == (data, split):
            raise UsageError(
                f"--against {name} is the split that is examined: name the one that scores are "
                "measured on"
            )
        where = other if spec == data else f"{spec} {other}"
        result[where] = open_dataset(spec, other)
    return result


def find_leaks(
    prints: Sequence[Fingerprint],
    evaluation: dict[str, Dataset],
    split: str,
    size: tuple[int, int] | None,
) -> list[Finding]:
    """Warnings about frames of `split` that are also in a split of `evaluation`, or nearly.

    With nothing to compare because `split` is the evaluation split, that is the warning.
    """
    if not evaluation and split == EVALUATION:
        return [_evaluation_split(split)]
    findings = []
    for where, dataset in evaluation.items():
        theirs, reasons = prints_of(dataset, size)
        if reasons:
            findings.append(_unreadable(where, reasons, len(dataset)))
        if theirs:
            findings += leak_findings(prints, theirs, where)
    return findings


def _default(data: str) -> dict[str, Dataset]:
    try:
        dataset = open_dataset(data, EVALUATION)
    except DatasetError:  # no such split; the doctor says that nothing was compared
        return {}
    return {EVALUATION: dataset} if dataset.classes else {}  # without labels nothing is scored


def _unreadable(where: str, reasons: Sequence[str], total: int) -> Finding:
    text = (
        f"{counted(len(reasons), total)} unreadable in {where} ({'; '.join(reasons[:NAMED])}): "
        "whether they are among the calibration frames is not known; replace or delete them"
    )
    return Finding("unreadable", text)


def _parts(name: str, data: str) -> tuple[str, str]:
    """SPEC and split of an `--against`."""
    if ":" not in name:
        return data, name
    spec, slash, split = name.rpartition("/")
    if not slash or not split or ":" not in spec:
        raise UsageError(f"--against {name}: expected a split, or SPEC/SPLIT as in camvid:DIR/val")
    return spec, split


def _evaluation_split(split: str) -> Finding:
    text = (
        f"{split} is the split that reports are measured on: calibrated on it, a model's scores "
        "there look better than they are; calibrate on train, or name the split that scores are "
        "measured on with --against"
    )
    return Finding("evaluation-split", text)
