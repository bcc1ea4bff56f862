"""`model.py` of Triton's python backend: a frame of any size to its labels, CRF included.

It stands in the model's version folder beside a copy of the bundle, which is verified when it is
loaded. Triton's Python needs this package: pip install deeplab-edge's wheel in the server's image.
"""

from __future__ import annotations

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
        frame = triton.get_input_tensor_by_name(request, "frames").as_numpy()
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            text = f"frames is uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}"
            return triton.InferenceResponse([], triton.TritonError(text))
        return triton.InferenceResponse([triton.Tensor("labels", self._labels(frame))])

    def _labels(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        spec = self._session.spec
        logits = self._session.run(fit_frame(frame, spec.input_size)[None])[0]
        size = frame.shape[0], frame.shape[1]
        if self._crf_mode == "off" or spec.crf is None:
            return upsample_argmax(logits, size)
        if size not in self._crfs:  # its memory belongs to one size; a camera has one
            self._crfs = {size: DenseCrf(size, len(spec.classes), spec.crf, mode=self._crf_mode)}
        return self._crfs[size].refine(frame, logits)
