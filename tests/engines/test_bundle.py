"""Bundles: what was built is what is loaded, or the reason why not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, Golden, writing_bundle
from engines.failures import Refused, UsageError
from engines.manifest import Manifest
from engines.spec import CrfParams, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    architecture="none",
    classes=("Road", "Sky"),
    palette=((1, 2, 3), (4, 5, 6)),
    input_size=(32, 48),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def write(root: Path, graph: bytes = b"graph") -> Path:
    """A bundle with one graph, one plan and one golden frame; returns its folder."""
    frame = np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)
    with writing_bundle(root) as writer:
        writer.add_bytes("fp32.onnx", graph, "onnx", precision="fp32")
        writer.add_bytes("int8_u8.onnx", graph, "onnx", precision="int8", flavour="u8")
        facts = {"precision": "int8", "target": "tensorrt"}
        writer.add_bytes("tensorrt.int8.plan", b"plan", "plan", **facts)
        writer.add_golden([Golden(frame, frame[..., 0])])
        writer.finish(Manifest(SPEC, "int8", ()))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle")


def test_what_was_written_is_what_is_read(root: Path) -> None:
    bundle = Bundle.open(root)
    assert bundle.spec == SPEC
    assert bundle.read(bundle.graph("fp32")) == b"graph"
    assert bundle.graph("int8").flavour == "u8"
    plan = bundle.plan("tensorrt", "int8")
    assert plan is not None
    assert bundle.read(plan) == b"plan"
    (golden,) = bundle.golden()
    np.testing.assert_array_equal(golden.frame[..., 0], golden.labels)


@pytest.mark.parametrize("name", ["fp32.onnx", "tensorrt.int8.plan", "golden/0.frame.png"])
def test_one_flipped_byte_is_refused_and_named(root: Path, name: str) -> None:
    data = bytearray((root / name).read_bytes())
    data[len(data) // 2] ^= 1
    (root / name).write_bytes(bytes(data))
    with pytest.raises(Refused, match=name):
        Bundle.open(root)


def test_a_truncated_or_missing_file_is_refused(root: Path) -> None:
    (root / "fp32.onnx").write_bytes(b"gra")
    with pytest.raises(Refused, match=r"fp32\.onnx"):
        Bundle.open(root)
    (root / "fp32.onnx").unlink()
    with pytest.raises(Refused, match="cannot be read"):
        Bundle.open(root)


def test_an_edited_manifest_is_refused(root: Path) -> None:
    path = root / "manifest.json"
    data = json.loads(path.read_text())
    data["spec"]["mean"] = [127.5, 127.5, 127.5]
    path.write_text(json.dumps(data))
    with pytest.raises(Refused, match="altered"):
        Bundle.open(root)


def test_a_manifest_cannot_reach_outside_its_folder(root: Path) -> None:
    manifest = Manifest.load(root)
    (root.parent / "secret").write_bytes(b"graph")
    file = manifest.files[0].__class__(**{**vars(manifest.files[0]), "name": "../secret"})
    with pytest.raises(Refused, match="outside"):
        Bundle(root, manifest).read(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"digest": 1}', "not json"])
def test_a_damaged_manifest_is_refused(root: Path, text: str) -> None:
    (root / "manifest.json").write_text(text)
    with pytest.raises(Refused, match="manifest"):
        Bundle.open(root)


def test_no_bundle_names_the_command_that_builds_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"python export/build_engine\.py"):
        Bundle.open(tmp_path / "none")


def test_a_precision_that_was_not_built_names_its_flag(root: Path) -> None:
    with pytest.raises(UsageError, match="--fp16"):
        Bundle.open(root).graph("fp16")


def test_a_failed_rebuild_keeps_the_old_bundle(root: Path) -> None:
    with pytest.raises(RuntimeError), writing_bundle(root) as writer:
        writer.add_bytes("fp32.onnx", b"new", "onnx", precision="fp32")
        raise RuntimeError
    bundle = Bundle.open(root)
    assert bundle.read(bundle.graph("fp32")) == b"graph"
    assert [p.name for p in root.parent.iterdir()] == ["bundle"]


def test_a_rebuild_replaces_the_bundle_as_a_whole(root: Path) -> None:
    (root / "left-over").write_text("of the old build")
    bundle = Bundle.open(write(root, b"new"))
    assert bundle.read(bundle.graph("fp32")) == b"new"
    assert not (root / "left-over").exists()


def test_a_folder_with_somebody_elses_manifest_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web application", "icons": []}')
    with pytest.raises(Refused, match="no bundle"), writing_bundle(tmp_path):
        pass
    assert (tmp_path / "manifest.json").exists()


def test_a_bundle_whose_manifest_is_damaged_can_be_built_again(root: Path) -> None:
    (root / "manifest.json").write_bytes(b"")
    with writing_bundle(root) as writer:
        writer.add_bytes("new.onnx", b"new", "onnx", precision="fp32")
        writer.finish(Manifest(SPEC, "fp32", ()))
    assert [file.name for file in Bundle.open(root).manifest.files] == ["new.onnx"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match="no bundle"), writing_bundle(tmp_path):
        pass
    assert (tmp_path / "thesis.tex").exists()


def row(precision: str, p50: float | None, drop: float, target: str = "cpu") -> dict[str, object]:
    return {
        "target": target, "precision": precision, "p50_ms": p50, "drop": drop, "shipped": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row("fp32", 40, 0), row("int8", 15, 0.3)], "int8"),
        ([row("fp32", 40, 0), row("int8", 15, 1.3)], "fp32"),
        ([row("fp32", 40, 0), row("fp16", 50, 0), row("int8", 60, 0.1)], "fp32"),
        ([row("fp16", None, 0)], "int8"),  # never timed: what the bundle was built for
    ],
)
def test_auto_is_the_fastest_within_the_gate(
    root: Path, rows: list[dict[str, object]], chosen: str
) -> None:
    bundle = Bundle.open(root).add_report({"rows": rows, "gate": {"max_drop": 1.0}})
    assert bundle.choose_precision("cpu")[0] == chosen
    assert Bundle.open(root).choose_precision("cpu")[0] == chosen


def test_auto_tells_when_a_part_of_the_frames_was_measured(root: Path) -> None:
    report = {"rows": [row("int8", 15, 0.3)], "gate": {"max_drop": 1.0}, "images_in_split": 101}
    few = Bundle.open(root).add_report({**report, "images": 2})
    assert few.choose_precision("cpu")[1].endswith("(15.0 ms, drop 0.30 on 2 of 101 frames)")
    whole = few.add_report({**report, "images": 101})
    assert whole.choose_precision("cpu")[1].endswith("(15.0 ms, drop 0.30)")


def test_each_target_has_its_own_fastest_precision(root: Path) -> None:
    rows = [row("fp32", 40, 0), row("int8", 15, 0.3), row("fp16", 9, 0, "openvino")]
    bundle = Bundle.open(root).add_report({"rows": rows, "gate": {"max_drop": 1.0}})
    assert bundle.choose_precision("cpu")[0] == "int8"
    assert bundle.choose_precision("openvino")[0] == "fp16"


def test_auto_heeds_neither_tries_nor_rows_with_the_crf(root: Path) -> None:
    fp32 = row("fp32", 40, 0)
    others = [{**row("int8", 15, 0.3), "shipped": False}, {**row("int8", 20, -0.5), "crf": "fast"}]
    bundle = Bundle.open(root).add_report({"rows": [fp32, *others], "gate": {"max_drop": 1.0}})
    assert bundle.choose_precision("cpu")[0] == "fp32"


@pytest.mark.parametrize(("person", "chosen"), [(0.4, "int8"), (0.6, "fp32"), (None, "fp32")])
def test_auto_heeds_the_limits_of_single_classes(
    root: Path, person: float | None, chosen: str
) -> None:
    rows = [
        {**row("fp32", 40, 0), "class_drop": {"person": None if person is None else 0.0}},
        {**row("int8", 15, 0.3), "class_drop": {"person": person}},
    ]
    gate = {"max_drop": 1.0, "max_class_drop": {"person": 0.5}}
    bundle = Bundle.open(root).add_report({"rows": rows, "gate": gate})
    assert bundle.choose_precision("cpu")[0] == chosen


CRF = CrfParams(w1=2, sigma_alpha=40, sigma_beta=5, w2=1, sigma_gamma=1, iterations=2)


def test_a_tuned_crf_is_in_the_spec_with_its_evidence_and_every_hash_holds(root: Path) -> None:
    before = Bundle.open(root)
    assert before.crf_report() is None
    before.set_crf(CRF, {"verdict": "helps"})
    after = Bundle.open(root)
    assert after.spec.crf == CRF
    assert after.spec.fingerprint() == before.spec.fingerprint()
    assert after.crf_report() == {"verdict": "helps"}
    assert after.manifest.files[:-1] == before.manifest.files


def test_tuning_again_replaces_the_evidence_and_may_switch_the_crf_off(root: Path) -> None:
    bundle = Bundle.open(root).add_report({"rows": [], "gate": {"max_drop": 1.0}})
    bundle.set_crf(CRF, {"verdict": "helps"}).set_crf(None, {"verdict": "off"})
    after = Bundle.open(root)
    assert after.spec.crf is None
    assert after.crf_report() == {"verdict": "off"}
    assert after.report() == {"rows": [], "gate": {"max_drop": 1.0}}
    listed = {file.name for file in after.manifest.files if file.name.startswith("reports/")}
    assert {f"reports/{path.name}" for path in (root / "reports").iterdir()} == listed
    assert len(listed) == 2


def test_an_interrupted_update_leaves_a_bundle_that_opens(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(root).set_crf(CRF, {"verdict": "helps"})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engines.bundle.write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.set_crf(None, {"verdict": "off"})
    assert Bundle.open(root).spec.crf == CRF
    assert Bundle.open(root).crf_report() == {"verdict": "helps"}


def test_a_graph_made_for_a_target_goes_before_the_shared_one(root: Path) -> None:
    bundle = Bundle.open(root)
    shared = bundle.graph("int8")
    assert bundle.graph("int8", target="openvino") == shared
    own = dataclasses.replace(shared, name="own.onnx", target="openvino")
    bundle.manifest = dataclasses.replace(bundle.manifest, files=(*bundle.manifest.files, own))
    assert bundle.graph("int8", target="openvino") == own
    assert bundle.graph("int8") == bundle.graph("int8", target="cpu") == shared


def test_auto_without_a_report_is_what_was_built(root: Path) -> None:
    precision, why = Bundle.open(root).choose_precision("cpu")
    assert precision == "int8"
    assert "calibration/report.py" in why
