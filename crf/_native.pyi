"""crf/native/*.cpp, compiled; see module.cpp."""

import numpy as np
from numpy.typing import NDArray

REFUSED: int

class MeanField:
    def __init__(
        self,
        height: int,
        width: int,
        classes: int,
        w1: float,
        sigma_alpha: float,
        sigma_beta: float,
        w2: float,
        sigma_gamma: float,
        iterations: int,
        temperature: float,
        fast: bool,
        threads: int,
        level: str,
    ) -> None: ...
    def run(
        self, frame: NDArray[np.uint8], logits: NDArray[np.float32], budget_ms: float
    ) -> int: ...
    def labels(self, out: NDArray[np.uint8]) -> None: ...
    def marginals(self, out: NDArray[np.float32]) -> None: ...
    @property
    def bytes(self) -> int: ...
