"""Whether the frames to calibrate on are among those that scores are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.duplicates import Fingerprint, leak_findings
from calibration.examination import prints_of
from calibration.findings import Finding
from engines.failures import UsageError
from scenes.dataset import DatasetError, open_dataset

EVALUATION = "val"  # the split that is looked at unless others are named


@dataclass(frozen=True)
class Leaks:
    """Warnings, and the splits that were compared."""

    splits: list[str]
    findings: list[Finding]


def look_for_leaks(
    data: str,
    split: str,
    against: Sequence[str],
    prints: Sequence[Fingerprint],
    size: tuple[int, int],
) -> Leaks:
    """Compare the frames of `split` with other splits, each a split of `data` or SPEC/SPLIT.

    Without any named it is the evaluation split, if there is one; if that is `split` itself, that
    is the warning. A named split that is `split` itself is a `UsageError`.
    """
    if not against and split == EVALUATION:
        return Leaks([], [_evaluation_split(split)])
    result = Leaks([], [])
    for name in against or (EVALUATION,):
        spec, other = _parts(name, data)
        if (spec, other) == (data, split):
            raise UsageError(
                f"--against {name} is the split that is examined: name the one that scores are "
                "measured on"
            )
        try:
            evaluation = prints_of(open_dataset(spec, other), size)
        except DatasetError:
            if against:
                raise
            continue
        where = other if spec == data else f"{spec} {other}"
        result.splits.append(where)
        result.findings.extend(leak_findings(prints, evaluation, where))
    return result


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
