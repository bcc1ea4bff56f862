"""docs/install.md tells what was measured, and every extra has been tried."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.install.cells import NOT_FROM_PIP, ROOT, RUNS, cells, commands, extras, makes_extras
from tests.install.matrix import VERSIONS
from tests.install.table import BEGIN, END, table, with_table

PAGE = (ROOT / "docs" / "install.md").read_text()
MEASURED = json.loads((ROOT / "docs" / "benchmarks" / "install.json").read_text())
ROWS: list[dict[str, Any]] = MEASURED["rows"]
DEVICE_MB = 400  # what a device may be asked for
NOT_ON_A_DEVICE = {"torch", "onnx", "opencv-python", "openvino", "aiohttp"}


@pytest.mark.parametrize("extra", [e for e in extras() if e not in NOT_FROM_PIP])
def test_every_extra_has_a_command_that_needs_it(extra: str) -> None:
    assert RUNS[extra]
    assert any(extra in cell.extras for cell in cells())


def test_what_make_installs_are_extras() -> None:
    assert set(makes_extras()) <= set(extras())


def test_commands_are_found_by_their_guard() -> None:
    found = commands()
    assert {"runtime.stream", "export.build_engine", "engines.doctor"} <= set(found)
    assert "engines.bundle" not in found


def test_the_table_is_that_of_the_measurements() -> None:
    assert PAGE.partition(BEGIN)[2].partition(END)[0] == table(ROWS)
    assert with_table(PAGE, ROWS) == PAGE


@pytest.mark.parametrize("version", VERSIONS)
def test_a_device_gets_no_torch_and_little_else(version: str) -> None:
    (row,) = [
        r for r in ROWS
        if (r["extras"], r["bounds"]) == ("base", "newest") and r["python"].startswith(version)
    ]  # fmt: skip
    assert row["installed"]
    assert row["megabytes"] < DEVICE_MB
    assert not NOT_ON_A_DEVICE & set(row["versions"])


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['python']}-{r['extras']}-{r['bounds']}")
def test_what_the_guide_shows_installed_also_ran(row: dict[str, Any]) -> None:
    assert row["installed"], row["said"]
    assert not row["conflicts"]
    assert not [done for done in row["ran"] if done["code"] != 0]


def test_the_table_names_trouble() -> None:
    good = {"python": "3.12.1", "extras": "base", "bounds": "newest", "installed": True,
            "megabytes": 300, "seconds": 9.6, "conflicts": "", "ran": [{"code": 0}]}  # fmt: skip
    bad = {**good, "python": "3.13.0", "ran": [{"code": 1}]}
    none = {**good, "extras": "gpu", "installed": False, "bounds": "lowest"}
    assert table([good, bad, none]).splitlines() == [
        "| extras | 3.12 | 3.13 |",
        "|---|---|---|",
        "| base | 300 MB, 10 s | 300 MB, 10 s, **1 failed** |",
        "| gpu, lowest versions | does not install |  |",
    ]
