"""What TensorRT for RTX compiled for this GPU, kept between runs.

Its plans are portable: the machine code is made when a context runs for the first time, which takes
seconds, and can be kept. https://docs.nvidia.com/deeplearning/tensorrt-rtx, "runtime cache".
"""

from __future__ import annotations

import hashlib
from typing import Any

from engines.atomic import write_bytes
from engines.kernels import cache_folder
from engines.plan_sidecar import Environment
from engines.spec import canonical_json
from engines.trust import read_trusted


class RuntimeCache:
    """The cache of one plan on one machine, attached to a runtime configuration.

    The library itself checks that a stored one was made by its version, for this GPU and driver;
    one that does not fit is not taken, and is replaced by the next `store`. Needs the device to be
    current.
    """

    def __init__(self, config: Any, plan_sha256: str, here: Environment) -> None:
        parts = [plan_sha256, here.library, here.version, here.gpu, here.driver]
        key = hashlib.sha256(canonical_json(parts).encode()).hexdigest()
        self._path = cache_folder().with_name("runtime") / f"{key}.cache"
        self._cache = config.create_runtime_cache()
        self._stored = b""
        if self._path.is_file():
            stored = read_trusted(self._path.parent, self._path.name)
            self._stored = stored if self._cache.deserialize(stored) else b""
        config.set_runtime_cache(self._cache)

    def store(self) -> None:
        """Write what has been compiled so far, if anything was added."""
        serialised = self._cache.serialize()  # None: the library could not
        data = b"" if serialised is None else bytes(serialised)
        if data and data != self._stored:
            write_bytes(self._path, data)
            self._stored = data
