"""`manifest.json`: what a bundle is and what each of its files is; never the file's name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.failures import MALFORMED, Refused
from engines.spec import ModelSpec, canonical_json
from engines.trust import MANIFEST, read_trusted

FORMAT = 1
NAME = "manifest.json"
PRECISIONS = ("fp32", "fp16", "int8", "mixed")
CPU_TARGETS = ("cpu", "openvino")  # onnxruntime and OpenVINO: they load ONNX graphs, not plans
TARGETS = (*CPU_TARGETS, "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle.

    `kind` is checkpoint, onnx, plan, sidecar, plan-source (a graph written for one plan alone),
    golden-frame, golden-labels, report or crf-report;
    of calibration: ranges, try, choice, mixed, mixed-plot, calibration-input, and probe, a graph
    that shows what clips. `flavour` is u8 or s8 for INT8 graphs; `target` is set for plans, their
    sidecars, and graphs made for one target alone.
    """

    name: str
    kind: str
    sha256: str
    bytes: int
    precision: str | None = None
    flavour: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        texts = (self.name, self.kind, self.sha256)
        facts = (self.precision, self.flavour, self.target)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.bytes, int):
            raise ValueError(f"the entry of {self.name!r} is malformed")
        if not all(fact is None or isinstance(fact, str) for fact in facts):
            raise ValueError(f"the facts of {self.name!r} are malformed")


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`; `precision` is the one the bundle was built for."""

    spec: ModelSpec
    precision: str
    files: tuple[BundleFile, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        facts = isinstance(self.provenance, dict) and isinstance(self.tools, dict)
        if not facts or not isinstance(self.precision, str):
            raise ValueError("its precision, provenance or tools are malformed")

    def find(self, kind: str, **facts: str | None) -> BundleFile | None:
        """The one file of this kind with these facts, or None."""
        return find(self.files, kind, **facts)

    def to_json(self) -> dict[str, Any]:
        """JSON data with a `digest` over its own canonical form."""
        # Through JSON once, so that tuples digest as the lists they will be read back as.
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        data["digest"] = _digest(data)
        return data

    @staticmethod
    def load(folder: Path) -> Manifest:
        """Read and check a bundle's manifest; a missing or altered one raises `Refused`."""
        path = folder / NAME
        try:
            if not path.exists():
                raise Refused(
                    f"no bundle at {folder}: build one with python export/build_engine.py --int8"
                )
            data: dict[str, Any] = json.loads(read_trusted(folder, NAME, limit=MANIFEST))
            digest = data.pop("digest")
            if digest != _digest(data):
                raise Refused(f"{path} was altered after the build: build the bundle again")
            if data["format"] != FORMAT:
                raise Refused(f"{path} has format {data['format']}, this version reads {FORMAT}")
            data["files"] = tuple(BundleFile(**file) for file in data["files"])
            data["spec"] = ModelSpec.from_json(data["spec"])
            return Manifest(**data)
        except (OSError, *MALFORMED) as error:
            raise Refused(f"{path} is not a valid manifest: {error}") from error


def find(files: Sequence[BundleFile], kind: str, **facts: str | None) -> BundleFile | None:
    """The first file of this kind with these facts, or None."""
    for file in files:
        if file.kind == kind and all(getattr(file, k) == v for k, v in facts.items()):
            return file
    return None


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
