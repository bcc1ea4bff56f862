"""Sensors of a Jetson, from a copy of the kernel's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.serving.sensors import Sensors, read_sensors


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_a_jetson_tells_temperatures_and_power(tmp_path: Path) -> None:
    write(tmp_path, "class/thermal/thermal_zone0/type", "cpu-thermal")
    write(tmp_path, "class/thermal/thermal_zone0/temp", "48531")
    write(tmp_path, "class/thermal/thermal_zone1/type", "cv0-thermal")
    (tmp_path / "class/thermal/thermal_zone1/temp").mkdir()  # powered off: reading it is an error
    write(tmp_path, "class/thermal/thermal_zone2/type", "cold")
    write(tmp_path, "class/thermal/thermal_zone2/temp", "-2500")
    monitor = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    for channel, (label, millivolts, milliamperes) in enumerate(
        [("VDD_IN", "5064", "1256"), ("VDD_SOC", "5060", "304")], start=1
    ):
        write(tmp_path, f"{monitor}/in{channel}_label", label)
        write(tmp_path, f"{monitor}/in{channel}_input", millivolts)
        write(tmp_path, f"{monitor}/curr{channel}_input", milliamperes)
    write(tmp_path, f"{monitor}/in7_label", "sum of shunt voltages")  # has no current
    sensors = read_sensors(tmp_path)
    assert sensors.temperatures == {"cpu-thermal": 48.531, "cold": -2.5}
    assert sensors.power == pytest.approx({"VDD_IN": 5.064 * 1.256, "VDD_SOC": 5.060 * 0.304})


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    assert read_sensors(tmp_path) == Sensors({}, {})
