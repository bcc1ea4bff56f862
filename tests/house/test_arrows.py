"""Who may import whom, what a device may import, and names that would shadow something."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# docs/architecture.md draws this table.
ALLOWED: dict[str, set[str]] = {
    "scenes": set(),
    "engines": set(),
    "crf": {"engines"},
    "calibration": {"crf", "scenes", "engines"},
    "train": {"crf", "scenes", "engines"},
    "export": {"train", "calibration", "crf", "scenes", "engines"},
    "runtime": {"engines", "crf", "scenes"},
    "benchmarks": {
        "train", "calibration", "crf", "scenes", "engines", "export", "runtime", "benchmarks"
    },
}  # fmt: skip
# A script may look up to a room that imports its own: nothing imports a script, so no circle
# closes. Quantization-aware training asks `export` what the graph will be.
UPWARD = {"train/fit.py": {"export"}}
ROOMS = [room for room in ALLOWED if room != "benchmarks"]
STREET = ("scenes.street", "scenes.dataset")  # what the device may take from scenes
HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxsim", "onnxscript", "lightning", "matplotlib"}
# Python 3.10 to 3.13's own modules and the packages we depend on; a file of such a name, put first
# on the path by `python room/file.py`, would be imported in its place.
TAKEN = sys.stdlib_module_names | HEAVY | set(ALLOWED) | {
    "av", "numpy", "PIL", "pillow", "onnxruntime", "tensorrt", "pycuda", "cv2", "tqdm", "jinja2",
    "utils", "common", "helpers", "misc",
}  # fmt: skip


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path, typing_too: bool = True) -> Iterator[tuple[str, int]]:
    """Module names that a file imports anywhere, with their lines; relative ones are an error."""
    tree = ast.parse(path.read_text())
    if not typing_too:
        guards = [
            n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
        ]
        tree.body = [node for node in tree.body if node not in guards]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports break scripts"
            yield node.module or "", node.lineno


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows(room: str) -> None:
    for path in files(room):
        upward = UPWARD.get(path.relative_to(ROOT).as_posix(), set())
        allowed = ALLOWED[room] | {room} | upward
        for module, line in imports(path):
            top = module.partition(".")[0]
            assert top not in ALLOWED or top in allowed, f"{path}:{line}: {room} -> {module}"


def test_the_runtime_takes_only_the_street_from_scenes() -> None:
    for path in files("runtime"):
        for module, line in imports(path):
            if module.partition(".")[0] == "scenes":
                assert module in STREET, f"{path}:{line}: {module}"


@pytest.mark.parametrize("room", ["engines", "crf", "runtime"])
def test_device_rooms_never_import_torch_or_onnx(room: str) -> None:
    for path in files(room):
        for module, line in imports(path):
            assert module.partition(".")[0] not in HEAVY, f"{path}:{line}: {module}"


def test_the_stream_starts_without_any_heavy_package() -> None:
    code = "import sys, runtime.stream, engines.session, crf, scenes.street; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & {name.partition(".")[0] for name in out.stdout.split()}


@pytest.mark.parametrize("room", ALLOWED)
def test_no_file_shadows_a_module(room: str) -> None:
    # A benchmark is named after the room it times, and puts the root before its own folder.
    taken = TAKEN - set(ALLOWED) if room == "benchmarks" else TAKEN
    for path in files(room):
        if path.stem != "__init__":
            assert path.stem not in taken, f"{path} hides the module {path.stem}"


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


SCRIPTS = sorted(
    path
    for room in ALLOWED
    for path in files(room)
    if 'if __name__ == "__main__":' in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_scripts_are_leaves_with_light_help(script: Path) -> None:
    name = ".".join(script.relative_to(ROOT).with_suffix("").parts)
    for room in ROOMS:
        for path in files(room):
            for module, line in imports(path, typing_too=False):
                assert module != name, f"{path}:{line} imports the script {name}"
    code = (
        f"import sys; import {name} as script\n"
        "try:\n    script.parse(['--help'])\nexcept SystemExit: pass\n"
        "print('MODULES', *sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text, _, modules = out.stdout.partition("MODULES")
    assert "example:" in text
    heavy = HEAVY | {"onnxruntime"}
    assert not heavy & {module.partition(".")[0] for module in modules.split()}
