"""`model.py` of Triton's python backend: frames of any size to their labels, CRF included.

It stands in the model's version folder beside a copy of the bundle, which is verified when it is
loaded. Triton's Python needs this package: pip install deeplab-edge's wheel in the server's image.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # of the server
from numpy.typing import NDArray

from crf import DenseCrf
from engines.bundle import Bundle
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from engines.session import open_session


class Lent:
    """An array that Triton takes by DLPack.

    Triton 2.51 (24.10) is compiled for NumPy 1. With NumPy 2 its `as_numpy` gives one byte of the
    frame everywhere, and `Tensor(name, array)` answers with the right shape and no bytes; neither
    is an error. DLPack is right with both, but for the capsule's destructor, which is for a capsule
    that nobody took: NumPy's stumbles over the name that Triton gives a taken one.
    """

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._array = array

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self._array.__dlpack__()
        ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
        return capsule

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class TritonPythonModel:
    """What Triton's backend calls: initialize, execute for each batch of requests, finalize."""

    def initialize(self, args: dict[str, str]) -> None:
        """Verify the bundle, and open the session that the configuration names."""
        config = json.loads(args["model_config"])
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        bundle = Bundle.open(Path(args["model_repository"], args["model_version"], "bundle"))
        self._session = open_session(bundle, told["precision"], told["target"])
        self._crf_mode = told["crf"]
        self._crfs: dict[tuple[int, int], DenseCrf] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response to each request; what is no frame is an error of its own request alone."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Give the session back."""
        self._session.close()

    def _respond(self, request: Any) -> Any:
        given = triton.get_input_tensor_by_name(request, "frames")
        frames = np.asarray(np.from_dlpack(given), np.uint8)
        if frames.ndim not in (3, 4) or frames.shape[-1] != 3 or frames.size == 0:
            text = f"frames is uint8 [H, W, 3] or [N, H, W, 3], got {list(frames.shape)}"
            return triton.InferenceResponse([], triton.TritonError(text))
        one = frames.ndim == 3
        labels = self._labels(frames) if one else np.stack([self._labels(f) for f in frames])
        return triton.InferenceResponse([triton.Tensor.from_dlpack("labels", Lent(labels))])

    def _labels(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        spec = self._session.spec
        logits = self._session.run(fit_frame(frame, spec.input_size)[None])[0]
        size = frame.shape[0], frame.shape[1]
        if self._crf_mode == "off" or spec.crf is None:
            return upsample_argmax(logits, size)
        if size not in self._crfs:  # its memory belongs to one size; a camera has one
            self._crfs = {size: DenseCrf(size, len(spec.classes), spec.crf, mode=self._crf_mode)}
        return self._crfs[size].refine(frame, logits)
