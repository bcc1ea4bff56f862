"""What is told of the machine, and what is not."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from engines import machine


def test_these_facts_and_no_others() -> None:
    facts = machine.describe_machine("numpy", "no-such-package")
    assert {"cpu", "cores", "load", "platform", "python", "numpy"} == set(facts)
    assert facts["python"] == platform.python_version()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9354\nmodel name\t: other\n", "AMD EPYC 9354"),
        ("processor : 0\n", platform.processor() or platform.machine()),
    ],
)
def test_the_processor_is_read_from_cpuinfo(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(machine, "CPU_INFO", path)
    monkeypatch.setattr(machine, "BOARD", tmp_path / "none")
    assert machine.cpu_name() == name


def test_a_board_says_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    monkeypatch.setattr(machine, "BOARD", path)
    assert machine.cpu_name() == "NVIDIA Jetson AGX Orin Developer Kit"
