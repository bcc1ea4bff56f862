"""A bundle: one folder with everything that is needed to run a model, every file hash-checked."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.atomic import replacing_folder, write_bytes, write_text
from engines.choice import fastest, read_report, timed_rows
from engines.failures import Refused, UsageError
from engines.manifest import NAME, BundleFile, Manifest, find
from engines.spec import CrfParams, ModelSpec
from engines.trust import read_trusted, withdraw

CPU_FLAVOUR = {"int8": "u8", "mixed": "u8"}  # the s8 graphs are TensorRT's: float speed on a CPU
REPORT = "reports/accuracy"  # stems: `Bundle._store` completes the names
CRF_REPORT = "reports/crf"
PILLOW_RAISES = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Golden:
    """One frame that ships with the bundle, and the labels FP32 gave it at build time."""

    frame: NDArray[np.uint8]  # [H, W, 3]
    labels: NDArray[np.uint8]  # [H, W]


class Bundle:
    """A verified bundle on disk. `Bundle.open` is the only way in."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @staticmethod
    def open(root: Path) -> Bundle:
        """Load the manifest and verify every listed file; a mismatch raises `Refused`."""
        bundle = Bundle(root, Manifest.load(root))
        for file in bundle.manifest.files:
            bundle.read(file)
        return bundle

    @property
    def spec(self) -> ModelSpec:
        """The spec of the bundled model."""
        return self.manifest.spec

    def read(self, file: BundleFile) -> bytes:
        """The bytes of a file, checked against the manifest before anybody parses them.

        Raises:
            Refused: See `engines.trust.read_trusted`; or the content is not what was built.
        """
        data = read_trusted(self.root, file.name, file.bytes)
        digest = hashlib.sha256(data).hexdigest()
        if digest != file.sha256:
            raise Refused(
                f"{self.root / file.name} is not the file that was built: sha256 {digest[:12]}…, "
                f"manifest says {file.sha256[:12]}…; build the bundle again"
            )
        return data

    def graph(
        self, precision: str, flavour: str | None = None, target: str | None = None
    ) -> BundleFile:
        """The ONNX file of a precision; `flavour` u8 or s8 for INT8, by default the CPU's.

        The one that was made for `target` alone, or else the one for all of the flavour's targets.
        """
        facts = {"precision": precision, "flavour": flavour or CPU_FLAVOUR.get(precision)}
        own = self.manifest.find("onnx", **facts, target=target)
        file = own or self.manifest.find("onnx", **facts, target=None)
        if file is None:
            built = sorted(
                {f.precision for f in self.manifest.files if f.kind == "onnx" and f.precision}
            )
            raise UsageError(
                f"this bundle has no {precision} graph, only {', '.join(built)}: "
                f"build it with python export/build_engine.py --{precision}"
            )
        return file

    def plan(self, target: str, precision: str) -> BundleFile | None:
        """The TensorRT plan for a target and precision, if one was built."""
        return self.manifest.find("plan", target=target, precision=precision)

    def golden(self) -> list[Golden]:
        """The bundled golden frames with their FP32 labels."""
        files = self.manifest.files
        frames = [f for f in files if f.kind == "golden-frame"]
        labels = [f for f in files if f.kind == "golden-labels"]
        if len(frames) != len(labels):
            raise Refused(
                f"{self.root} has {len(frames)} golden frames and {len(labels)} of their labels: "
                "build the bundle again"
            )
        pairs = zip(frames, labels, strict=True)
        return [Golden(self._picture(f), self._picture(label)) for f, label in pairs]

    def report(self) -> dict[str, Any] | None:
        """The accuracy report stored in this bundle by `calibration/report.py`, or None."""
        file = self.manifest.find("report")
        return None if file is None else read_report(self.read(file))

    def choose_precision(self, target: str) -> tuple[str, str]:
        """The fastest precision within the report's gate, and why in one sentence.

        Without a report it is the precision that the bundle was built for, or has a plan in.
        """
        report = self.report()
        best = fastest(report, target)
        if report is not None and best is not None:
            precision = str(best["precision"])
            return precision, (
                f"{precision}: fastest within {float(report['gate']['max_drop']):g} points of FP32 "
                f"({best['p50_ms']:.1f} ms, drop {best['drop']:.2f}{_only(report)})"
            )
        timed = timed_rows(report, target)
        built = "fp32" if timed else self._built_for(target)
        why = "no precision is within the gate" if timed else "no accuracy report for this target"
        return (
            built,
            f"{built}: {why}; measure with python calibration/report.py --bundle {self.root}",
        )

    def add_report(self, report: dict[str, Any]) -> Bundle:
        """Store an accuracy report in the bundle (replacing an older one); the updated bundle."""
        return self._store(self.manifest, "report", REPORT, report)

    def set_crf(self, params: CrfParams | None, evidence: dict[str, Any]) -> Bundle:
        """Make `params` (None: off) the model's CRF, and store why; the updated bundle.

        Ranges and graphs stay valid: the spec's fingerprint leaves the CRF out.
        """
        spec = replace(self.spec, crf=params)
        return self._store(replace(self.manifest, spec=spec), "crf-report", CRF_REPORT, evidence)

    def crf_report(self) -> dict[str, Any] | None:
        """The evidence that `calibration/tune_crf.py` stored in this bundle, or None."""
        file = self.manifest.find("crf-report")
        return None if file is None else dict(json.loads(self.read(file)))

    def _store(self, manifest: Manifest, kind: str, stem: str, data: dict[str, Any]) -> Bundle:
        """Write the one file of a kind, then the manifest that lists it, then drop the old file.

        The name bears the content's hash: an interruption at any moment leaves a bundle that opens.
        """
        text = (json.dumps(data, indent=1) + "\n").encode()
        new = _describe(f"{stem}-{hashlib.sha256(text).hexdigest()[:12]}.json", text, kind)
        old = [file for file in manifest.files if file.kind == kind]
        others = tuple(file for file in manifest.files if file.kind != kind)
        manifest = replace(manifest, files=(*others, new))
        write_bytes(self.root / new.name, text)
        write_text(self.root / NAME, json.dumps(manifest.to_json(), indent=1) + "\n")
        for file in old:
            if file.name != new.name:
                (self.root / file.name).unlink(missing_ok=True)
        return Bundle(self.root, manifest)

    def _built_for(self, target: str) -> str:
        """The bundle's own precision, or that of the target's first plan if there is none in it."""
        files = self.manifest.files
        plans = [str(f.precision) for f in files if f.kind == "plan" and f.target == target]
        own = self.manifest.precision
        return own if own in plans or not plans else plans[0]

    def _picture(self, file: BundleFile) -> NDArray[np.uint8]:
        """A golden frame or its labels; the size is looked at before a pixel is decoded."""
        height, width = self.spec.input_size
        try:
            picture = Image.open(io.BytesIO(self.read(file)))
            if picture.size != (width, height):
                raise Refused(f"{file.name} is {picture.size}, the model's frames {width, height}")
            return np.asarray(picture)
        except PILLOW_RAISES as error:
            raise Refused(f"{file.name} is no picture ({error}): build the bundle again") from None


class BundleWriter:
    """Collects the files of a new bundle in a temporary folder; see `writing_bundle`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[BundleFile] = []

    def path(self, name: str) -> Path:
        """Where to write the file `name` before it is `add`ed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, name: str, kind: str, **facts: str | None) -> BundleFile:
        """List a file that now stands at `path(name)`."""
        file = _describe(name, self.path(name).read_bytes(), kind, **facts)
        self.files.append(file)
        return file

    def add_bytes(self, name: str, data: bytes, kind: str, **facts: str | None) -> BundleFile:
        """Write and list a file."""
        self.path(name).write_bytes(data)
        return self.add(name, kind, **facts)

    def search(self, kind: str, **facts: str | None) -> BundleFile | None:
        """The file that was added with these facts, or None."""
        return find(self.files, kind, **facts)

    def find(self, kind: str, **facts: str | None) -> BundleFile:
        """The file that was added with these facts; without it the build cannot go on."""
        file = self.search(kind, **facts)
        if file is None:
            wanted = " ".join(str(fact) for fact in (*facts.values(), kind) if fact)
            raise UsageError(
                f"this bundle has no {wanted}: build it from its checkpoint or ONNX file with "
                "--data SPEC, which calibration takes its frames from"
            )
        return file

    def read(self, file: BundleFile) -> bytes:
        """The bytes of a file that was added."""
        return (self.folder / file.name).read_bytes()

    def add_golden(self, golden: list[Golden]) -> None:
        """Store golden frames and their FP32 labels as PNG."""
        for index, item in enumerate(golden):
            for kind, picture in (("frame", item.frame), ("labels", item.labels)):
                name = f"golden/{index}.{kind}.png"
                Image.fromarray(picture).save(self.path(name))
                self.add(name, f"golden-{kind}")

    def finish(self, manifest: Manifest) -> Manifest:
        """Write `manifest.json` with the files that were added."""
        manifest = replace(manifest, files=tuple(self.files))
        (self.folder / NAME).write_text(json.dumps(manifest.to_json(), indent=1) + "\n")
        return manifest


@contextlib.contextmanager
def writing_bundle(root: Path) -> Iterator[BundleWriter]:
    """Write a bundle that replaces `root` as a whole, or leaves it alone if anything fails.

    Only a folder that is a bundle (or empty, or absent) is ever replaced.
    """
    if root.exists() and not root.is_dir():
        raise Refused(f"{root} is a file: give --out a folder")
    if root.is_dir() and any(root.iterdir()) and not _is_bundle(root):
        raise Refused(f"{root} is not empty and no bundle: give --out another folder")
    with replacing_folder(root) as folder:
        yield BundleWriter(folder)
        withdraw(folder)


def _only(report: dict[str, Any]) -> str:
    """That a report covers a part of its frames only, which a drop needs to be read with."""
    measured, all_of_them = report.get("images"), report.get("images_in_split")
    return "" if measured == all_of_them else f" on {measured} of {all_of_them} frames"


def _is_bundle(root: Path) -> bool:
    """Whether a manifest of ours is there, be it damaged: web applications have a manifest.json,
    too, and their folder is not to be replaced."""
    if not (root / NAME).is_file():
        return False
    try:
        data = json.loads((root / NAME).read_bytes())
    except (ValueError, RecursionError):
        return True
    return isinstance(data, dict) and "digest" in data


def _describe(name: str, data: bytes, kind: str, **facts: str | None) -> BundleFile:
    return BundleFile(name, kind, hashlib.sha256(data).hexdigest(), len(data), **facts)
