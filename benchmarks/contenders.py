"""What competes in `benchmarks/engines.py`: our sessions, and what people use today.

All take a uint8 frame [H, W, 3] at the model's size and give float32 logits [C, h, w] at the
decoder's stride, so that nobody upsamples and everybody normalises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines.bundle import Bundle
from engines.labels import upsample_argmax
from engines.manifest import CPU_TARGETS
from engines.openvino_session import installed
from engines.session import open_session
from scenes.dataset import Labels, Scene

Frame = NDArray[np.uint8]
Logits = NDArray[np.float32]
Input = TypeVar("Input", contravariant=True)

PRECISIONS = ("int8", "mixed", "fp16", "fp32")
BLOCK = 5  # frames that one contender runs in a row
SETTLE = 0.05  # seconds: twice what onnxruntime's idle workers spin after a run


class Runner(Protocol[Input]):
    """What can take a turn: a name, and a function from an input to anything."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> Callable[[Input], object]: ...


@dataclass(frozen=True)
class Contender:
    """A name, and a function from a frame to logits."""

    name: str
    run: Callable[[Frame], Logits]


def ours(bundle: Bundle, threads: int) -> list[Contender]:
    """The bundle's graphs on the targets that run on this CPU, as `runtime/stream.py` runs them."""
    built = {file.precision for file in bundle.manifest.files if file.kind == "onnx"}
    targets = CPU_TARGETS if installed() else ("cpu",)
    return [our_session(bundle, p, t, threads) for t in targets for p in PRECISIONS if p in built]


def our_session(bundle: Bundle, precision: str, target: str, threads: int) -> Contender:
    """One of our sessions; onnxruntime's bears the name of its precision alone."""
    session = open_session(bundle, precision, target, threads)
    name = precision if target == "cpu" else f"{precision} {target}"
    return Contender(name, lambda frame: np.asarray(session.run(frame[None])[0]))


def plain_onnxruntime(bundle: Bundle, threads: int) -> Contender:
    """onnxruntime on the FP32 graph with nothing set but the threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        bundle.read(bundle.graph("fp32")), options, providers=["CPUExecutionProvider"]
    )
    return Contender(
        "onnxruntime-fp32",
        lambda frame: np.asarray(session.run(None, {"frames": frame[None]})[0][0]),
    )


class Metered:
    """A contender, and the CPU time that the whole process spends on each of its runs.

    Threads that wait by spinning cost cores that a stream's other threads would need, and wall
    clock does not show it. Nor do other programs on the machine lengthen CPU time much.
    """

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._run = contender.run
        self._spent: list[float] = []

    def run(self, frame: Frame) -> Logits:
        """One run."""
        started = time.process_time()
        logits = self._run(frame)
        self._spent.append((time.process_time() - started) * 1e3)
        return logits

    def core_ms(self) -> float:
        """The median of all runs so far, in milliseconds of one core."""
        return float(np.median(self._spent))


def masks(contender: Contender, scenes: Sequence[Scene]) -> list[Labels]:
    """Labels of all scenes, each at its truth's size; the contender's warm-up too."""
    return [upsample_argmax(contender.run(s.frame), s.labels.shape) for s in scenes]


def take_turns(contenders: Sequence[Runner[Input]], frames: Sequence[Input]) -> dict[str, float]:
    """Median milliseconds per frame of each contender, in blocks that take turns."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    starts = range(0, len(frames), BLOCK)
    for start in tqdm(starts, "timing", unit="block", disable=None):
        block = frames[start : start + BLOCK]
        for contender in contenders:
            time.sleep(SETTLE)
            contender.run(block[-1])
            times[contender.name] += [clock(contender, frame) for frame in block]
    return {name: float(np.median(taken)) for name, taken in times.items()}


def clock(contender: Runner[Input], frame: Input) -> float:
    """Milliseconds of one run."""
    started = time.perf_counter()
    contender.run(frame)
    return (time.perf_counter() - started) * 1e3
