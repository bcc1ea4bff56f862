"""What the guides tell people to type: understood by the scripts, and run by the long suite.

A line that is not run matches one of `NOT_RUN`, with the reason: there is no third way.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from scenes.dataset import open_dataset
from tests.docs.pages import PAGES, ROOT, invoked, is_script, page_id, python_blocks, typed_lines

NOT_RUN = {
    r"--camera (0|csi:)": "needs a camera",
    r"--target tensorrt( |$)": "needs TensorRT and its GPU",
    r"^make |^source ": ".ci/run makes what it can, `make gpu` the rest",
    r"apt install|pip (install|download)|-m venv|git clone|rsync|^mkdir|^export ": "installs",
    r"torchrun|train/fit\.py|runs/|NAME": "trains for hours; tests/train trains for seconds",
    r"--save-ranges|--onnx FILE": "minutes of calibration; tests/export builds small networks",
    r"import_checkpoint": "needs weights of 160 MB; tests/train imports small ones",
    r"benchmarks/(engines|crf|stream|serving|sources)\.py": "takes minutes of a quiet machine",
    r"benchmarks/(gpu|pixels)\.py": "needs an NVIDIA GPU",
    r"ffplay": "opens a window",
    r"^ray |--address auto": "needs several machines",
    r"pytest -m slow": "is the slow suite itself",
    r"tritonclient|tritonserver": "needs Triton's server; tests/export starts one",
}  # fmt: skip
FILLED = {
    "camvid:DIR": "camvid:data/camvid",
    "folder:DIR": "folder:data/folder",
    "--bundle DIR": "--bundle artifacts/camvid-mobilenetv2",
    "--copy-to DIR": "--copy-to few",
    "--input CLIPS PHOTOS --output LABELS": "--input data/folder/images/val --output labelled",
}
FINDINGS = (0, 3)  # a doctor that finds something, a gate on frames that are not the model's
BUNDLE = "artifacts/camvid-mobilenetv2"

LINES = [(page, line) for page in PAGES for line in typed_lines(page)]
COMMANDS = [
    pytest.param(line, id=f"{page_id(page)}: {line}") for page, line in LINES if is_script(line)
]
SHOWN = [page for page in PAGES if typed_lines(page)]


def is_run(line: str) -> bool:
    return not any(re.search(pattern, line) for pattern in NOT_RUN)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood_by_their_scripts(command: str) -> None:
    script, *flags = invoked(command)
    assert (ROOT / script).is_file(), f"{script} does not exist"
    module = importlib.import_module(".".join(Path(script).with_suffix("").parts))
    module.parse(flags)


@pytest.mark.parametrize("page", SHOWN, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in typed_lines(page):
        if line.startswith("make "):
            target = line.split()[1]
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: {line}"


def test_every_reason_not_to_run_a_line_is_needed() -> None:
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for _, line in LINES), f"nothing matches {pattern}"


def test_most_lines_are_run_or_need_what_no_test_has() -> None:
    for page, line in LINES:
        placeholder = re.search(r"\b[A-Z]{3,}\b(?!_)", fill(line).partition(" $")[0])
        known = is_script(line) or re.match(r"curl |\(umask", line) or not is_run(line)
        assert known, f"{page_id(page)}: nobody runs {line!r}: teach this test, or NOT_RUN"
        assert placeholder is None or not is_run(line), f"{page_id(page)}: what is {placeholder}?"


def fill(line: str) -> str:
    for word, stands_for in FILLED.items():
        line = line.replace(word, stands_for)
    return line


@dataclass
class Reader:
    """Somebody who types what a page says, in a folder with a bundle and some frames."""

    folder: Path
    server: subprocess.Popen[str] | None = None
    port: int = 0

    def types(self, line: str) -> None:
        line = fill(line).replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        if "--serve" in line:
            self.start(line)
        elif is_script(line):
            done = self.finished(self.command(line))
            assert done.returncode in FINDINGS, f"{line}\n{done.stdout}\n{done.stderr}"
        else:
            done = self.finished(["bash", "-c", line.replace("curl ", "curl -sS --fail ")])
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def command(self, line: str) -> list[str]:
        script, *flags = invoked(line)
        return [sys.executable, str(ROOT / script), *flags]

    def finished(self, line: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=False)

    def start(self, line: str) -> None:
        """A stream that serves until the page ends; on return it is ready."""
        self.server = subprocess.Popen(
            self.command(line), cwd=self.folder, text=True, stdout=subprocess.DEVNULL
        )
        while self.server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10).close()
                return
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.2)  # not there, or not ready; if it never is, it ends or CI does
        pytest.fail(f"{line} ended with {self.server.returncode}")

    def leaves(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle, a picture, and the street as CamVid and as a folder: data set."""
    folder = tmp_path_factory.mktemp("reader")
    street = open_dataset("street:", "val")
    for index in range(20):  # calibration takes 16 or more, tuning 10, and a score few
        frame, labels = map(Image.fromarray, (street[index * 5].frame, street[index * 5].labels))
        for split in ("train", "val", "test"):
            save(frame, folder / f"data/folder/images/{split}/{index:03}.png")
            save(labels, folder / f"data/folder/labels/{split}/{index:03}.png")
        split = "train" if index < 16 else "val"
        save(frame, folder / f"data/camvid/{split}/{index:03}.png")
        save(labels, folder / f"data/camvid/{split}annot/{index:03}.png")
    classes = {"classes": list(street.classes), "palette": [list(c) for c in street.palette]}
    (folder / "data/folder/classes.json").write_text(json.dumps(classes))
    save(Image.fromarray(street[0].frame), folder / "picture.jpg")
    build = [sys.executable, str(ROOT / "export/build_engine.py"), "--int8"]
    subprocess.run(build, cwd=folder, check=True)
    return folder


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@pytest.fixture
def reader(workshop: Path) -> Iterator[Reader]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reader = Reader(workshop, port=port)
    yield reader
    reader.leaves()


RUN = [page for page in SHOWN if any(map(is_run, typed_lines(page)))]


def paced(page: Path) -> object:
    """The README's own lines are among the slow tests; a guide's take longer than those can."""
    mark = pytest.mark.slow if page_id(page) == "README.md" else pytest.mark.long
    return pytest.param(page, marks=mark, id=page_id(page))


@pytest.mark.parametrize("page", [paced(page) for page in RUN])
def test_a_page_can_be_typed(page: Path, reader: Reader) -> None:
    """In order, as a reader would."""
    for line in filter(is_run, typed_lines(page)):
        reader.types(line)


SNIPPETS = [page for page in PAGES if any(map(is_run, python_blocks(page)))]


@pytest.mark.slow
@pytest.mark.parametrize("page", SNIPPETS, ids=page_id)
def test_python_of_a_page_runs(page: Path, workshop: Path) -> None:
    for block in filter(is_run, python_blocks(page)):
        code = block.replace("rtsp://user:password@host/1", "picture.jpg")
        given = (
            "import numpy as np\n"
            "frame = np.zeros((360, 480, 3), np.uint8)\n"
            "logits = np.zeros((11, 90, 120), np.float32)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", given + code],
            cwd=workshop,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{page_id(page)}\n{done.stderr}"
