"""Which of this package's extras brings a module that is missing, in a sentence for the user."""

from __future__ import annotations

import re
import sys

PACKAGE = "deeplab-edge"
# Modules whose distribution has another name; the others differ in - and _ at most.
DISTRIBUTIONS = {
    "cuda": "cuda-core",
    "cv2": "opencv-python",
    "pydensecrf": "pydensecrf2",
    "sklearn": "scikit-learn",
    "tensorrt_rtx": "tensorrt-rtx-cu13",
}
EXTRA = re.compile(r"extra == ['\"]([\w-]+)")
LOWEST_PYTHON = re.compile(r"python_version >= ['\"]3\.(\d+)")


def how_to_get(module: str) -> str | None:
    """What to install so that `import module` works; None if no extra brings it.

    The line works in a checkout and beside an installed wheel: pip finds this package installed
    and takes the extra's list from its metadata, not from a registry.
    """
    top = module.partition(".")[0]
    name = DISTRIBUTIONS.get(top, top.replace("_", "-"))
    lines = [line for line in _requirements() if re.match(rf"{re.escape(name)}(?![\w.-])", line)]
    extras = [match[1] for line in lines if (match := EXTRA.search(line))]
    if not extras:
        return None
    fix = "pip install " + " or ".join(f"'{PACKAGE}[{extra}]'" for extra in extras)
    lowest = LOWEST_PYTHON.search(lines[0])
    if lowest and sys.version_info < (3, int(lowest[1])):
        here = ".".join(map(str, sys.version_info[:2]))
        fix = f"it is for Python 3.{lowest[1]} or later, this is {here}; there: {fix}"
    return f"{top} is not installed, and this command needs it: {fix}"


def _requirements() -> list[str]:
    """Requirement lines of the installed package; none in a checkout that was never installed."""
    import importlib.metadata  # 20 ms that only a failure pays

    try:
        return importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
