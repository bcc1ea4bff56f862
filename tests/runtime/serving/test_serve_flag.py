"""`stream.py --serve` as its users start and stop it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, Golden, writing_bundle
from engines.failures import DeviceMissing
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.session import open_session
from runtime.serving.access import Access
from runtime.serving.address import Address
from runtime.serving.attach import self_test, start_server
from runtime.stream import main
from runtime.switched_session import SwitchedSession, open_switched

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"


@contextmanager
def streaming(bundle: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`stream.py` on a live street in a process of its own."""
    words = ["--camera", "street:?fps=20&size=96x64", "--bundle", str(bundle), "--headless", *flags]
    with subprocess.Popen(
        [sys.executable, "runtime/stream.py", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_told(process: subprocess.Popen[str], event: str) -> list[str]:
    """The log's lines up to the one that tells the event."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or json.loads(lines[-1])["event"] != event:
        lines.append(process.stderr.readline())
    return lines


def page(process: subprocess.Popen[str]) -> str:
    """The page's address, as printed."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("page "):
            return line.split()[1]
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_it_with_viewers_and_a_recording(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    numbers = tmp_path / "s.json"
    flags = ["--serve", "127.0.0.1:0", "--recordings", str(tmp_path), "--json", str(numbers)]
    with streaming(tiny_bundle, *flags, "--log", "json") as process:
        url = page(process)
        told = until_told(process, "stream is live")
        video = urllib.request.urlopen(f"{url}api/streams/camera/video.mjpeg", timeout=60)
        assert video.read(7) == b"--frame"
        change = urllib.request.Request(
            f"{url}api/streams/camera/recording",
            b'{"on": true}',
            {"Content-Type": "application/json"},
        )
        started = json.load(urllib.request.urlopen(change, timeout=60))
        while (
            json.load(urllib.request.urlopen(f"{url}api/state", timeout=60))["streams"][0][
                "recording"
            ]["running"]["frames"]
            < 3
        ):
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        video.close()
    assert process.returncode == 0
    assert json.loads(numbers.read_text())["ended"] == "stopped by signal"
    assert (tmp_path / started["running"]["file"]).stat().st_size > 0
    events = {json.loads(line)["event"] for line in [*told, *errors.splitlines()]}
    assert {"started", "serving", "stream is live", "viewer joined", "ended"} <= events
    assert {"recording started", "recording finished"} <= events


def test_systemd_hears_of_the_first_frame_and_of_the_end(tiny_bundle: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with streaming(tiny_bundle, **environment) as process:
            assert listening.recv(1000).startswith(b"READY=1")
            assert listening.recv(1000) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        heard = listening.recv(1000)
        while heard == b"WATCHDOG=1":
            heard = listening.recv(1000)
        assert heard == b"STOPPING=1"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--serve", "0.0.0.0:8080"], "--insecure"),
        (["--serve", "nonsense"], "HOST:PORT"),
        (["--recordings", "/tmp"], "for --serve"),
        (["--allow-host", "cams.example"], "for --serve"),
        (["--serve", "127.0.0.1:0", "--recordings", "/nowhere"], "no such folder"),
        (["--serve", "127.0.0.1:0", "--token-file", "/nowhere"], "cannot be read"),
    ],
    ids=["open", "address", "alone", "host", "folder", "token"],
)
def test_wrong_flags_are_usage_errors(
    tiny_bundle: Path,
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DEEPLAB_TOKEN", raising=False)
    assert main(["--camera", "street:", "--bundle", str(tiny_bundle), "--headless", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_token_of_the_environment_opens_other_addresses(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPLAB_TOKEN", TOKEN)
    words = ["--camera", "street:?frames=3&size=96x64", "--bundle", str(tiny_bundle), "--headless"]
    assert main([*words, "--serve", "0.0.0.0:0"]) == 0
    printed = capsys.readouterr()
    assert "protected=True" in printed.err
    assert TOKEN not in printed.out + printed.err


@pytest.mark.parametrize("missing", ["aiohttp", "prometheus_client"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("runtime.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DeviceMissing, match=rf"{missing}: pip install"):
        start_server(ExitStack(), [], Access(Address("127.0.0.1", 0)), None)


def test_a_model_proves_itself_before_it_is_called_ready(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    session = open_session(bundle, "fp32", "cpu")
    assert self_test(session, bundle) == (
        "self-test: the bundle has no golden frames to test it on"
    )
    image = np.zeros((96, 128, 3), np.uint8)
    image[48:] = bundle.spec.palette[3]
    labels = upsample_argmax(session.run(image[None])[0], (96, 128))
    for name, golden in (("right", labels), ("wrong", 5 - labels % 2)):
        with writing_bundle(tmp_path / name) as writer:
            graph = bundle.read(bundle.graph("fp32"))
            writer.add_bytes("tiny.fp32.onnx", graph, "onnx", precision="fp32")
            writer.add_golden([Golden(image, golden)])
            writer.finish(Manifest(spec=bundle.spec, precision="fp32", files=()))
    assert self_test(session, Bundle.open(tmp_path / "right")) is None
    assert "0.00% of the pixels" in (self_test(session, Bundle.open(tmp_path / "wrong")) or "")


def test_a_bundle_offers_the_precisions_it_has(tiny_bundle: Path) -> None:
    session, choices = open_switched(Bundle.open(tiny_bundle), "fp32", "cpu")
    assert isinstance(session, SwitchedSession)
    assert choices == ("fp32",)
    session.close()
