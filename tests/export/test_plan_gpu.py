"""On a GPU: what is built there runs there, in the precision that was asked for, and is timed."""

from __future__ import annotations

from types import ModuleType

import pytest

from engines.gpu_facts import probe_gpu
from export.half import to_half
from export.plans.builder import build_plan
from export.plans.library import LIBRARIES, abilities
from export.plans.preflight import BUILT, preflight
from export.plans.settings import BuildSettings
from export.plans.timing import plan_timer
from tests.export.miniature import miniature

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]


@pytest.fixture(params=LIBRARIES)
def trt(request: pytest.FixtureRequest) -> ModuleType:
    """Each library that is here and knows the GPU that is here."""
    library: ModuleType = pytest.importorskip(LIBRARIES[request.param])
    gpu = probe_gpu()
    assert gpu is not None
    if abilities(library).compute_capabilities:
        name = "SM" + gpu.compute_capability.replace(".", "")
        if name not in library.ComputeCapability.__members__:
            pytest.skip(f"{library.__name__} has nothing for {gpu.name} ({gpu.compute_capability})")
    return library


def test_each_convolution_is_built_and_timed(trt: ModuleType) -> None:
    with plan_timer(trt) as timer:
        table = preflight(trt, to_half(miniature()), BuildSettings("int8"), timer)
    assert len(table.rows) == 5
    for row in table.rows:
        assert row.fp16.verdict == BUILT
        assert row.fp16.milliseconds is not None
        assert 0 < row.fp16.milliseconds < 1000
        assert row.int8 is not None


def test_the_layers_of_a_plan_are_known(trt: ModuleType) -> None:
    graph = to_half(miniature()).SerializeToString()
    plan = build_plan(trt, graph, BuildSettings("fp16"), quiet=True)
    assert sum(plan.convolutions.values()) >= 5
    assert "INT8" not in plan.convolutions
