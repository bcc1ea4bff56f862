"""Would the tests notice? The classic faults of a segmentation pipeline, each put in on purpose.

Each spoils one line of a module in a process of its own and runs the default tests of the room
that should catch it; if they pass, a test is missing. Not reached: faults in the C++ loops, which
`engines.twins` and `crf.numpy_crf` hold to their NumPy twins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuzz.mutant import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TESTS_FAILED = 1  # pytest's exit code


@dataclass(frozen=True)
class Mutant:
    """A fault: in `module`, `old` becomes `new`; one of the tests in `caught_by` must fail."""

    fault: str
    module: str
    old: str
    new: str
    caught_by: str


MUTANTS = (
    Mutant(
        "BGR for RGB into the network", "train.deployable",
        "frames.float().permute(0, 3, 1, 2)", "frames.float().permute(0, 3, 1, 2).flip(1)",
        "train/test_deployable.py",
    ),
    Mutant(
        "height and width exchanged", "train.deployable",
        "permute(0, 3, 1, 2)", "permute(0, 3, 2, 1)", "train/test_deployable.py",
    ),
    Mutant(
        "no division by std (the /255)", "train.deployable",
        "(images.float() - self.mean) / self.std", "images.float() - self.mean",
        "train/test_deployable.py",
    ),
    Mutant(
        "mean and std exchanged", "train.deployable",
        "(images.float() - self.mean) / self.std", "(images.float() - self.std) / self.mean",
        "train/test_deployable.py",
    ),
    Mutant(
        "BGR frames from a data set", "scenes.pictures",
        '_open(path).convert("RGB"))', '_open(path).convert("RGB"))[..., ::-1]',
        "scenes/test_pictures.py",
    ),
    Mutant(
        "BGR stills in the stream", "runtime.sources.folder",
        'ImageOps.exif_transpose(image).convert("RGB"))',
        'ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]',
        "runtime/test_sources.py",
    ),
    Mutant(
        "BGR video in the stream", "runtime.sources.decoding",
        'format="rgb24"', 'format="bgr24"', "runtime/test_sources.py",
    ),
    Mutant(
        "BGR in a recording", "runtime.sinks.recorder",
        'format="rgb24"', 'format="bgr24"', "runtime/sinks/test_recorder.py",
    ),
    Mutant(
        "nearest for bilinear in the resize", "engines.preprocess",
        "Interpolation.BILINEAR", "Interpolation.POINT", "engines/test_preprocess.py",
    ),
    Mutant(
        "BGR out of the resize", "engines.preprocess",
        'width=size[1],\n        height=size[0],\n        format="rgb24"',
        'width=size[1],\n        height=size[0],\n        format="bgr24"',
        "engines/test_preprocess.py",
    ),
    Mutant(
        "labels resized bilinearly", "train.samples",
        "Image.Resampling.NEAREST", "Image.Resampling.BILINEAR", "train/test_samples.py",
    ),
    Mutant(
        "crop padded with a class for ignore", "train.samples",
        "tv_tensors.Mask: IGNORE", "tv_tensors.Mask: 0", "train/test_samples.py",
    ),
    Mutant(
        "align_corners in the decoder", "train.decoder",
        "align_corners=False", "align_corners=True", "train/test_deeplab.py",
    ),
    Mutant(
        "align_corners in the loss", "train.losses",
        'full = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False)',
        'full = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=True)',
        "train/test_losses.py",
    ),
    Mutant(
        "align_corners in the twin of the label loop", "engines.twins",
        "(np.arange(size) + 0.5) * (source / size) - 0.5",
        "np.arange(size) * ((source - 1) / max(1, size - 1))",
        "engines/test_labels.py",
    ),
    Mutant(
        "half a pixel off in the twin of the label loop", "engines.twins",
        "(np.arange(size) + 0.5) * (source / size) - 0.5", "np.arange(size) * (source / size)",
        "engines/test_labels.py",
    ),
    Mutant(
        "argmax over rows for classes", "engines.twins",
        "argmax(axis=0)", "argmax(axis=1)", "engines/test_labels.py",
    ),
    Mutant(
        "palette shifted by one", "engines.blend",
        "colours = np.asarray(palette, np.float64)[:, :, None]",
        "colours = np.roll(np.asarray(palette, np.float64), 1, axis=0)[:, :, None]",
        "engines/test_blend.py",
    ),
    Mutant(
        "colours of the mask in BGR", "engines.blend",
        "np.asarray(palette, np.float64)[:, :, None]",
        "np.asarray(palette, np.float64)[:, ::-1, None]",
        "engines/test_blend.py",
    ),
    Mutant(
        "void counted as a class", "scenes.camvid",
        "np.where(labels < classes", "np.where(labels <= classes", "scenes/test_camvid.py",
    ),
    Mutant(
        "pixels predicted as ignore left out of IoU", "scenes.confusion",
        "self.matrix.sum(axis=1) + self.unpredicted", "self.matrix.sum(axis=1)",
        "scenes/test_scores.py",
    ),
    Mutant(
        "CRF sigmas exchanged", "crf.numpy_crf",
        "samples.positions / np.float32(self._params.sigma_alpha)",
        "samples.positions / np.float32(self._params.sigma_beta)",
        "crf/test_parity.py",
    ),
    Mutant(
        "CRF weights exchanged in the C++ core's call", "crf.native_crf",
        "**dataclasses.asdict(params)",
        '**{**dataclasses.asdict(params), "w1": params.w2, "w2": params.w1}',
        "crf/test_parity.py",
    ),
    Mutant(
        "CRF sigmas exchanged in the C++ core's call", "crf.native_crf",
        "**dataclasses.asdict(params)",
        '**{**dataclasses.asdict(params), "sigma_alpha": params.sigma_beta, '
        '"sigma_beta": params.sigma_alpha}',
        "crf/test_parity.py",
    ),
    Mutant(
        "dilation ignored in the ASPP", "train.layers",
        "3, padding=rate, dilation=rate", "3, padding=1, dilation=1",
        "train/test_atrous.py",
    ),
    Mutant(
        "dilation ignored in the backbone", "train.backbones",
        "conv.dilation = conv.padding = (rate, rate)", "conv.dilation = conv.padding = (1, 1)",
        "train/test_family_rates.py",
    ),
    Mutant(
        "temporal evidence survives a cut", "crf.temporal",
        "weights.mean() < CUT * MEMORY", "weights.mean() < 0", "crf/test_temporal.py",
    ),
    Mutant(
        "temporal evidence survives forget()", "crf.temporal",
        "self._scores = self._picture = None\n        self._frame_shape = ()", "pass",
        "crf/test_temporal.py",
    ),
    Mutant(
        "temporal evidence survives a gap of the source", "runtime.cpu_path",
        "self._temporal.forget()", "pass", "runtime/test_pipeline.py",
    ),
    Mutant(
        "normalisation folded into the first convolution with the wrong sign",
        "calibration.graphs.stem", "stem.zero_point - stem.mean", "stem.zero_point + stem.mean",
        "calibration/test_stem.py",
    ),
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_tests_catch(mutant: Mutant) -> None:
    tests = [str(ROOT / "tests" / name) for name in mutant.caught_by.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "tests.fuzz.mutant", *tests]
    fault = "|".join((mutant.module, mutant.old, mutant.new))
    ended = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, VARIABLE: fault},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == TESTS_FAILED, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "FAILED" in ended.stdout, ended.stdout[-2000:]
