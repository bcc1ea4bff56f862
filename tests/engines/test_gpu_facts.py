"""What the driver says, from a fake libcuda and recorded files of a Jetson."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines import gpu_facts
from engines.gpu_facts import GpuFacts, driver_version, power_mode, probe_gpu

JETSON_DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain)"
)
MODES = "# < not a mode >\n< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


class FakeDriver:
    """libcuda as far as it is asked, with one GPU."""

    def __init__(self, error: int = 0) -> None:
        self.error = error

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.error

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 101 if index else 0  # CUDA_ERROR_INVALID_DEVICE

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"Orin"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12060
        return 0


@pytest.mark.parametrize(
    ("driver", "index", "found"),
    [
        (FakeDriver(), 0, GpuFacts("Orin", "8.7", "12.6")),
        (FakeDriver(), 1, None),
        (FakeDriver(error=100), 0, None),  # CUDA_ERROR_NO_DEVICE
        (None, 0, None),
    ],
)
def test_the_gpu_is_what_the_driver_says(
    monkeypatch: pytest.MonkeyPatch, driver: Any, index: int, found: GpuFacts | None
) -> None:
    monkeypatch.setattr(gpu_facts, "open_driver", lambda: driver)
    assert probe_gpu(index) == found


def test_the_driver_is_read_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu_facts, "KERNEL_MODULE", tmp_path / "version")
    assert driver_version() is None
    (tmp_path / "version").write_text(JETSON_DRIVER)
    assert driver_version() == "540.4.0"


@pytest.mark.parametrize(
    ("status", "mode"),
    [("pmode:0002 fmode:quiet", "MAXN_SUPER"), ("pmode:0007", "7"), ("", None), (None, None)],
)
def test_the_power_mode_has_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str | None, mode: str | None
) -> None:
    monkeypatch.setattr(gpu_facts, "POWER_STATUS", tmp_path / "status")
    monkeypatch.setattr(gpu_facts, "POWER_MODES", tmp_path / "modes")
    (tmp_path / "modes").write_text(MODES)
    if status is not None:
        (tmp_path / "status").write_text(status)
    assert power_mode() == mode
