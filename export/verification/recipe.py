"""The verification itself: frames, graphs, engines, then the judgement."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.frames import CalibrationFrames
from engines.bundle import Bundle
from engines.failures import Refused
from engines.gpu_facts import probe_gpu
from engines.machine import describe_machine
from export.progress import tell
from export.verification.backends import Backend, on_onnxruntime, on_openvino, on_tensorrt
from export.verification.columns import Frame
from export.verification.fused import FusedRow, fused_row
from export.verification.graphs import Candidate, candidate, candidates
from export.verification.measure import Measured, measure
from export.verification.report import Report
from export.verification.untouched import EngineRow, Untouched, on_cpu, plan_engines
from export.verification.verdict import (
    INT8_AGREEMENT,
    INT8_DB,
    Finding,
    Limits,
    findings,
    first_layer,
    verdict,
)
from scenes.dataset import open_dataset, spread

if TYPE_CHECKING:
    from export.verify import Options

PACKAGES = ("onnxruntime", "numpy", "torch", "onnx", "openvino", "tensorrt-rtx-cu13", "tensorrt")
RTX = "tensorrt-rtx"


def verify(options: Options) -> Report:
    """Measure a bundle and judge it."""
    bundle = Bundle.open(options.bundle)
    chosen, copies = candidates(bundle, options.precision, options.target)
    frames = open_frames(bundle, options)
    machine = describe_machine(*PACKAGES)  # before measuring, so that the load is others'
    notes = remarks(bundle, chosen, options)
    with ExitStack() as lifetime:
        engines = open_engines(bundle, chosen, options)
        measured = measure(
            bundle, chosen, frames, engines, tapped_target(options),
            backend_of(options.target, lifetime),
        )  # fmt: skip
    rows = [engine.row() for engine in engines]
    fused = read_fused(bundle, chosen, options)
    limits = Limits(
        INT8_DB if options.min_sqnr is None else options.min_sqnr,
        INT8_AGREEMENT if options.min_agreement is None else options.min_agreement,
    )
    found = findings(measured, rows, fused, limits)
    first = first_layer(found)
    oracle = [error.max_abs for error in measured.oracle]
    return Report(
        model=bundle.spec.name,
        verdict=verdict(measured, rows, found),
        passed=not found,
        first=first,
        remedy=None if first is None else remedy(bundle, first),
        findings=found,
        label_agreement=agreement(rows, copies),
        oracle_max_abs=max((x for x in oracle if x is not None), default=None),
        reference=measured.reference,
        frames=len(frames),
        data=options.data or "the bundle's own frames",
        limits=limits,
        layers=measured.rows,
        oracle=measured.oracle,
        engines=rows,
        fused=fused,
        copies=copies,
        notes=[*notes, *unseen(measured)],
        source=str(bundle.manifest.provenance.get("source", "?")),
        input_size=bundle.spec.input_size,
        machine=machine,
    )


def open_frames(bundle: Bundle, options: Options) -> Sequence[Frame]:
    """The frames of `--data`, decoded on access, or the bundle's golden ones."""
    if options.data is None:
        return [golden.frame for golden in bundle.golden()][: options.frames]
    dataset = open_dataset(options.data, options.split)
    if not len(dataset):
        raise Refused(f"{options.data} has no frame in split {options.split}: try another --split")
    return CalibrationFrames(dataset, bundle.spec.input_size, spread(len(dataset), options.frames))


def open_engines(bundle: Bundle, chosen: Sequence[Candidate], options: Options) -> list[Untouched]:
    """The files to run untouched: every graph on onnxruntime, and what the target runs."""
    fp32 = bundle.manifest.find("onnx", precision="fp32", flavour=None, target=None)
    assert fp32 is not None  # `candidates` has refused a bundle without one
    graphs = [candidate(bundle, "fp32", fp32), *chosen]
    engines = [on_cpu(bundle, graph) for graph in graphs]
    if options.target == "openvino":
        engines += [
            on_cpu(bundle, graph, "openvino") for graph in graphs if graph.runs_on("openvino")
        ]
    elif runs_plans(options.target):
        engines += plan_engines(bundle, options.target, options.precision)
    return engines


def runs_plans(target: str) -> bool:
    """Whether plans of a target are to be run: those of RTX can be read without a GPU."""
    return target == "tensorrt" or (target == RTX and probe_gpu() is not None)


def tapped_target(options: Options) -> str:
    """The target whose engines get taps."""
    plans = options.target.startswith("tensorrt")
    return "cpu" if plans and not runs_plans(options.target) else options.target


def backend_of(target: str, lifetime: ExitStack) -> Backend:
    """What runs the graphs of a target with taps."""
    if target == "openvino":
        return on_openvino
    return on_tensorrt(target, lifetime) if runs_plans(target) else on_onnxruntime


def read_fused(bundle: Bundle, chosen: Sequence[Candidate], options: Options) -> list[FusedRow]:
    """How TensorRT for RTX fuses the graphs that it would be given, if it is asked for."""
    if options.target != RTX:
        return []
    from export.plans.library import load_library

    trt = load_library(RTX)
    own = {graph.file.precision for graph in chosen if graph.file.target == RTX}
    rows = []
    for graph in chosen:
        other = graph.file.target is None and graph.file.precision in own
        if graph.runs_on(RTX) and not other:
            tell(f"{graph.name} on {RTX}, built twice")
            rows.append(fused_row(bundle, graph, trt))
    return rows


def remarks(bundle: Bundle, chosen: Sequence[Candidate], options: Options) -> list[str]:
    """What a reader must know about what was not done."""
    notes = []
    if bundle.manifest.find("checkpoint") is None:
        notes.append(
            "made from an ONNX file: there is no network in PyTorch to compare with, so the FP32 "
            "graph is the reference, and the explicit loop takes weights and rates from it"
        )
    if not options.precision and not any(graph.int8 for graph in chosen):
        notes.append("no INT8 graph in this bundle: build it with --int8 --data SPEC")
    if options.target == RTX and not runs_plans(RTX):
        notes.append("no NVIDIA GPU here: plans were built and read, not run")
    return notes


def unseen(measured: Measured) -> list[str]:
    """The layers that could not be compared, in words."""
    if not measured.unseen:
        return []
    return [f"not compared, as PyTorch has no result of that name: {', '.join(measured.unseen)}"]


def agreement(rows: Sequence[EngineRow], copies: dict[str, str]) -> dict[str, float]:
    """The share of FP32's labels by graph, copies included; of other targets `name on target`."""
    shares = {
        row.precision if row.target == "cpu" else f"{row.precision} on {row.target}":
        row.label_agreement
        for row in rows
    }  # fmt: skip
    return shares | {copy: shares[name] for copy, name in copies.items()}


def remedy(bundle: Bundle, first: Finding) -> str:
    """What to type: an INT8 layer is kept in float; a float graph has to be exported again."""
    source = str(bundle.manifest.provenance.get("source", "CHECKPOINT"))
    command = ["python", "export/build_engine.py", "--int8"]
    if source.endswith(".onnx"):
        command += ["--onnx", source]
    else:
        from train.checkpoint import WEIGHTS

        shipped = (WEIGHTS / source).is_file()
        command += ["--model", Path(source).stem] if shipped else ["--checkpoint", source]
    excluded = list(map(str, bundle.manifest.provenance.get("excluded") or ()))  # as it was built
    if first.layer is not None and first.precision.startswith(("int8", "mixed")):
        excluded.append(first.layer)
    for layer in dict.fromkeys(excluded):
        command += ["--exclude", layer]
    return shlex.join([*command, "--out", str(bundle.root)])
