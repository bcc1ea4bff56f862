"""The graphs that a report compares: a bundle's own, and the tries of its build for contrast.

A try is a scheme (calibration/scheme.py) whose ranges the build recorded; its graphs are written
anew from the bundle's FP32 graph. The naive scheme needs min-max ranges alone, so its row can be
shown wherever those are on record: it is what most tools do if one just asks for INT8.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from calibration.graphs.placement import FLAVOURS, Flavour
from calibration.scheme import NAIVE, Scheme
from engines.bundle import Bundle
from engines.failures import DeviceMissing, Refused
from engines.manifest import CPU_TARGETS, BundleFile
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.openvino_session import arithmetic_of, installed
from engines.ranges import Ranges
from engines.session import Session, open_session
from engines.spec import ModelSpec

HALF_NOTE = "FP16 weights; onnxruntime's CPU computes them in FP32"
OPENVINO_HALF_NOTES = {
    "f16": "computed in FP16: this CPU has instructions for it",
    "f32": "FP16 weights; this CPU has no FP16 arithmetic, OpenVINO computes them in FP32",
}
S8_NOTE = "TensorRT's graph, its accuracy emulated on the CPU; a CPU's time would not be TensorRT's"

# (precision, flavour) -> the target that runs the graph, and what a reader must know about it
GRAPHS: dict[tuple[str, str | None], tuple[str, str | None]] = {
    ("fp32", None): ("cpu", None),
    ("fp16", None): ("cpu", HALF_NOTE),
    ("int8", "u8"): ("cpu", None),
    ("int8", "s8"): ("tensorrt", S8_NOTE),
    ("mixed", "u8"): ("cpu", None),
    ("mixed", "s8"): ("tensorrt", S8_NOTE),
}


@dataclass(frozen=True)
class Candidate:
    """A graph to be measured and what its row says about it; `open` makes its session.

    `timed` says that the target itself runs here, so that milliseconds mean something.
    """

    precision: str
    flavour: str | None
    target: str
    method: str | None
    shipped: bool
    timed: bool
    bytes: int
    note: str | None
    spec: ModelSpec
    open: Callable[[], Session]

    @property
    def name(self) -> str:
        """Which graph, in a sentence: "int8 u8", "int8 s8 minmax"."""
        method = None if self.shipped else self.method
        return " ".join(word for word in (self.precision, self.flavour, method) if word)


@dataclass(frozen=True)
class Lineup:
    """All candidates, FP32 first; `skipped` says which engines cannot run here, and why."""

    candidates: list[Candidate]
    skipped: list[str]


def line_up(bundle: Bundle, tries: bool) -> Lineup:
    """The bundle's graphs and engines, and with `tries` those of every recorded scheme."""
    engines, skipped = plans(bundle)
    running = {(engine.precision, engine.target) for engine in engines}
    own = [g for g in graphs(bundle) if (g.precision, g.target) not in running]
    twins, refused = in_openvino(bundle, [g.precision for g in own if g.target == "cpu"])
    tried = attempts(bundle) if tries else ()
    return Lineup([*own, *twins, *engines, *tried], refused + skipped)


def graphs(bundle: Bundle) -> Iterator[Candidate]:
    """The ONNX graphs, FP32 first; onnxruntime runs them all, TensorRT's for its accuracy alone."""
    fp32_of(bundle)
    for kind, (target, note) in GRAPHS.items():
        for file in bundle.manifest.files:
            shared = file.target not in CPU_TARGETS
            if shared and file.kind == "onnx" and (file.precision, file.flavour) == kind:
                yield shipped(bundle, file, file.target or target, note_of(bundle, file, note))


def shipped(bundle: Bundle, file: BundleFile, target: str, note: str | None) -> Candidate:
    """One of the bundle's own ONNX graphs."""
    precision = str(file.precision)
    return Candidate(
        precision, file.flavour, target, method_of(bundle, precision), True, target == "cpu",
        file.bytes, note, bundle.spec,
        lambda: OnnxRuntimeSession(bundle.read(file), bundle.spec, precision),
    )  # fmt: skip


def in_openvino(bundle: Bundle, precisions: list[str]) -> tuple[list[Candidate], list[str]]:
    """The CPU's graphs in OpenVINO where that is installed, and which of them it refuses."""
    found: list[Candidate] = []
    refused: list[str] = []
    for precision in precisions if installed() else ():
        candidate = openvino_candidate(bundle, precision)
        try:
            candidate.open().close()
        except Refused as error:
            refused.append(f"{precision} in OpenVINO: {error}")
        else:
            found.append(candidate)
    return found, refused


def openvino_candidate(bundle: Bundle, precision: str) -> Candidate:
    """One of the CPU's graphs; OpenVINO's own where the build made one."""
    file = bundle.graph(precision, target="openvino")
    note = OPENVINO_HALF_NOTES[arithmetic_of(precision)] if precision == "fp16" else None
    return Candidate(
        precision, file.flavour, "openvino", method_of(bundle, precision), True, True,
        file.bytes, note_of(bundle, file, note), bundle.spec,
        lambda: open_session(bundle, precision, "openvino"),
    )  # fmt: skip


def note_of(bundle: Bundle, file: BundleFile, note: str | None) -> str | None:
    """What a reader must know about a graph, with what a mixed one keeps in float."""
    mixed = (bundle.manifest.provenance.get("mixed") or {}).get(file.flavour or "")
    if file.precision != "mixed" or not mixed:
        return note
    kept = f"{len(mixed['float_convolutions'])} convolutions stay in float"
    return f"{kept}; {note}" if note else kept


def plans(bundle: Bundle) -> tuple[list[Candidate], list[str]]:
    """The engines of other targets than the CPU that run on this machine, and why others do not."""
    engines: list[Candidate] = []
    skipped: list[str] = []
    for file in bundle.manifest.files:
        if file.kind == "plan":
            try:
                engines.append(plan(bundle, file))
            except (DeviceMissing, Refused) as error:
                skipped.append(f"{file.name}: {error}")
    return engines, skipped


def plan(bundle: Bundle, file: BundleFile) -> Candidate:
    """An engine of the bundle; `DeviceMissing` or `Refused` where this machine cannot run it."""
    precision, target = str(file.precision), str(file.target)

    def session() -> Session:
        return open_session(bundle, precision, target)

    session().close()
    method = method_of(bundle, precision)
    return Candidate(
        precision, file.flavour, target, method, True, True, file.bytes, None, bundle.spec, session
    )


def method_of(bundle: Bundle, precision: str) -> str | None:
    """How the ranges of the bundle's quantized graphs were taken; None for a float graph."""
    calibration = bundle.manifest.provenance.get("calibration") or {}
    return calibration.get("method") if precision in ("int8", "mixed") else None


def fp32_of(bundle: Bundle) -> BundleFile:
    """The graph that all others are compared with and tries are made from."""
    file = bundle.manifest.find("onnx", precision="fp32", flavour=None, target=None)
    if file is None:
        raise Refused(
            f"{bundle.root} has no FP32 graph to compare with: build it again with "
            "python export/build_engine.py"
        )
    return file


def attempts(bundle: Bundle) -> Iterator[Candidate]:
    """Each recorded scheme but the shipped one, in both flavours, written from the FP32 graph."""
    import onnx

    from calibration.graphs.quantized import quantized

    recorded = recorded_tries(bundle)
    graph = onnx.load_model_from_string(bundle.read(fp32_of(bundle)))
    for ranges in tqdm(recorded, "rebuilding tries", unit="scheme", disable=None):
        for flavour in FLAVOURS:
            data = quantized(graph, ranges, flavour).SerializeToString()
            yield attempt(bundle.spec, ranges.key.method, flavour, data)


def attempt(spec: ModelSpec, method: str, flavour: Flavour, data: bytes) -> Candidate:
    """A graph that is made for this report alone."""
    target, note = GRAPHS["int8", flavour]
    return Candidate(
        "int8", flavour, target, method, False, target == "cpu", len(data), note, spec,
        lambda: OnnxRuntimeSession(data, spec, f"int8 {method}"),
    )  # fmt: skip


def recorded_tries(bundle: Bundle) -> list[Ranges]:
    """What the build tried and did not ship, the naive scheme last if min-max is on record."""
    files = [file for file in bundle.manifest.files if file.kind in ("try", "ranges")]
    found = {ranges.key.method: ranges for ranges in map(load(bundle), files)}
    naive, plain = str(NAIVE), str(Scheme("minmax"))
    if naive not in found and plain in found:
        key = dataclasses.replace(found[plain].key, method=naive)
        found[naive] = dataclasses.replace(found[plain], key=key)
    found.pop(method_of(bundle, "int8") or "", None)
    return sorted(found.values(), key=lambda ranges: ranges.key.method == naive)


def load(bundle: Bundle) -> Callable[[BundleFile], Ranges]:
    """Reads a ranges file of this bundle, whose hash was checked when it was opened."""
    return lambda file: Ranges.load(bundle.root / file.name)
