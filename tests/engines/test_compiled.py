"""The compiled pixel loops as a guest of Python: missing, forked, called from several threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.labels import upsample_argmax

MISSING = """
import sys
sys.modules["engines._native"] = None
import engines.labels
"""
FORKED = """
import os
import numpy as np
from engines.labels import upsample_argmax

logits = np.random.default_rng(0).normal(size=(5, 20, 20)).astype(np.float32)
before = upsample_argmax(logits, (80, 80), threads=3)
child = os.fork()
if child == 0:  # has none of the parent's threads
    same = np.array_equal(upsample_argmax(logits, (80, 80), threads=3), before)
    os._exit(0 if same else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_without_the_compiled_loops_the_error_names_the_fix() -> None:
    done = python(MISSING)
    assert done.returncode == 1
    assert "make install" in done.stderr.splitlines()[-1]
    assert "sudo apt install g++" in done.stderr.splitlines()[-1]


def test_a_forked_process_starts_threads_of_its_own() -> None:
    done = python(FORKED)
    assert done.returncode == 0, done.stderr


def test_callers_on_several_threads_do_not_disturb_each_other() -> None:
    logits = np.random.default_rng(0).normal(size=(40, 11, 24, 32)).astype(np.float32)
    expected = [upsample_argmax(one, (96, 128)) for one in logits]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: upsample_argmax(one, (96, 128), threads=2), logits))
    np.testing.assert_array_equal(found, expected)
