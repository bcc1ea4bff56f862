"""The files of deploy/: what they call exists, and images say that nobody has built them."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runtime.stream import parse

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
IMAGES = sorted(DEPLOY.glob("Dockerfile.*"))


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "deeplab-stream.service")
    return parser["Service"]


def test_the_service_is_watched_and_runs_an_existing_script() -> None:
    service = unit()
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 10  # more than PATIENCE for a camera
    _, script, flag, config = service["ExecStart"].split()
    assert (ROOT / script).is_file()
    assert (flag, Path(config).name) == ("--config", "stream.toml")


def test_its_configuration_is_understood() -> None:
    options = parse(["--config", str(DEPLOY / "stream.toml")])
    assert (options.serve, options.headless, options.log) == ("0.0.0.0:8080", True, "json")
    assert str(options.recordings) == f"/var/lib/{unit()['StateDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "deeplab-stream.service").read_text()
    text = text.replace("/opt/deeplab-edge/.venv/bin/python", "/bin/true")
    text = text.replace("User=deeplab\n", "").replace("SupplementaryGroups=video render\n", "")
    file = tmp_path / "deeplab-stream.service"
    file.write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True
    )
    assert "deeplab-stream" not in said.stderr


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_images_start_the_stream_and_admit_that_they_were_never_built(image: Path) -> None:
    text = image.read_text()
    assert "COULD NOT BE BUILT in development" in text
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    words = json.loads(entry)[2:] + json.loads(command)
    assert parse(words).serve == "0.0.0.0:8080"
    assert "USER deeplab" in text


def test_the_health_check_asks_for_readiness(
    served: Any,
    serve: Any,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("healthcheck", DEPLOY / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    token = "correct horse battery staple"
    server = serve(served, token=token)
    until(lambda: served.channel.condition == "live")
    url = server.address.url.rstrip("/")
    monkeypatch.setenv("DEEPLAB_TOKEN", token)
    assert check.main([url]) == 0
    monkeypatch.delenv("DEEPLAB_TOKEN")
    assert check.main([url]) == 1
    assert check.main(["http://127.0.0.1:1"]) == 1
    assert check.main(["--help"]) == 2
    assert "token" in capsys.readouterr().out
