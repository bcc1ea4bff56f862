"""Tuning end to end: a tiny bundle, coarse in space, on frames whose colours show every edge."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calibration import tune_crf as script
from calibration.crf_tuning import frames as crf_frames
from calibration.crf_tuning import search as crf_search
from calibration.crf_tuning import spec as crf_spec
from calibration.crf_tuning.evidence import NOISE
from calibration.crf_tuning.frames import CachedFrame, load_frames
from calibration.crf_tuning.grid import Candidate
from calibration.crf_tuning.trials import Masks, Trials
from crf.dense_crf import MILD, DenseCrf
from crf.sampling import margin
from engines.bundle import Bundle
from engines.failures import UsageError
from engines.labels import upsample_argmax
from engines.session import open_session
from engines.spec import CrfParams, load_spec
from scenes.camvid import CLASSES, PALETTE, CamVid
from scenes.scores import SegmentationScores

SIZE = (96, 128)
FRAMES = 12
HARSH = CrfParams(w1=10, sigma_alpha=80, sigma_beta=13, w2=3, sigma_gamma=3, iterations=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CamVid folder whose frames are discs and bars in their classes' colours, under noise."""
    root = tmp_path_factory.mktemp("camvid")
    random = np.random.default_rng(1)
    for folder in ("val", "valannot"):
        (root / folder).mkdir()
    for index in range(FRAMES):
        labels = scene(random)
        colours = np.asarray(PALETTE, np.float64)[labels]
        noisy = np.clip(colours + random.normal(0, 4, colours.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(root / f"val/{index:02}.png")
        Image.fromarray(labels).save(root / f"valannot/{index:02}.png")
    return root


def scene(random: np.random.Generator) -> NDArray[np.uint8]:
    """Labels [H, W]: sky over road, with discs of other classes."""
    y, x = np.indices(SIZE)
    labels = np.where(y < SIZE[0] // 2, 0, 3).astype(np.uint8)
    for _ in range(6):
        centre = random.uniform((0, 0), SIZE)
        inside = np.hypot(y - centre[0], x - centre[1]) < random.uniform(6, 20)
        labels[inside] = random.integers(0, len(CLASSES))
    return labels


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may write to."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same search over few points."""
    for name, value in {"DRAWS": 6, "SURVIVORS": 3, "BEAM": 1, "ROUNDS": 1}.items():
        monkeypatch.setattr(crf_search, name, value)


def frames_of(root: Path, data: Path) -> list[CachedFrame]:
    with open_session(Bundle.open(root), "fp32") as session:
        return load_frames(session, CamVid(str(data), "val"), FRAMES)


def tune(root: Path, data: Path, *flags: str) -> dict[str, Any]:
    out = root.parent / "tuning.json"
    argv = ["--bundle", str(root), "--data", f"camvid:{data}", "--json", str(out), *flags]
    assert script.main(argv) == 0
    return dict(json.loads(out.read_text()))


def test_trials_equal_a_plain_loop_on_any_frames_and_compute_nothing_twice(
    tiny_bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(tiny_bundle, data)
    calls: list[tuple[Candidate, str]] = []
    real = Masks.__call__

    def counted(self: Masks, item: CachedFrame) -> NDArray[np.uint8]:
        calls.append((self._params, item.name))
        return real(self, item)

    monkeypatch.setattr(Masks, "__call__", counted)
    candidates: list[Candidate] = [None, MILD, HARSH]
    with Trials(frames, CLASSES) as trials:
        for chosen in ([0, 3], [3, 5, 7], list(range(FRAMES))):
            found = trials.summaries(candidates, chosen)
            for candidate, summary in zip(candidates, found, strict=True):
                assert summary == plain(frames, chosen, candidate)
        assert trials.tried == {candidate: list(range(FRAMES)) for candidate in candidates}
    assert len(calls) == len(set(calls)) == 3 * FRAMES


def test_passes_are_iterations_times_what_the_fast_mode_must_infer(
    tiny_bundle: Path, data: Path
) -> None:
    frames = frames_of(tiny_bundle, data)
    needed = margin(HARSH)
    unsure = points = 0
    for item in frames:
        for at_one_point in item.logits.reshape(len(CLASSES), -1).T:
            second, first = sorted(float(value) for value in at_one_point)[-2:]
            unsure += first - second < needed
            points += 1
    assert 0 < unsure < points
    with Trials(frames, CLASSES) as trials:
        assert trials.passes(None) == 0
        assert trials.passes(HARSH) == pytest.approx(HARSH.iterations * unsure / points, abs=1e-3)


def plain(frames: list[CachedFrame], chosen: list[int], candidate: Candidate) -> object:
    scores = SegmentationScores(CLASSES)
    for index in chosen:
        item = frames[index]
        if candidate is None:
            labels = upsample_argmax(item.logits, SIZE)
        else:
            labels = DenseCrf(SIZE, len(CLASSES), candidate).refine(item.frame, item.logits)
        scores.add(item.truth.labels, labels)
    return scores.summary()


@pytest.mark.usefixtures("cheap")
def test_a_crf_that_helps_is_chosen_written_and_reproduced(
    bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = bundle.parent / "plot.svg"
    result = tune(bundle, data, "--plot", str(plot))
    before, after = result["before"], result["after"]
    assert result["verdict"].startswith("on: ")
    assert after["miou"] >= before["miou"] + NOISE
    assert after["boundary_f"] > before["boundary_f"]
    assert after["trimap_accuracy"] > before["trimap_accuracy"]
    assert set(after["per_class"]) == set(CLASSES)
    assert len(result["folds"]) == crf_search.FOLDS
    assert sum(fold["gain"]["frames"] for fold in result["folds"]) == FRAMES
    names = {gain["name"] for gain in result["candidates"]}
    assert None in names
    tuned = Bundle.open(bundle)
    assert tuned.spec.crf == CrfParams(**result["params"])
    assert tuned.crf_report() == result
    assert "<svg" in plot.read_text()
    screen = capsys.readouterr().out
    assert "only the bundle is updated" in screen
    assert result["verdict"] in screen
    assert "  Pole" in screen
    again = tune(bundle, data)
    again["about"] = result["about"]
    assert again == result


@pytest.mark.usefixtures("cheap")
def test_off_is_written_where_no_crf_can_help(bundle: Path, data: Path, tmp_path: Path) -> None:
    """The truth is what the engine says: a CRF can only change right labels."""
    truth = Path(shutil.copytree(data, tmp_path / "truth"))
    for item in frames_of(bundle, data):
        labels = upsample_argmax(item.logits, SIZE)
        Image.fromarray(labels).save(truth / f"valannot/{item.name}.png")
    Bundle.open(bundle).set_crf(MILD, {})
    plot = tmp_path / "plot.png"
    result = tune(bundle, truth, "--plot", str(plot))
    assert result["params"] is None
    assert result["before"] == result["after"] == result["fitted"]
    assert result["verdict"] == "off: no settings beat no CRF on all frames together"
    assert Bundle.open(bundle).spec.crf is None
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("cheap")
def test_the_spec_beside_the_weights_is_updated_with_its_evidence(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "tiny.json"
    before = Bundle.open(bundle).spec
    spec.write_text(json.dumps(before.to_json()))
    result = tune(bundle, data, "--spec", str(spec), "--frames", "10")
    after = load_spec(spec)
    assert after == Bundle.open(bundle).spec == replace(before, crf=after.crf)
    assert after.crf == CrfParams(**result["params"])
    assert json.loads((tmp_path / "tiny.crf.json").read_text()) == result
    assert result["about"]["images"] == 10
    assert result["about"]["images_in_split"] == FRAMES


def test_weights_that_ship_are_recognised_by_their_hash_alone(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crf_spec, "SHIPPED", tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    opened = Bundle.open(bundle)
    for wanted, found in ((digest, tmp_path / "tiny.json"), ("0" * 64, None)):
        origin = {"source": "elsewhere/tiny.safetensors", "source_sha256": wanted}
        manifest = replace(opened.manifest, provenance=origin)
        assert crf_spec.shipped_spec(Bundle(bundle, manifest)) == found
    assert crf_spec.shipped_spec(opened) is None


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert script.main([*argv]) in (2, 6)
    return capsys.readouterr().err


def test_what_cannot_be_tuned_is_said_before_the_work(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--bundle", str(bundle), "--data", f"camvid:{data}"]
    assert "too few" in refused(capsys, *flags, "--frames", "9")
    assert "exclude each other" in refused(capsys, *flags, "--spec", "a.json", "--bundle-only")
    assert ".svg or .png" in refused(capsys, *flags, "--plot", "plot.pdf")
    assert "at least 1" in refused(capsys, *flags, "--frames", "0")
    assert "0 or more" in refused(capsys, *flags, "--seed", "-1")
    assert "no fp16 graph" in refused(capsys, *flags, "--precision", "fp16")
    other = tmp_path / "other.json"
    spec = replace(Bundle.open(bundle).spec, input_size=(64, 64))
    other.write_text(json.dumps(spec.to_json()))
    assert "describes another model" in refused(capsys, *flags, "--spec", str(other))
    assert Bundle.open(bundle).crf_report() is None


def test_memory_is_bounded(tiny_bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf_frames, "BUDGET", 3_000_000)
    with pytest.raises(UsageError, match=r"use --frames \d+"):
        frames_of(tiny_bundle, data)
