"""What every binding promises: the same tests over the fakes here and on a real GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engines.device import BINDINGS, Device, open_device
from engines.failures import DeviceMissing
from tests.engines.fake_bindings import install

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(
    params=[
        *(pytest.param((name, False), id=f"fake-{name}") for name in BINDINGS),
        *(pytest.param((name, True), id=name, marks=pytest.mark.gpu) for name in BINDINGS),
    ]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    binding, real = request.param
    if not real:
        install(monkeypatch)
    try:
        opened = open_device(binding)
    except DeviceMissing as error:
        pytest.skip(str(error))  # this binding is not installed on the machine with the GPU
    yield opened
    opened.close()


def test_what_goes_up_comes_down(device: Device) -> None:
    buffer = device.allocate(64)
    device.upload(NUMBERS, buffer)
    result = np.empty((2, 4), np.float32)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, NUMBERS[:2])


def test_a_plain_array_may_change_at_once(device: Device) -> None:
    buffer, numbers = device.allocate(64), NUMBERS.copy()
    device.upload(numbers, buffer)
    numbers[:] = -1
    result = np.empty_like(NUMBERS)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, NUMBERS)


def test_pinned_arrays_travel_in_the_order_of_the_calls(device: Device) -> None:
    buffer = device.allocate(NUMBERS.nbytes)
    up, down = device.pinned((3, 4), np.float32), device.pinned((3, 4), np.float32)
    assert up.dtype == np.float32
    assert up.flags.c_contiguous
    assert up.flags.writeable
    up[:] = NUMBERS
    device.upload(up, buffer)
    device.queue_download(buffer, down)
    device.synchronise()
    np.testing.assert_array_equal(down, NUMBERS)
    device.free_pinned(up)
    device.free_pinned(down)


def test_part_of_a_pinned_array_travels_alone(device: Device) -> None:
    buffer, pinned = device.allocate(NUMBERS.nbytes), device.pinned((3, 4), np.float32)
    device.upload(np.zeros_like(NUMBERS), buffer)
    pinned[:] = NUMBERS
    device.upload(pinned[:1], buffer)
    device.download(buffer, pinned)
    np.testing.assert_array_equal(pinned, np.vstack([NUMBERS[:1], np.zeros((2, 4))]))


def test_a_graph_runs_when_it_is_launched_and_as_often(device: Device) -> None:
    buffer, up = device.allocate(16), device.pinned((4,), np.float32)
    down = device.pinned((4,), np.float32)
    device.upload(np.full(4, 7, np.float32), buffer)
    up[:] = 1

    def work() -> None:
        device.upload(up, buffer)
        device.queue_download(buffer, down)

    graph = device.capture(work)
    result = np.empty(4, np.float32)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, 7)  # captured, not run
    for value in (1, 2):
        up[:] = value
        graph.launch()
        device.synchronise()
        np.testing.assert_array_equal(down, value)
    graph.close()


def test_a_device_works_from_another_thread(device: Device) -> None:
    result = np.empty_like(NUMBERS)

    def work() -> None:
        buffer = device.allocate(NUMBERS.nbytes)
        device.upload(NUMBERS, buffer)
        with device.current():
            device.download(buffer, result)
        device.free(buffer)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(result, NUMBERS)
