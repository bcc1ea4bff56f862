"""`make gpu` without a GPU: how parts end, what is remembered, and that their commands exist."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_parts, gpu_place
from benchmarks.gpu_page import slug, write_page
from benchmarks.gpu_parts import PARTS, Part
from benchmarks.gpu_place import (
    Command,
    Place,
    compile_sources,
    download_lines,
    parent_packages,
    prepare,
)
from benchmarks.gpu_run import Outcome, State, run_part
from engines import gpu_facts
from engines.failures import DeviceMissing
from engines.gpu_facts import GpuFacts

ROOT = Path(__file__).resolve().parents[2]
H100 = GpuFacts("NVIDIA H100 80GB HBM3", "9.0", "13.0")
Parts = Callable[..., None]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine with a GPU on which both TensorRT libraries work."""
    verdict = {"runs": True, "why": ""}
    library = {"version": "1.7"}
    doctor = {
        "targets": dict.fromkeys(("tensorrt", "tensorrt-rtx"), verdict),
        "platform": {"libraries": {"tensorrt_rtx": library}},
    }
    (tmp_path / "doctor.json").write_text(json.dumps(doctor))
    return Place(tmp_path, H100)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    """`parts(name=code, ...)`: these in place of the real ones, each a few lines of Python."""

    def replace(**codes: str) -> None:
        made = [part(name.replace("_", "-"), code) for name, code in codes.items()]
        monkeypatch.setattr(gpu_parts, "PARTS", tuple(made))

    return replace


@pytest.fixture
def rehearse(tmp_path: Path) -> Callable[..., int]:
    """`rehearse(*flags)`: the command in a folder of its own; its exit code."""
    return lambda *flags: gpu.main(["--rehearse", "--out", str(tmp_path / "gpu"), *flags])


def part(name: str, code: str) -> Part:
    def commands(place: Place) -> list[Command]:
        return [place.run("-c", code)]

    return Part(name, "a few lines", 60, commands, commands)


def state(tmp_path: Path) -> dict[str, Outcome]:
    return State(tmp_path / "gpu" / "rehearsal" / "state.json").outcomes


def test_without_a_gpu_it_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_facts, "probe_gpu", lambda: None)
    assert gpu.main(["--out", str(tmp_path / "gpu")]) == 4
    assert "--rehearse runs what goes without one" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


def test_a_failed_part_does_not_stop_the_others(
    rehearse: Callable[..., int],
    parts: Parts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts(
        bad=f"print({str(ROOT)!r} + '/engines says no'); raise SystemExit(1)",
        lacking="import sys; print('error: no TensorRT here', file=sys.stderr); sys.exit(4)",
        good="print('fine')",
    )
    out = tmp_path / "out.json"
    assert rehearse("--json", str(out)) == 3
    found = state(tmp_path)
    assert {name: outcome.status for name, outcome in found.items()} == {
        "bad": "failed", "lacking": "not possible here", "good": "ok",
    }  # fmt: skip
    assert found["bad"].tail[-1] == "engines says no"
    assert found["bad"].reason.startswith("exit code 1: ")
    assert found["lacking"].reason == "no TensorRT here"
    told = capsys.readouterr().out
    assert "| engines says no" in told
    assert "1 failed, 1 not possible here, 1 ok" in told
    assert json.loads(out.read_text())["never_ran"] == [
        "bad (failed)", "lacking (not possible here)", "good (all of it)",
    ]  # fmt: skip


def test_an_accepted_exit_code_is_no_failure(place: Place) -> None:
    """The doctor ends with 4 where no model can run: that is what it found, not what it lacks."""

    def commands(place: Place) -> list[Command]:
        return [place.run("-c", "raise SystemExit(4)", accepted=(0, 3, 4))]

    assert run_part(Part("doctor", "", 60, commands), place, 60).status == "ok"


def test_what_went_well_is_not_done_twice(
    rehearse: Callable[..., int], parts: Parts, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    note = f"open({str(log)!r}, 'a').write"
    parts(first=f"{note}('1')", second=f"{note}('2'); raise SystemExit(1)")
    assert rehearse() == 3
    parts(first=f"{note}('1')", second=f"{note}('2')", third=f"{note}('3')")
    assert rehearse("--skip", "third") == 0
    assert log.read_text() == "122"
    assert rehearse() == 0
    assert log.read_text() == "1223"
    assert rehearse("--part", "first") == 0
    assert log.read_text() == "12231"
    assert rehearse("--again") == 0
    assert log.read_text() == "12231123"


def test_when_the_time_is_up_the_rest_waits(
    rehearse: Callable[..., int],
    parts: Parts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts(first="raise SystemExit(1)", second="print('fine')")
    assert rehearse("--minutes", "1e-9") == 0
    assert "the time is up" in capsys.readouterr().out
    assert state(tmp_path) == {}


def test_a_part_that_hangs_is_ended_with_its_children(place: Place) -> None:
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c',"
        " 'import time; time.sleep(600)']); print(child.pid, flush=True); time.sleep(600)"
    )
    hanging = Part("hangs", "", 2, lambda place: [Command((sys.executable, "-c", code))])
    outcome = run_part(hanging, place, 60)
    assert outcome.status == "failed"
    assert outcome.reason == "did not end within 2 s"
    child = int(outcome.tail[-1])
    while alive(child):  # SIGKILL is on its way: until it has come, this goes round
        os.sched_yield()


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and whose parent has not asked yet does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_part_without_a_rehearsal_needs_a_gpu(
    rehearse: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = dataclasses.replace(part("alone", "print()"), rehearsal=None)
    asked = dataclasses.replace(part("asked", "print()"), asked=True)
    monkeypatch.setattr(gpu_parts, "PARTS", (alone, asked))
    assert rehearse() == 0
    assert state(tmp_path)["alone"].reason == "all of it needs a GPU"
    assert "asked" not in state(tmp_path)
    assert rehearse("--part", "asked") == 0
    assert state(tmp_path)["asked"].status == "ok"


def test_a_rehearsal_says_what_it_leaves_out() -> None:
    fine = {part.name: Outcome(part.name, "ok") for part in PARTS}
    left = [gpu.never_ran(part, fine, rehearse=True) for part in PARTS]
    assert "verify (the engines themselves)" in left
    assert "stream (all of it)" in left
    assert "" in left  # the doctor, for one
    assert not any(gpu.never_ran(part, fine, rehearse=False) for part in PARTS)
    assert gpu.never_ran(PARTS[0], {}, rehearse=False) == "environment (not reached)"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--part", "stram"], "did you mean stream?"),
        (["--minutes", "0"], "more than 0"),
        (["--wheels", "/no/such/folder"], "is no folder"),
        (["--list-wheels", "--has", "/no/such/file"], "pip list > file"),
    ],
)
def test_wrong_flags(
    rehearse: Callable[..., int],
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rehearse(*flags) == 2
    assert message in capsys.readouterr().err


def test_a_broken_state_is_refused(
    rehearse: Callable[..., int], parts: Parts, tmp_path: Path
) -> None:
    parts(one="print()")
    file = tmp_path / "gpu" / "rehearsal" / "state.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert rehearse() == 6


def scripts(place: Place) -> list[tuple[str, ...]]:
    """The commands of all parts that run a script of this repository, without the Python."""
    parts = [part for part in PARTS if part.name != "sources"]  # which --wheels has
    commands = [command for part in parts for command in part.commands(place)]
    return [each.words[1:] for each in commands if each.words[1].endswith(".py")]


def test_every_part_calls_scripts_as_they_want_to_be_called(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_parts, "find_nvcc", lambda: "nvcc")
    calls = scripts(place)
    assert {"export/build_engine.py", "export/verify.py", "runtime/stream.py"} <= {
        c[0] for c in calls
    }
    for script, *words in calls:
        assert (ROOT / script).is_file()
        importlib.import_module(script.removesuffix(".py").replace("/", ".")).parse(words)


def test_nothing_may_be_skipped_on_a_gpu(place: Place) -> None:
    tests = {part.name: part.commands(place)[0] for part in PARTS if part.name.endswith("tests")}
    assert dict(tests["gpu-tests"].environment) == {"REQUIRE_GPU": "1"}
    assert dict(tests["tensorrt-tests"].environment) == {
        "REQUIRE_GPU": "1",
        "REQUIRE_TENSORRT": "1",
    }
    for command in tests.values():
        assert command.lacking is None  # 4 is how pytest ends when it was called wrongly
        files = [word for word in command.words if word.startswith("tests/")]
        assert (
            "tests/crf/test_cuda_gpu.py" in files or "tests/export/test_plan.py" in files or files
        )


def test_plans_are_built_by_what_works(place: Place) -> None:
    (engines,) = [part for part in PARTS if part.name == "engines-int8"]
    assert [words[-3] for words in (c.words for c in engines.commands(place))] == [
        "tensorrt", "tensorrt-rtx",
    ]  # fmt: skip
    here = Place(place.out, None)
    assert [c.words[-3] for c in engines.commands(here)] == ["tensorrt-rtx"]
    (verify,) = [part for part in PARTS if part.name == "verify"]
    assert len(verify.commands(place)) == 2
    doctor = json.loads(place.result("doctor").read_text())
    doctor["targets"] = {name: {"runs": False, "why": "not for 9.0"} for name in doctor["targets"]}
    place.result("doctor").write_text(json.dumps(doctor))
    with pytest.raises(DeviceMissing, match=r"tensorrt: not for 9.0; tensorrt-rtx: not for 9.0"):
        engines.commands(Place(place.out, H100))
    (command,) = verify.commands(Place(place.out, H100))
    assert command.words[command.words.index("--target") + 1] == "cpu"
    place.result("doctor").unlink()
    with pytest.raises(DeviceMissing, match="run --part doctor"):
        engines.commands(Place(place.out, H100))


def test_a_bundle_that_was_given_need_not_have_mixed_graphs(place: Place, tmp_path: Path) -> None:
    (engines,) = [part for part in PARTS if part.name == "engines-mixed"]
    given = Place(place.out, None, given=tmp_path)
    files = [{"name": "int8_s8.onnx", "precision": "int8", "flavour": "s8"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    with pytest.raises(DeviceMissing, match="no mixed graph: build it with --mixed"):
        engines.commands(given)
    files.append({"name": "mixed_s8.onnx", "precision": "mixed", "flavour": "s8"})
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    assert engines.commands(given)


def test_the_page_holds_what_was_measured(place: Place, tmp_path: Path) -> None:
    settings = {"size": "480x360", "what": "network"}
    row = {
        "name": "tensorrt-fp16", "peer": "torch-fp16-eager", "settings": settings, "ours_ms": 0.5,
        "peer_ms": 2.0, "ratio": 4.0, "agreement": 0.999,
    }  # fmt: skip
    engine = {
        "target": "tensorrt", "precision": "fp16", "built": True, "bytes": 5_200_000,
        "seconds": 31.25, "layers": "58 in FP16",
    }  # fmt: skip
    stream = {"fps": 412.3, "frame_age": {"p50_ms": 4.5, "p99_ms": 6.25}}
    place.result("speed").write_text(json.dumps({"results": [row]}))
    place.result("engines-fp16-tensorrt").write_text(json.dumps({"engines": [engine]}))
    place.result("stream-tensorrt").write_text(json.dumps(stream))
    verdict = {"verdict": "fine", "label_agreement": {"fp16": 0.9985}, "oracle_max_abs": 2.5e-6}
    place.result("verify-tensorrt").write_text(json.dumps(verdict))
    accuracy = {"target": "cpu", "precision": "int8", "miou": 73.83, "drop": 0.03, "p50_ms": 16.2}
    shipped = accuracy | {"shipped": True, "crf": None}
    tried = accuracy | {"shipped": False, "crf": None, "precision": "mixed"}
    place.result("report").write_text(json.dumps({"rows": [shipped, tried]}))
    place.result("crf").write_text(json.dumps({"results": [row]}))  # of an earlier call
    outcomes = [
        Outcome("speed", "ok", 12.0),
        Outcome("engines-fp16", "ok", 31.0),
        Outcome("stream", "ok", 9.0),
        Outcome("verify", "ok", 60.0),
        Outcome("report", "ok", 70.0),
        Outcome("crf", "failed", 1.0, "exit code 1: a | b"),
    ]
    page = write_page(place, outcomes, tmp_path / "docs")
    assert page.name == "nvidia-h100-80gb-hbm3.md"
    text = page.read_text()
    for line in (
        "| tensorrt | fp16 | 5.2 | 31.2 | 58 in FP16 |",
        "| tensorrt-fp16 | torch-fp16-eager | 480x360 | 0.50 | 2.00 | 4.00x | 99.90% |",
        "| tensorrt | fine | fp16 99.85% | 2.5e-06 |",
        "| cpu | int8 | 73.83 | 0.03 | 16.20 |",
        "| tensorrt | 412.3 | 4.5 | 6.2 |",
        "| crf | failed | 1 | exit code 1: a \\| b |  |",
    ):
        assert line in text
    assert "pydensecrf" not in text
    assert "mixed" not in text
    data = json.loads(page.with_suffix(".json").read_text())
    assert data["speed"]["results"] == [row]
    assert "crf" not in data


def test_a_gpu_run_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    monkeypatch.setattr(gpu_facts, "probe_gpu", lambda: H100)
    parts(one="print('fine')")
    docs = tmp_path / "docs"
    assert gpu.main(["--out", str(tmp_path / "gpu"), "--docs", str(docs)]) == 0
    assert "| one | ok |" in (docs / f"{slug(H100.name)}.md").read_text()
    assert (tmp_path / "gpu" / slug(H100.name) / "state.json").is_file()


def test_what_another_machine_lacks_is_listed(tmp_path: Path) -> None:
    has = tmp_path / "has.txt"
    has.write_text("numpy==2.5.2\nscikit_build_core 1.0\nTorch 2.11.0+cu130\npydensecrf2 1.1\n")
    wheels, sources = download_lines(has, "3.12", "aarch64")
    assert "--python-version 3.12" in wheels
    assert "manylinux_2_28_aarch64" in wheels
    names = wheels.split("manylinux2014_aarch64 ")[1].split()
    assert {"av", "onnxsim", "torchvision"} <= set(names)
    assert not {"numpy", "torch", "scikit-build-core"} & set(names)
    assert sources.endswith("pycuda")
    has.write_text(gpu_place.PACKAGES.read_text())
    assert download_lines(has, "3.12", "x86_64") == []


def test_every_dependency_has_a_wheel_in_the_list() -> None:
    """What the parts import of pyproject.toml's packages; TensorRT is the machine's own."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["train"], *extras["export"], *extras["gpu"]]
    names = {gpu_place._canonical(re.split(r"[\[>=]", text)[0]) for text in wanted}
    assert names - set(gpu_place.PACKAGES.read_text().split()) == {"tensorrt-rtx-cu13"}


def test_wheels_join_the_machines_own_packages(tmp_path: Path) -> None:
    """An environment without network or pip of its own, that still sees this Python's packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "lonely-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("lonely.py", "answer = 42\n")
        info = "lonely-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lonely\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    place = Place(tmp_path, None, wheels)
    *commands, project = prepare(place)
    assert project.words[-2:] == ("-e", str(ROOT))
    with pytest.raises(DeviceMissing, match="not needed"):
        compile_sources(place)
    (wheels / "pycuda-1.tar.gz").touch()
    assert compile_sources(place)[0].words[-1] == str(wheels / "pycuda-1.tar.gz")
    for command in commands:
        subprocess.run(command.words, check=True, capture_output=True)
    line = [
        str(place.python),
        "-c",
        "import lonely, numpy; print(lonely.answer, numpy.__version__)",
    ]
    told = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    import numpy as np

    assert told.split() == ["42", np.__version__]
    assert str(place.python.parent) in place.path


def test_a_folder_without_wheels_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match="--list-wheels prints how to get them"):
        prepare(Place(tmp_path, None, tmp_path))


def test_parent_packages_are_this_pythons() -> None:
    assert any(Path(line, "numpy").is_dir() for line in parent_packages().splitlines())


def test_help_needs_no_package() -> None:
    """On a bare Python, before anything is installed."""
    line = [sys.executable, "-S", str(ROOT / "benchmarks/gpu.py"), "--list-wheels"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "pip download" in done.stdout
