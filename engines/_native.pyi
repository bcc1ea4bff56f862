"""engines/native/*.cpp, compiled. Results go into the second array, of the wanted size.

Arrays must be C-contiguous and of the exact type; `threads` and `level` never change a result.
`level` is one of `simd_levels()`, or "" for the best of them.
"""

import numpy as np
from numpy.typing import NDArray

def simd_levels() -> list[str]: ...
def upsample_argmax(
    logits: NDArray[np.float32], labels: NDArray[np.uint8], threads: int, level: str = ""
) -> None: ...
def upsample(
    logits: NDArray[np.float32], values: NDArray[np.float32], threads: int, level: str = ""
) -> None: ...
def upsample_softmax(
    logits: NDArray[np.float32], marginals: NDArray[np.float32], threads: int, level: str = ""
) -> None: ...
def blend(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    table: NDArray[np.uint8],
    mixed: NDArray[np.uint8],
    threads: int,
) -> None: ...
