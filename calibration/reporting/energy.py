"""Energy per frame, where the machine has a meter that anybody may read.

Three meters, each counting joules: the INA3221 of a Jetson (power of the whole module, sampled),
RAPL (the processor package's own counter), NVML (the GPU's). What they count is everything that
their rail feeds, idle power included; the report names the meter.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engines.manifest import CPU_TARGETS

SYSFS = Path("/sys")
SENSOR = "bus/i2c/drivers/ina3221/*-0040/hwmon/hwmon*"  # JetPack 5 and later; 0x40: main rails
TOTAL_RAIL = "VDD_IN"  # all that the module draws; where it is missing (AGX), the rails are summed
RAPL = "class/powercap/intel-rapl:0"  # AMD's, too
NVML = "libnvidia-ml.so.1"
SECONDS = 2.0  # of steady running; NVML's counter moves every 20 to 100 ms


@dataclass(frozen=True)
class Power:
    """A meter: its name for the report, and a counter of joules that only rises."""

    name: str
    joules: Callable[[], float]


def meter(target: str, sysfs: Path = SYSFS) -> Power | None:
    """What tells the energy of work on a target here; None where nothing does."""
    module = jetson(sysfs)
    if module is not None:
        return module
    return package(sysfs) if target in CPU_TARGETS else graphics()


def per_frame(power: Power, run: Callable[[], object]) -> float:
    """Millijoules of one `run`, over as many as fill `SECONDS`."""
    first, started, frames = power.joules(), time.perf_counter(), 0
    last = first
    while not frames or time.perf_counter() - started < SECONDS:
        run()
        last = power.joules()
        frames += 1
    return 1e3 * (last - first) / frames


def jetson(sysfs: Path) -> Power | None:
    """The module's rails: millivolts times milliamperes, integrated between two readings."""
    rails = {
        label.read_text().strip(): label.with_name(label.name.removesuffix("_label"))
        for label in sorted(sysfs.glob(f"{SENSOR}/in*_label"))
        if label.with_name(label.name.replace("in", "curr").replace("_label", "_input")).is_file()
    }
    if not rails:
        return None
    chosen = {TOTAL_RAIL: rails[TOTAL_RAIL]} if TOTAL_RAIL in rails else rails

    def watts() -> float:
        return sum(rail_watts(rail) for rail in chosen.values())

    return Power(" + ".join(chosen), Integral(watts))


def rail_watts(rail: Path) -> float:
    """Power of one rail; `rail` is the path of its voltage up to `_input`."""
    current = rail.with_name(rail.name.replace("in", "curr"))
    millivolts, milliamperes = (
        int(path.with_name(f"{path.name}_input").read_text()) for path in (rail, current)
    )
    return millivolts * milliamperes * 1e-6


class Integral:
    """Joules from readings of watts, by the trapezoid rule over the times of the calls."""

    def __init__(self, watts: Callable[[], float]) -> None:
        self._watts = watts
        self._joules = 0.0
        self._last: tuple[float, float] | None = None

    def __call__(self) -> float:
        now = (time.perf_counter(), self._watts())
        if self._last is not None:
            self._joules += (now[0] - self._last[0]) * (now[1] + self._last[1]) / 2
        self._last = now
        return self._joules


def package(sysfs: Path) -> Power | None:
    """RAPL's counter of microjoules; since 2020 only root may read it (CVE-2020-8694)."""
    zone = sysfs / RAPL
    try:
        size = int((zone / "max_energy_range_uj").read_text())
        first = int((zone / "energy_uj").read_text())
    except OSError:
        return None

    def joules() -> float:  # modulo: the counter starts again at 0 after some hours
        return ((int((zone / "energy_uj").read_text()) - first) % size) * 1e-6

    return Power("RAPL package", joules)


def graphics() -> Power | None:
    """NVML's counter of the first GPU's millijoules (Volta and later); None without the driver."""
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return None
    device, count = ctypes.c_void_p(), ctypes.c_ulonglong()
    total = library.nvmlDeviceGetTotalEnergyConsumption
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None
    if total(device, ctypes.byref(count)):  # not on this GPU
        return None

    def joules() -> float:
        total(device, ctypes.byref(count))
        return count.value * 1e-3

    return Power("NVML, GPU 0", joules)
