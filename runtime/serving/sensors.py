"""Temperatures and power, where the kernel tells: a Jetson's thermal zones and INA3221 monitors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sensors:
    """What could be read; both are empty on a machine that has no such sensor."""

    temperatures: dict[str, float]  # thermal zone -> °C
    power: dict[str, float]  # rail -> W


def read_sensors(root: Path = Path("/sys")) -> Sensors:
    """All sensors below `root`; one that does not answer now is left out."""
    return Sensors(_temperatures(root), _power(root))


def _temperatures(root: Path) -> dict[str, float]:
    zones = {}
    for zone in sorted(root.glob("class/thermal/thermal_zone*")):
        name, milli = _text(zone / "type"), _number(zone / "temp")
        if name and milli is not None:
            zones[name] = milli / 1e3
    return zones


def _power(root: Path) -> dict[str, float]:
    """JetPack 5 and later: hwmon of the INA3221, mV and mA per channel, VDD_IN being the whole."""
    rails = {}
    for label in sorted(root.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        channel = label.name.removeprefix("in").removesuffix("_label")
        millivolts = _number(label.with_name(f"in{channel}_input"))
        milliamperes = _number(label.with_name(f"curr{channel}_input"))
        if millivolts is not None and milliamperes is not None:
            rails[_text(label)] = millivolts * milliamperes / 1e6
    return rails


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # a zone that is switched off says EAGAIN or EINVAL
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text.removeprefix("-").isdigit() else None
