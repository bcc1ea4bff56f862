"""What is typed: addresses of cameras, policies, numbers, configuration files, every flag."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import strategies as st

from engines.failures import UsageError
from runtime.config_file import flags
from runtime.drop_policy import drop_policy
from runtime.redaction import redact
from runtime.serving.address import parse_address
from runtime.source import open_source
from runtime.sources import gstreamer
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import damaged, odd_text

NINES = "9" * 5000  # more digits than int() takes
CAMERAS = (
    "", "0", "0?size=", "/dev/video0?fps=", "street:", "street:?size=", "street:?fps=", "csi://",
    "csi://0?fps=", "rtsp://", "rtsp://h/?transport=", "http://[", "https://u:p@h:", "frames/%",
    "frames/*", "a[", "file://", "HTTP://h/",
)  # fmt: skip
COMMANDS = (
    "calibration.doctor",
    "calibration.flicker",
    "calibration.report",
    "calibration.tune_crf",
    "engines.doctor",
    "export.build_engine",
    "export.triton_repository",
    "export.verify",
    "runtime.label",
    "runtime.stream",
    "train.complexity",
    "train.evaluate",
    "train.fit",
    "train.import_checkpoint",
)


def test_camera_addresses(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "_check_installed", lambda: None)
    monkeypatch.setattr(gstreamer, "has_element", lambda name: True)  # would start gst-inspect
    known = [
        f"frames/%{NINES}d.png",
        "frames/%99999999999d.png",
        "x" * 300 + "/video.mp4",
        "x" * 300 + "/%d.png",
        "a\0b",
        "\ud800",
        f"street:?frames={NINES}",
        f"csi://{NINES}",
        f"rtsp://h:{NINES}/",
        "http://h:²/",
        "csi://²",
        "0?size=²x²",
        "٣",
        "street:?size=nanxnan",
        "street:?fps=1e400",
    ]

    def read(text: str) -> None:
        source = open_source(text)
        assert "secret" not in source.name
        source.close()

    words = st.tuples(st.sampled_from(CAMERAS), odd_text()).map("".join)
    fuzz(read, words | odd_text(), known=known)


def test_passwords_in_addresses_are_never_shown(fuzz: Fuzz) -> None:
    plain = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=12)
    known = [("rtsp", "u", "10.0.0.7", "/live")]

    def read(parts: tuple[str, str, str, str]) -> None:
        scheme, user, host, path = parts
        assert "s3cret!" not in redact(f"{scheme}://{user}:s3cret!@{host}{path}")

    schemes = st.sampled_from(["rtsp", "http", "https", "RTSP", "x"])
    fuzz(read, st.tuples(schemes, plain, plain, odd_text()), known=known)


def test_drop_policies(fuzz: Fuzz) -> None:
    known = ["budget=nan", "budget=inf", "budget=-1", f"budget={NINES}", "budget=²", "budget"]
    words = st.tuples(st.sampled_from(["", "budget=", "newest", "all"]), odd_text()).map("".join)
    fuzz(lambda text: drop_policy(text, live=True), words, known=known)


def test_server_addresses(fuzz: Fuzz) -> None:
    words = st.tuples(odd_text(), st.sampled_from(["", ":", ":80", "[::1]:"]), odd_text())
    known = ["127.0.0.1:²", f":{NINES}", "[::1", "]:80", ":٣"]

    def read(text: str) -> None:
        address = parse_address(text)
        assert 0 <= address.port <= 65535
        assert address.url

    fuzz(read, words.map("".join), known=known)


def test_configuration_files(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "stream.toml"
    seed = (
        b'camera = ["0", "street:"]\nframes = 30\nalpha = 0.5\ninsecure = true\n'
        b'allow-host = ["a", "b"]\nserve = "127.0.0.1:8080"\n[[x]]\ny = 1979-05-27\n'
    )
    known = [
        f"frames = {NINES}".encode(),
        f"frames = 0x{'f' * 5000}".encode(),
        b"frames = " + b"[" * 100_000,
        b"frames = " + b"[" * 300 + b"]" * 300,
        b"\xff",
        b"a = nan\nframes = inf",
    ]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for word in flags(path, ["frames", "alpha", "insecure", "camera", "serve", "allow-host"]):
            assert word.startswith("--")

    fuzz(read, damaged(seed), known=known)


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_of_every_command(fuzz: Fuzz, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nonsense behind a flag is told as usage (argparse exits with 2), never as a traceback."""
    parse = importlib.import_module(name).parse
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    known_flags = sorted({word.strip("[],.") for word in shown.split() if word.startswith("--")})
    numbers = st.sampled_from(["nan", "inf", "-1", "0", "1e400", "²", "1x1", "1:2:3", ",", NINES])

    def read(words: list[str]) -> None:
        try:
            parse(words)
        except OSError as error:
            if error.filename is None:  # else run_command makes a sentence of it
                raise
        except SystemExit as end:
            if end.code != 2:
                raise UsageError(f"exit code {end.code}") from None

    typed = odd_text().filter(lambda text: "\0" not in text and text.isascii())  # as in a shell
    pair = st.tuples(st.sampled_from(known_flags), numbers | typed)
    flat = st.lists(pair, max_size=3).map(lambda pairs: [word for both in pairs for word in both])
    every = [[flag, word] for flag in known_flags for word in ("nan", "²", NINES, "-1")]
    fuzz(read, flat.filter(lambda words: "--help" not in words), known=every, examples=15)
