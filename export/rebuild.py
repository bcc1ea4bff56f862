"""The plans of a bundle anew, from the graphs that it holds: what a device does with a bundle.

Needs neither torch nor the checkpoint, and onnx only for a pre-flight, several frames or sizes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from engines.bundle import Bundle, BundleWriter, writing_bundle
from engines.failures import UsageError
from engines.manifest import TARGETS, BundleFile
from export.engine_row import Build, BuildResult
from export.progress import tell
from export.targets import build_engines, require_library

if TYPE_CHECKING:
    from export.build_engine import Options

OF_A_PLAN = ("plan", "sidecar", "plan-source")


def rebuild(options: Options, root: Path) -> BuildResult:
    """Replace the plans of a bundle's target and precision; all else stays as it is."""
    started = time.perf_counter()
    require_library(options.target, options.plan_settings())
    bundle = Bundle.open(root)
    _require_size(options, bundle)
    provenance = bundle.manifest.provenance
    with writing_bundle(root) as writer:
        for file in bundle.manifest.files:
            if not _replaced(file, options):
                _copy(bundle, file, writer)
        tell(f"{options.precision} engines")
        build = Build(
            writer, bundle.spec, options.precision, options.plan_settings(), root,
            options.depthwise_int8, options.preflights(),
        )  # fmt: skip
        engines = build_engines(build, options.target)
        writer.finish(bundle.manifest)
    agreement = provenance.get("golden_agreement", {})
    seconds = time.perf_counter() - started
    return BuildResult(root, options.precision, engines, None, agreement, seconds)


def _require_size(options: Options, bundle: Bundle) -> None:
    height, width = bundle.spec.input_size
    if options.input_size is not None and options.input_size[1] != (height, width):
        raise UsageError(
            f"--input-size: the bundle's graphs are for {height}x{width}; for another size build "
            "from the checkpoint, or give a range MIN:OPT:MAX around it"
        )


def _replaced(file: BundleFile, options: Options) -> bool:
    """Whether a file belongs to what is built anew."""
    wanted = TARGETS if options.target == "auto" else (options.target,)
    return file.kind in OF_A_PLAN and file.target in wanted and file.precision == options.precision


def _copy(bundle: Bundle, file: BundleFile, writer: BundleWriter) -> None:
    writer.path(file.name).write_bytes(bundle.read(file))
    writer.files.append(file)
