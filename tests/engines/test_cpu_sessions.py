"""What the sessions of the CPU's two targets share."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.manifest import CPU_TARGETS
from engines.session import Session, open_session


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_closing_waits_until_a_run_of_another_thread_has_ended(
    tiny_bundle: Path, target: str
) -> None:
    if target == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed: pip install 'deeplab-edge[openvino]'")
    bundle = Bundle.open(tiny_bundle)
    session: Session = open_session(bundle, "fp32", target, 1)
    frames = np.zeros((1, *bundle.spec.input_size, 3), np.uint8)
    running, ended = threading.Event(), threading.Event()

    def run_for_ever() -> None:
        try:
            while True:
                session.run(frames)
                running.set()
        except Exception:  # cut short, or closed: each library says it in its own way
            ended.set()

    thread = threading.Thread(target=run_for_ever, daemon=True)
    thread.start()
    assert running.wait(60)
    session.close()
    assert ended.wait(60)
    session.close()  # a second time does nothing
    thread.join(60)
    assert not thread.is_alive()
