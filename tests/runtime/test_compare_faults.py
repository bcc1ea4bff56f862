"""Fault finding: a class of an INT8 graph is damaged, and the comparison names that very class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from onnx import ModelProto, numpy_helper

from engines.bundle import Bundle
from engines.session import Session, open_session
from runtime.agreement import Agreement
from runtime.compare import ComparePath
from runtime.cpu_path import CpuPath
from runtime.source import Frame
from tests.export.faults import find, with_fault
from tests.export.small_bundles import CLASSES, frames, write_bundle

pytestmark = pytest.mark.slow

INT8 = "int8_u8.onnx"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle whose INT8 is calibrated, as a build does it."""
    return write_bundle(tmp_path_factory.mktemp("whole") / "bundle", int8="minmax")


@pytest.fixture(scope="module")
def reference(whole: Path) -> Iterator[Session]:
    with open_session(Bundle.open(whole), "fp32", "cpu", 1) as session:
        yield session


def compared(reference: Session, bundle: Path) -> Agreement:
    """FP32 of the whole bundle against INT8 of this one, on the bundle's frames."""
    agreement = Agreement(CLASSES)
    with open_session(Bundle.open(bundle), "int8", "cpu", 1) as session:
        path = ComparePath(CpuPath(reference), CpuPath(session), agreement, None)
        for index, image in enumerate(frames()):
            frame = Frame(image, index, 0.0, index / 25)
            path.label(frame, path.infer(path.prepare(frame)))
    return agreement


def lose(number: int, model: ModelProto) -> None:
    """The classifier's weights for one class become zero."""
    weight = find(model, "decoder.classifier/Conv").input[1]
    dequantize = next(node for node in model.graph.node if weight in node.output)
    tensor = next(t for t in model.graph.initializer if t.name == dequantize.input[0])
    value = numpy_helper.to_array(tensor).copy()
    value[number] = 0
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


@pytest.mark.parametrize("name", ["sky", "car"])  # 9 and 91 % of what it gives
def test_the_class_is_named(whole: Path, tmp_path: Path, reference: Session, name: str) -> None:
    number = CLASSES.index(name)
    broken = with_fault(whole, tmp_path / "broken", (INT8,), lambda model: lose(number, model))
    sound, found = compared(reference, whole), compared(reference, broken)
    assert sound.mean > 0.97
    assert found.mean < 0.95
    assert found.worst_class() == name
