"""Power meters of a made-up machine: the right rails, the right units, and none where none is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration.reporting import energy

SENSOR = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"


def write(folder: Path, values: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")


def rail(number: int, name: str, millivolts: int, milliamperes: int) -> dict[str, object]:
    return {
        f"in{number}_label": name, f"in{number}_input": millivolts,
        f"curr{number}_input": milliamperes,
    }  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Time that passes a tenth of a second with every look at it."""
    now = [0.0]

    def tick() -> float:
        now[0] += 0.1
        return now[0]

    monkeypatch.setattr("time.perf_counter", tick)
    return tick


def test_a_jetson_s_module_power_is_integrated(tmp_path: Path, clock: Callable[[], float]) -> None:
    rails = rail(1, "VDD_IN", 5000, 2000) | rail(2, "VDD_CPU_GPU_CV", 5000, 700)
    write(tmp_path / SENSOR, {**rails, "in4_label": "Sum of shunt voltages", "in4_input": 9})
    for target in ("cpu", "tensorrt"):
        meter = energy.meter(target, tmp_path)
        assert meter is not None
        assert meter.name == "VDD_IN"
        assert meter.joules() == 0
        assert meter.joules() == pytest.approx(10 * 0.1)  # 5 V, 2 A, for a tenth of a second
        write(tmp_path / SENSOR, {"curr1_input": 4000})
        assert meter.joules() == pytest.approx(10 * 0.1 + 15 * 0.1)  # the trapezoid
        write(tmp_path / SENSOR, {"curr1_input": 2000})


def test_without_a_total_rail_the_rails_are_summed(
    tmp_path: Path, clock: Callable[[], float]
) -> None:
    write(tmp_path / SENSOR, rail(1, "VDD_GPU_SOC", 5000, 1000) | rail(2, "VDD_CPU_CV", 5000, 200))
    meter = energy.meter("tensorrt", tmp_path)
    assert meter is not None
    assert meter.name == "VDD_GPU_SOC + VDD_CPU_CV"
    meter.joules()
    assert meter.joules() == pytest.approx(6 * 0.1)


def test_rapl_counts_the_package_and_survives_its_overflow(tmp_path: Path) -> None:
    zone = tmp_path / energy.RAPL
    write(zone, {"max_energy_range_uj": 1_000_000, "energy_uj": 900_000})
    meter = energy.meter("cpu", tmp_path)
    assert meter is not None
    write(zone, {"energy_uj": 950_000})
    assert meter.joules() == pytest.approx(0.05)
    write(zone, {"energy_uj": 100_000})
    assert meter.joules() == pytest.approx(0.2)


def test_a_machine_without_a_meter_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "NVML", "no-such-library.so")
    assert energy.meter("cpu", tmp_path) is None
    assert energy.meter("tensorrt", tmp_path) is None


class FakeNvml:
    """NVML as ctypes shows it; every call gives a status, results go through pointers."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.millijoules = 1000

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, count: Any) -> int:  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        self.millijoules += 500
        return self.status


@pytest.mark.parametrize(("status", "known"), [(0, True), (3, False)])
def test_nvml_counts_a_gpu_that_has_a_counter(
    status: int, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeNvml(status))
    meter = energy.meter("tensorrt", tmp_path)
    assert (meter is not None) == known
    if meter is not None:
        assert meter.joules() == 1.5
        assert meter.joules() == 2.0


def test_energy_per_frame_is_the_rise_over_the_frames(clock: Callable[[], float]) -> None:
    runs: list[int] = []

    def joules() -> float:
        return 0.25 * len(runs)

    power = energy.Power("quarter of a joule a frame", joules)
    assert energy.per_frame(power, lambda: runs.append(1)) == pytest.approx(250)
    assert len(runs) > 10
