"""Files of a bundle, and of a model: whatever stands in them, reading ends in one sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engines.bundle import Bundle
from engines.choice import choose_cpu_target
from engines.input_statistics import InputStatistics, curves, input_statistics
from engines.manifest import NAME, Manifest
from engines.plan_sidecar import (
    Environment,
    HashedFile,
    PlanOptions,
    PlanSidecar,
    check_profile,
    mismatches,
    rebuild_command,
    remarks,
)
from engines.ranges import Ranges, RangesKey
from engines.spec import CrfParams, ModelSpec, canonical_json, load_spec
from scenes.camvid import CLASSES, PALETTE
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import DEEP, as_text, damaged, odd, twisted

CRF = CrfParams(10, 49, 13, 3, 3, 5, 1.5)
SPEC = ModelSpec("m", "a", CLASSES, PALETTE, (96, 128), (0.0,) * 3, (1.0,) * 3, crf=CRF)


def signed(document: Any) -> bytes:
    """A manifest whose digest is right: whoever can write it can do that, too."""
    if isinstance(document, dict):
        data = {key: value for key, value in document.items() if key != "digest"}
        document = {**data, "digest": hashlib.sha256(canonical_json(data).encode()).hexdigest()}
    return as_text(document).encode()


def use_bundle(root: Path) -> None:
    """All that reading a bundle takes."""
    bundle = Bundle.open(root)
    spec = bundle.spec
    spec.check_input(np.zeros((1, *spec.input_size, 3), np.uint8))
    spec.fingerprint()
    bundle.golden()
    bundle.choose_precision("cpu")
    bundle.crf_report()
    bundle.plan("tensorrt", "int8")
    bundle.graph("fp32")


def test_manifests(fuzz: Fuzz, tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    (tmp_path / "tiny.fp32.onnx").write_bytes((tiny_bundle / "tiny.fp32.onnx").read_bytes())
    document = json.loads((tiny_bundle / NAME).read_text())
    document["spec"]["crf"] = dataclasses.asdict(CRF)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        use_bundle(tmp_path)

    fuzz(read, twisted(document).map(signed), known=[DEEP.encode(), b"", b"\xff", signed(document)])
    fuzz(read, damaged(signed(document)))


def test_model_specs(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "model.json"

    def read(text: str) -> None:
        path.write_text(text)
        spec = load_spec(path)
        height, width = spec.logits_size
        assert height >= 1
        assert width >= 1
        assert len(spec.fingerprint()) == 64
        assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    fuzz(read, twisted(SPEC.to_json()).map(as_text), known=[DEEP, "", "9" * 5000])
    fuzz(read, odd().map(as_text))


def test_plan_sidecars(fuzz: Fuzz) -> None:
    here = Environment("tensorrt", "10.3", "linux-aarch64", "Orin", "8.7", "540.4", "12.6", "MAXN")
    built = PlanSidecar(
        target="tensorrt",
        precision="int8",
        environment=here,
        compute_capabilities=("8.7",),
        plan=HashedFile("a.plan", "0" * 64),
        source=HashedFile("a.onnx", "1" * 64),
        batch=(1, 1, 4),
        size=((96, 128),) * 3,
        options=PlanOptions(1024),
        layers={"int8": 40},
    )

    def read(text: bytes) -> None:
        sidecar = PlanSidecar.parse(text)
        mismatches(sidecar, here)
        remarks(sidecar, here)
        list(check_profile(sidecar, SPEC))
        rebuild_command(Path("bundle"), "tensorrt", "int8", sidecar)
        json.dumps(sidecar.to_json())

    texts = twisted(built.to_json()).map(lambda document: as_text(document).encode())
    fuzz(read, texts, known=[DEEP.encode(), b"", b"\xff"])


def test_calibration_ranges(fuzz: Fuzz, tmp_path: Path) -> None:
    key = RangesKey("m", "s", "1", "f", "minmax")
    ranges = Ranges(
        key,
        2,
        {"a/Conv": (-1.0, 2.0)},
        {"numpy": "2"},
        {"a/Conv": [1.0, 2.0]},
        {"u8": {"a/Conv": [0.0, 0.1]}},
        {"a/Conv": 0.01},
    )
    path = tmp_path / "ranges.json"

    def read(text: str) -> None:
        path.write_text(text)
        loaded = Ranges.load(path)
        loaded.misfit(key)
        assert loaded.text()

    fuzz(read, twisted(json.loads(ranges.text())).map(as_text), known=[DEEP, "", "9" * 5000])


def test_statistics_of_calibration_frames(fuzz: Fuzz) -> None:
    frame = np.arange(96 * 128 * 3, dtype=np.uint8).reshape(96, 128, 3)
    statistics = input_statistics([frame])

    def read(text: str) -> None:
        InputStatistics.from_json(text).excess(curves(frame))

    fuzz(read, twisted(statistics.to_json()).map(as_text), known=[DEEP, "", "9" * 5000])


def test_golden_pictures(fuzz: Fuzz, tmp_path: Path) -> None:
    """A picture that the manifest vouches for, and that is none."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(stream, "PNG")

    def read(data: bytes) -> None:
        files = []
        for kind in ("frame", "labels"):
            (tmp_path / kind).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            files.append(
                {"name": kind, "kind": f"golden-{kind}", "sha256": digest, "bytes": len(data)}
            )
        document = {**Manifest(SPEC, "fp32", ()).to_json(), "files": files}
        (tmp_path / NAME).write_bytes(signed(document))
        Bundle.open(tmp_path).golden()

    fuzz(read, damaged(stream.getvalue()))


def test_accuracy_reports(fuzz: Fuzz, tmp_path: Path) -> None:
    """A report inside a bundle is data, too."""
    row = {
        "precision": "int8",
        "flavour": "u8",
        "target": "cpu",
        "shipped": True,
        "p50_ms": 5.0,
        "drop": 0.1,
        "class_drop": {"Sky": 0.2},
    }
    fp32 = {**row, "precision": "fp32", "flavour": None, "drop": 0.0, "p50_ms": 20.0}
    gate = {"max_drop": 1.0, "max_class_drop": {"Sky": 1.0}}
    report = {"rows": [fp32, row], "gate": gate, "machine": {"cpu": "x"}}

    def read(text: str) -> None:
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / "r.json").write_bytes(data)
        file = {"name": "r.json", "kind": "report", "sha256": digest, "bytes": len(data)}
        document = {**Manifest(SPEC, "fp32", ()).to_json(), "files": [file]}
        (tmp_path / NAME).write_bytes(signed(document))
        bundle = Bundle.open(tmp_path)
        precision, _ = bundle.choose_precision("cpu")
        choose_cpu_target(bundle.report(), precision)

    fuzz(read, twisted(report).map(as_text), known=[DEEP, "", "5"])
