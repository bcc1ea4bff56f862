"""Which encoder records, with encoders that work, lie, or are not there."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.logging
import pytest

from engines.failures import DeviceMissing
from runtime.sinks import encoders
from runtime.sinks.encoders import MPEG4, X264, Encoder, choose_encoder, why_not
from runtime.sinks.flags import ENCODERS


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    encoders._first_that_works.cache_clear()
    yield
    encoders._first_that_works.cache_clear()


def test_the_flag_offers_what_there_is() -> None:
    assert ENCODERS == encoders.CHOICES


def test_an_encoder_counts_if_it_encodes() -> None:
    assert why_not(X264, (64, 48)) is None
    assert why_not(MPEG4, (64, 48)) is None
    assert why_not(X264, (63, 47)) is not None  # 4:2:0 has no odd sizes
    assert why_not(Encoder("h264_none"), (64, 48)) == "not in this FFmpeg"


def test_the_reason_is_ffmpegs_own_and_its_log_stays_as_it_was() -> None:
    before = av.logging.get_level()
    reason = why_not(Encoder("libx264", {"preset": "no such preset"}), (64, 48))
    assert reason is not None
    assert "no such preset" in reason
    assert av.logging.get_level() == before


def test_hardware_that_encodes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    works = Encoder("mpeg4", {"qmin": "2"})  # stands for one that has its hardware
    monkeypatch.setattr(encoders, "HARDWARE", {"h264_none": Encoder("h264_none"), "works": works})
    choice = choose_encoder("auto", (64, 48))
    assert (choice.encoder, choice.reason) == (works, "hardware")
    assert choose_encoder("works").encoder is works


def test_without_hardware_software_records_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "HARDWARE", {"h264_none": Encoder("h264_none")})
    choice = choose_encoder("auto", (64, 48))
    assert choice.encoder is X264
    assert choice.reason == "no hardware encoder (h264_none: not in this FFmpeg)"
    assert choose_encoder("software").reason == "as asked"


def test_an_encoder_that_was_asked_for_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "HARDWARE", {"h264_none": Encoder("h264_none")})
    with pytest.raises(DeviceMissing, match=r"h264_none cannot encode 640x480 here \(not in this"):
        choose_encoder("h264_none")


def test_an_encoder_that_swallows_frames_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_packets", lambda *_: 0)
    assert why_not(X264, (64, 48)) == "it gave no packet"
