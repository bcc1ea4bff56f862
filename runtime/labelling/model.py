"""Which engine labels: chosen once, so that all workers and all later runs agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.manifest import CPU_TARGETS
from engines.session import choose_target
from runtime.refiner import choose_crf

FORMAT = 1  # of the output folder


@dataclass(frozen=True)
class Model:
    """A bundle and what is run of it; `crf` is off, fast or exact."""

    bundle: Path
    precision: str
    target: str
    crf: str

    @property
    def on_gpu(self) -> bool:
        """Whether a worker needs a GPU."""
        return self.target not in CPU_TARGETS

    def settings(self, bundle: Bundle) -> dict[str, Any]:
        """What labels depend on, and what is needed to read them."""
        return {
            "format": FORMAT,
            "model": bundle.spec.name,
            "bundle": bundle.manifest.to_json()["digest"],
            "precision": self.precision,
            "target": self.target,
            "crf": self.crf,
            "classes": list(bundle.spec.classes),
            "palette": [list(colour) for colour in bundle.spec.palette],
        }


def choose_model(bundle: Bundle, precision: str, target: str, crf: str) -> tuple[Model, list[str]]:
    """The model with nothing left to choose, and lines that say why it is this one."""
    target, why_target = choose_target(bundle, target, precision)
    why_precision = f"{precision}: as asked"
    if precision == "auto":
        precision, why_precision = bundle.choose_precision(target)
    bundle.graph(precision)  # a precision that is not there fails here, and not in every worker
    _, why_crf = choose_crf(crf, bundle.spec, on_gpu=target not in CPU_TARGETS)
    model = Model(bundle.root.absolute(), precision, target, why_crf.partition(":")[0])
    return model, [f"target {why_target}", f"precision {why_precision}", f"crf {why_crf}"]
