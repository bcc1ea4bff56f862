"""What every test may use: the real data where there is some, and marks that never hide."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def deeplab_data() -> Path:
    """The folder with camvid/, weights/ and video/ that DEEPLAB_DATA names; else a skip."""
    root = os.environ.get("DEEPLAB_DATA")
    if not root:
        pytest.skip("DEEPLAB_DATA is not set: it names the folder with camvid/, weights/, video/")
    if not Path(root, "camvid").is_dir():
        pytest.fail(f"DEEPLAB_DATA={root} has no camvid/ folder")
    return Path(root)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` and `tensorrt` tests where the thing is missing, unless REQUIRE_* forbids it."""
    _require(items, "gpu", shutil.which("nvidia-smi") is not None, "no NVIDIA GPU here")
    found = any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx"))
    _require(items, "tensorrt", found, "neither tensorrt nor tensorrt_rtx is installed")


def _require(items: list[pytest.Item], mark: str, present: bool, reason: str) -> None:
    if present or os.environ.get(f"REQUIRE_{mark.upper()}") == "1":
        return
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))
