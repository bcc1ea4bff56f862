"""Agreement of two engines as the page and Prometheus see it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.agreement import EDGES
from runtime.assembly import Assembly, assemble
from runtime.options import Options
from runtime.serving.attach import make_channels
from runtime.serving.channel import Channel
from runtime.serving.metrics import exposition
from runtime.serving.sensors import Sensors
from runtime.serving.snapshot import snapshot
from runtime.serving.state import ChannelState
from tests.runtime.damaged_bundle import with_int8

DAMAGED = "Fence"
FRAMES = 6
Shown = tuple[Assembly, Channel]


@pytest.fixture(scope="module")
def damaged(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_int8(tiny_bundle, tmp_path_factory.mktemp("damaged") / "bundle", DAMAGED)


@pytest.fixture
def show(damaged: Path) -> Iterator[Callable[..., Shown]]:
    """Run a few frames of a served stream with these options; what it was made of, its channel."""
    with ExitStack() as stack:

        def run(**how: Any) -> Shown:
            options = Options(
                ("street:?size=128x96&seed=4",), bundle=damaged, target="cpu", headless=True,
                serve="127.0.0.1:0", **how,
            )  # fmt: skip
            assembly = assemble(options, stack, drawn=False)
            (channel,) = make_channels(assembly, options)
            stack.enter_context(channel)
            with assembly.stream as stream:
                for result, _ in zip(stream, range(FRAMES), strict=False):
                    channel.publish(result)
            return assembly, channel

        yield run


def metrics(channel: Channel) -> dict[str, Any]:
    text = exposition([channel], lambda: Sensors({}, {})).decode()
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def test_a_comparison_is_in_the_metrics_and_on_the_page(show: Callable[..., Shown]) -> None:
    assembly, channel = show(compare="fp32,int8")
    comparison = assembly.cameras[0].comparison
    assert comparison is not None
    agreement = comparison.agreement
    told = ChannelState(channel).to_json()["agreement"]
    assert told == agreement.brief()
    assert (told["a"], told["b"]) == ("fp32 on cpu", "int8 on cpu")
    assert told["worst_class"] == DAMAGED

    found = metrics(channel)
    (gauge,) = found["deeplab_agreement"]
    assert gauge.labels == {"stream": "camera"}
    assert gauge.value == pytest.approx(agreement.recent)
    values = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in found["deeplab_frame_agreement"]
    }
    assert values["deeplab_frame_agreement_count", None] == agreement.count >= FRAMES
    assert values["deeplab_frame_agreement_sum", None] == pytest.approx(agreement.total)
    buckets = [values["deeplab_frame_agreement_bucket", str(edge)] for edge in EDGES]
    assert buckets == sorted(buckets)
    assert buckets == [float(count) for count in agreement.cumulative(EDGES)]


def test_viewers_see_both_sides(show: Callable[..., Shown]) -> None:
    assembly, channel = show(compare="fp32,int8")
    result = channel.latest
    assert result is not None
    picture = channel.picture(result)
    assert picture.shape == (96, 256, 3)
    assert picture is result.picture
    assert snapshot(channel, "labels") != snapshot(channel, "overlay")
    settings = ChannelState(channel).to_json()["choices"]
    assert settings == {"crf": ("off",), "precision": ("fp32",)}  # what was asked for, and no more
    channel.switches.change({"alpha": 1.0})
    assert assembly.cameras[0].drawer is not None
    assert assembly.cameras[0].drawer.alpha == 1


def test_a_shadow_is_shown_as_well(show: Callable[..., Shown]) -> None:
    assembly, channel = show(precision="int8", shadow=1)
    assert assembly.shadow is not None
    assert channel.agreement is assembly.shadow.agreement
    assert channel.latest is not None
    assert channel.picture(channel.latest).shape == (96, 128, 3)  # the stream's own, as ever
    done = threading.Event()
    for _ in range(3000):  # 30 s at most
        if channel.agreement.count:
            break
        done.wait(0.01)
    assert ChannelState(channel).to_json()["agreement"]["worst_class"] == DAMAGED
    assert metrics(channel)["deeplab_agreement"][0].value < 0.9


def test_without_either_there_is_nothing(show: Callable[..., Shown]) -> None:
    _, channel = show(precision="int8")
    assert ChannelState(channel).to_json()["agreement"] is None
    assert metrics(channel)["deeplab_agreement"] == []
