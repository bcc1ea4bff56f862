"""Frames that are there twice, or nearly, within a set and across two sets.

Equal pixels show in a SHA-256; nearly equal ones in a difference hash: the frame shrunk to 16 rows
of 17 grey values, and for each neighbouring pair of a row which one is brighter, 256 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration.frame_checks.findings import Finding, counted, listed
from calibration.frame_checks.looks import LUMA, Frame
from engines.preprocess import fit_frame

SIDE = 16
# Bits in which two hashes of nearly the same picture differ at most. A frame and its JPEG at
# quality 60, at half the size or darker by a fifth: up to 18 on CamVid and the street. CamVid's val
# frames, 0.13 s apart: 14 in the median; its train frames, a second apart: 63 in the median, below
# 25 where the car stands still; different views of the street: 63 and more.
NEAR = 24
MANY = 0.25  # share of near-duplicates from which on they are worth a warning


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a frame: the digest of its pixels, and the bits of its hash."""

    name: str
    digest: bytes
    bits: NDArray[np.bool_] = field(repr=False)  # [SIDE * SIDE]


def fingerprint(name: str, frame: Frame) -> Fingerprint:
    """The fingerprint of a frame [H, W, 3] of any size."""
    luma = fit_frame(frame, (SIDE, SIDE + 1)) @ LUMA
    bits = (luma[:, 1:] > luma[:, :-1]).ravel()
    shape = str(frame.shape).encode()
    return Fingerprint(name, hashlib.sha256(shape + frame.tobytes()).digest(), bits)


@dataclass(frozen=True)
class Groups:
    """How a set falls into groups of frames that look the same.

    `nearest` has, for each frame but the first, the bits to the most similar earlier frame.
    """

    copies: tuple[str, ...]  # frames with exactly an earlier frame's pixels
    near: tuple[str, ...]  # other frames that look like the first of a group before them
    distinct: int  # groups
    nearest: NDArray[np.int64]


def group(prints: Sequence[Fingerprint]) -> Groups:
    """Each frame joins the first earlier group whose first frame it resembles, or begins one."""
    seen: set[bytes] = set()
    copies, near, leaders = [], [], list[NDArray[np.bool_]]()
    nearest = np.zeros(max(0, len(prints) - 1), np.int64)
    bits = np.array([item.bits for item in prints], bool)
    for index, item in enumerate(prints):
        if index:
            nearest[index - 1] = distances(item.bits, bits[:index]).min()
        if item.digest in seen:
            copies.append(item.name)
        elif leaders and distances(item.bits, np.array(leaders)).min() <= NEAR:
            near.append(item.name)
        else:
            leaders.append(item.bits)
        seen.add(item.digest)
    return Groups(tuple(copies), tuple(near), len(leaders), nearest)


def distances(bits: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.int64]:
    """In how many bits a hash differs from each of others [N, bits]."""
    return np.asarray((others != bits).sum(axis=1), np.int64)


def duplicate_findings(groups: Groups, total: int) -> list[Finding]:
    """A warning for copies, and one if a set of `total` frames is much smaller than it looks."""
    findings = []
    if groups.copies:
        text = (
            f"{counted(len(groups.copies), total)} pixel for pixel an earlier one "
            f"({listed(groups.copies)}): files were copied, or the camera froze; delete them, for "
            "they count several times in averages and percentiles"
        )
        findings.append(Finding("duplicates", text, groups.copies))
    if len(groups.near) > MANY * total:
        text = (
            f"{counted(len(groups.near), total)} nearly like an earlier one "
            f"({listed(groups.near)}): consecutive frames of a video, or a camera that stands "
            f"still; as calibration data the set is worth {groups.distinct} different frames: take "
            "fewer frames, further apart, from more places"
        )
        findings.append(Finding("near-duplicates", text, groups.near))
    return findings


def leak_findings(
    prints: Sequence[Fingerprint], evaluation: Sequence[Fingerprint], where: str
) -> list[Finding]:
    """Frames that are also in the evaluation split `where`: as they are, or nearly."""
    digests = {item.digest for item in evaluation}
    bits = np.array([item.bits for item in evaluation], bool)
    same = tuple(item.name for item in prints if item.digest in digests)
    near = tuple(
        item.name
        for item in prints
        if item.digest not in digests and distances(item.bits, bits).min() <= NEAR
    )
    findings = []
    if same:
        text = (
            f"{counted(len(same), len(prints))} also in {where} ({listed(same)}): scores there "
            "will look better than they are; take them out of one of the two (a folder: without "
            "split folders has the same frames under every split's name)"
        )
        findings.append(Finding("leak", text, same))
    if near:
        text = (
            f"{counted(len(near), len(prints))} nearly the same as one of {where} "
            f"({listed(near)}): cut from the same video; split by drive or by day, not by frame"
        )
        findings.append(Finding("near-leak", text, near))
    return findings
