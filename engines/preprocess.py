"""The one preprocessing: a frame of any size becomes the model's uint8 input.

Cast, transpose and normalisation are inside the graph (see `engines.spec.ModelSpec`); what is left
is the resize rule, done by FFmpeg's swscale, which every device has through PyAV; `engines.stretch`
tells it to a GPU.
"""

from __future__ import annotations

import threading

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

VERSION = "swscale-bilinear-1"  # part of the calibration key: a new rule means new ranges

# A reformatter keeps its tables between frames of one size, and must not be shared by threads.
# Made anew for each frame, with its pool of workers, the resize takes twice the CPU time.
_local = threading.local()


def fit_frame(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Stretch an RGB frame [H, W, 3] to `size` (height, width); the frame itself if it fits.

    When shrinking, swscale widens its bilinear kernel, so nothing is skipped or aliased.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame is uint8 [H, W, 3] RGB, got {frame.dtype} {frame.shape}")
    if frame.shape[:2] == size:
        return frame
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    picture = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")
    resized = _local.reformatter.reformat(
        picture,
        width=size[1],
        height=size[0],
        format="rgb24",
        interpolation=Interpolation.BILINEAR,
        threads=1,
    )
    return np.asarray(resized.to_ndarray(), np.uint8)
