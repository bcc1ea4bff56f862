"""The spec beside a model's weights: which one belongs to a bundle, and giving it a tuned CRF."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.bundle import Bundle
from engines.failures import Refused
from engines.spec import CrfParams, load_spec

SHIPPED = Path(__file__).resolve().parents[2] / "train" / "weights"


def shipped_spec(bundle: Bundle) -> Path | None:
    """The spec in train/weights of the very weights that the bundle was built from, or None."""
    source = SHIPPED / Path(str(bundle.manifest.provenance.get("source"))).name
    wanted = bundle.manifest.provenance.get("source_sha256")
    if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != wanted:
        return None
    return source.with_suffix(".json")


def require_same_model(path: Path, bundle: Bundle) -> None:
    """Raise `Refused` unless the spec at `path` describes the bundle's network."""
    if load_spec(path).fingerprint() != bundle.spec.fingerprint():
        raise Refused(
            f"{path} describes another model than {bundle.root}: give --spec the file beside the "
            "weights that the bundle was built from, or --bundle-only"
        )


def write_crf(path: Path, params: CrfParams | None, evidence: dict[str, Any]) -> list[Path]:
    """Set the CRF in the spec at `path`, and put the evidence beside it; the files written."""
    beside = path.with_suffix(".crf.json")
    write_text(beside, json.dumps(evidence, indent=1) + "\n")
    spec = replace(load_spec(path), crf=params)
    write_text(path, json.dumps(spec.to_json(), indent=1) + "\n")
    return [path, beside]
