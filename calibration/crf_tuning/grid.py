"""The settings a CRF is searched over: a ladder of values per parameter, and published settings.

Everything lies on the same ladders, so that separate searches meet at the same settings and share
what was computed for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from crf.dense_crf import MILD
from engines.spec import CrfParams

Candidate = CrfParams | None  # None: no CRF

# w1, σα, σβ | w2, σγ | iterations: as published for VOC (docs/crf.md has the sources)
STOCK = {
    "pydensecrf README": CrfParams(10, 80, 13, 3, 3, 5),
    "DeepLab v1": CrfParams(4, 49, 5, 3, 3, 10),
    "DeepLab v2 VGG-16": CrfParams(4, 65, 3, 2, 2, 10),
    "DeepLab v2 ResNet-101": CrfParams(4, 67, 3, 3, 1, 10),
    "mild": MILD,
}


def ladder(low: float, high: float, rungs: int) -> tuple[float, ...]:
    """Values from `low` to `high` with so many rungs to each doubling, in two digits."""
    steps = round(rungs * np.log2(high / low))
    return tuple(float(f"{low * 2 ** (i / rungs):.2g}") for i in range(steps + 1))


# The smoothness term gets wide rungs: on CamVid val √2 there moved no score by more than 0.1.
AXES: dict[str, tuple[float, ...]] = {
    "w1": ladder(0.5, 16, rungs=2),
    "sigma_alpha": ladder(5, 160, rungs=2),
    "sigma_beta": ladder(2, 32, rungs=2),
    "w2": (0.0, *ladder(0.25, 8, rungs=1)),
    "sigma_gamma": ladder(1, 8, rungs=1),
    "iterations": (1, 2, 3, 5),
    "temperature": ladder(0.5, 4, rungs=2),
}


def draws(count: int, seed: int) -> list[Candidate]:
    """`count` settings spread over the whole grid: a Latin hypercube, each value equally often."""
    random = np.random.default_rng(seed)
    columns = {
        name: random.permutation(np.arange(count) * len(values) // count)
        for name, values in AXES.items()
    }
    return [
        settle({name: AXES[name][column[i]] for name, column in columns.items()})
        for i in range(count)
    ]


def neighbours(params: CrfParams, step: int) -> list[Candidate]:
    """All settings with one parameter `step` rungs lower or higher; at a ladder's end, the end."""
    result: dict[Candidate, None] = {}  # a set that keeps its order
    for name, values in AXES.items():
        here = nearest(values, getattr(params, name))
        for rung in (here - step, here + step):
            value = values[min(max(rung, 0), len(values) - 1)]
            result[settle({**dataclasses.asdict(params), name: value})] = None
    result.pop(params, None)
    return list(result)


def nearest(values: Sequence[float], value: float) -> int:
    """Index of the rung nearest to a value, which published settings need."""
    return int(np.abs(np.asarray(values) - value).argmin())


def settle(values: dict[str, float]) -> CrfParams:
    """The parameters; without a smoothness term its width means nothing and gets one value."""
    if values["w2"] == 0:
        values["sigma_gamma"] = AXES["sigma_gamma"][0]
    return CrfParams(**{**values, "iterations": int(values["iterations"])})  # type: ignore[arg-type]


def text(candidate: Candidate) -> str:
    """One line for people: w1, σα, σβ | w2, σγ | iterations, temperature."""
    if candidate is None:
        return "off"
    p = candidate
    smooth = f"{p.w2:g}, {p.sigma_gamma:g}" if p.w2 else "0, -"
    return (
        f"{p.w1:g}, {p.sigma_alpha:g}, {p.sigma_beta:g} | {smooth} | "
        f"{p.iterations} it, T {p.temperature:g}"
    )
