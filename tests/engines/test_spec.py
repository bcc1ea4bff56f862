"""The spec: JSON round trip, refusals, and what its fingerprint depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.failures import Refused
from engines.spec import CrfParams, ModelSpec, load_spec

SPEC = ModelSpec(
    name="tiny",
    architecture="deeplabv3plus_mobilenetv2",
    classes=("Road", "Sky"),
    palette=((1, 2, 3), (4, 5, 6)),
    input_size=(64, 97),
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    crf=CrfParams(2, 40, 5, 1, 1, 2),
)


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(SPEC.to_json()))
    assert load_spec(path) == SPEC
    assert load_spec(path).logits_size == (16, 25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"palette": [[1, 2, 3]]}, "palette"),
        ({"colour": 1}, "colour"),
        ({"resize": "letterbox"}, "letterbox"),
        ({"input_size": [8, 8]}, "32"),
        ({"input_size": [2**31, 64]}, "16384"),
        ({"name": "../elsewhere"}, "no file name"),  # a bundle goes to artifacts/NAME
        ({"name": "/etc"}, "no file name"),
        ({"name": ".."}, "no file name"),
        ({"classes": ["Road", 5]}, "printable names"),
        ({"palette": [[1, 2, 3], [4, 5, 256]]}, "0 to 255"),
        ({"mean": ["1", 2, 3]}, "mean"),
        ({"std": [1, 0, 1]}, "std"),
        ({"logits_stride": 0}, "stride"),
        ({"crf": vars(SPEC.crf) | {"iterations": 10**9}}, "iterations"),
        ({"crf": {"w1": 1}}, "sigma_alpha"),
        ({"crf": vars(SPEC.crf) | {"w1": float("nan")}}, "w1"),
        ({"crf": vars(SPEC.crf) | {"sigma_beta": 0}}, "sigma_beta"),
        ({"crf": vars(SPEC.crf) | {"w2": -1e30}}, "w2"),  # float32 overflows in the sum of two
        ({"crf": vars(SPEC.crf) | {"temperature": 1e-40}}, "temperature"),  # as does its inverse
    ],
)
def test_a_malformed_spec_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=said):
        ModelSpec.from_json(SPEC.to_json() | change)


def test_a_missing_spec_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="beside the checkpoint"):
        load_spec(tmp_path / "none.json")


def test_the_fingerprint_follows_the_numbers_and_nothing_else() -> None:
    same = replace(SPEC, crf=None, name="other", palette=((0, 0, 0), (0, 0, 0)))
    assert same.fingerprint() == SPEC.fingerprint()
    for other in (
        replace(SPEC, mean=(0.0, 0.0, 0.0)),
        replace(SPEC, input_size=(64, 96)),
        replace(SPEC, output_stride=8),
    ):
        assert other.fingerprint() != SPEC.fingerprint()
