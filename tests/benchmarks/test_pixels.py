"""The benchmark of the pixel kernels: its steps agree, and it needs a GPU to be a benchmark."""

from __future__ import annotations

import pytest

from benchmarks.pixels import Options, Result, main, measure, parse, show
from engines.device import Device
from engines.failures import DeviceMissing


def test_both_sides_do_the_same(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure(device, Options(sizes=((32, 40),), model=(36, 48), classes=3, rounds=1))
    agreement = {row.name: row.agreement for row in rows}
    exact = ("RGB up", "resize", "earlier frames", "labels", "colours", "labels down")
    assert agreement.keys() == {*exact, "NV12 up, to RGB"}
    assert [agreement[name] for name in exact] == [1.0] * len(exact)
    assert {row.name for row in rows if row.peer_ms is None} == {"RGB up", "labels down"}
    show(Result(rows, device.description, {"cpu": "some"}))
    assert "colours" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Device:
        raise DeviceMissing("no NVIDIA GPU can be used here")

    monkeypatch.setattr("engines.device.open_device", missing)
    assert main([]) == 4
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_sizes_are_height_by_width() -> None:
    assert parse(["--sizes", "32x40,64x48"]).sizes == ((32, 40), (64, 48))
    assert main(["--rounds", "0"]) == 2
