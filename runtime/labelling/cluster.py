"""Ray, on this machine alone or elsewhere, for as long as a `with` lasts."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.failures import DeviceMissing
from engines.machine import usable_cores
from runtime.labelling.fleet import Fleet

STORE = 128 << 20  # bytes of a local object store, which is to hold names only; Ray's least is 75
PATIENCE = 10.0  # seconds for a cluster's head to answer
INSTALL = "pip install 'ray[data]>=2.60'"


def check_installed() -> None:
    """Raise `DeviceMissing` without Ray."""
    if importlib.util.find_spec("ray") is None:
        raise DeviceMissing(f"labelling in bulk needs Ray: {INSTALL}")


@contextmanager
def connected(
    address: str | None, workers: int | None, threads: int | None, on_gpu: bool
) -> Iterator[Fleet]:
    """A fleet on the cluster at `address`, or on a Ray of this process alone, which ends with it.

    Without `workers` it is one for each GPU, or for each core.

    Raises:
        DeviceMissing: The cluster does not answer, or it has no GPU.
    """
    # Ray reads these when it is imported: what it would send home, and native messages that are
    # about itself.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:  # its ports are open to the network: who has no token may not use them
        os.environ["RAY_AUTH_MODE"] = "token"
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised, too
    warnings.filterwarnings("ignore", module=r"ray\.")  # more workers than shards, its own old ways
    try:
        if address is not None and ":" in address:
            _knock(address)
        with _quiet():
            ray.init(**_how(address, workers, threads))
    except (OSError, RuntimeError, ValueError) as error:
        raise DeviceMissing(
            f"no Ray at {address or 'this machine'} ({error}): start one with ray start --head"
        ) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield _fleet(ray.cluster_resources(), address is None, workers, threads, on_gpu)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _how(address: str | None, workers: int | None, threads: int | None) -> dict[str, Any]:
    """The arguments of `ray.init`."""
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is not None:
        return {"address": address, **quiet}
    return {
        "address": "local",
        # What Ray counts with, not what it uses; the one besides is for the planning.
        "num_cpus": max(usable_cores(), (workers or 1) * (threads or 1)) + 1,
        "object_store_memory": STORE,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",  # the machine's own may change during a run
        **quiet,
    }


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself would wait for a cluster to appear there."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    socket.create_connection((host, int(port)), PATIENCE).close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Ray's native code writes to standard error by itself."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _fleet(
    resources: dict[str, float],
    local: bool,
    workers: int | None,
    threads: int | None,
    on_gpu: bool,
) -> Fleet:
    gpus = int(resources.get("GPU", 0))
    if on_gpu and (gpus == 0 or (local and (workers or 1) > gpus)):
        raise DeviceMissing(
            f"Ray has {gpus} GPU(s) here, and each worker needs one: fewer --workers, or "
            "--target cpu"
        )
    cores = usable_cores() if local else max(1, int(resources.get("CPU", 1)) - 1)
    if workers is None:
        workers = gpus if on_gpu else max(1, cores // (threads or 1))
    if threads is None:
        threads = max(1, cores // workers) if local else 1
    return Fleet(workers, threads)
