"""The weights that ship: each with its record and card, small, in the package, and as good as its record says."""

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import picture_batches

import torchmg
from torchmg.card import finished, run_card
from torchmg.data.images import ImageSplit
from torchmg.models import shipped
from torchmg.models.catalog import MODELS
from torchmg.train.evaluate import evaluate_batches
from torchmg.train.reproduce import allowed, predictions_of
from torchmg.train.tasks import Classification

ROOT = Path(__file__).resolve().parent.parent
SLICE = ROOT / "tests" / "data" / "fashion_mnist_1000"
SHIPPED = [(model, name) for model in MODELS for name in shipped.names(model)]
EACH = pytest.mark.parametrize(("model", "name"), SHIPPED, ids=["--".join(pair) for pair in SHIPPED])


def test_some_ship_and_nothing_else_lies_there() -> None:
    assert ("mgiad20", "digits_r1") in SHIPPED
    expected = {
        shipped.FOLDER / model / f"{name}.{end}" for model, name in SHIPPED for end in ("safetensors", "json", "md")
    }
    assert {path for path in shipped.FOLDER.rglob("*") if path.is_file()} == expected


@EACH
def test_the_files_are_those_of_a_run_with_seed_0(model: str, name: str) -> None:
    stem = shipped.FOLDER / model / name
    weights, values = stem.with_suffix(".safetensors").read_bytes(), json.loads(stem.with_suffix(".json").read_text())
    assert len(weights) <= 5_000_000
    assert hashlib.sha256(weights).hexdigest() == values["sha256"]
    record = dict(values["record"])
    stated = record.pop("sha256")
    assert hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest() == stated
    assert (record["recipe"]["model"], record["recipe"]["seed"]) == (model, 0)
    assert name.startswith(record["recipe"]["data"])
    assert values["test"]["right"] == pytest.approx(
        record["test_accuracy"] * values["test"]["samples"] / 100, abs=allowed(values["test"]["samples"])
    )


@EACH
def test_the_card_is_that_of_the_record(model: str, name: str) -> None:
    stem = shipped.FOLDER / model / name
    expected = run_card(finished(stem.with_suffix(".json")), license="apache-2.0")
    assert stem.with_suffix(".md").read_text() == expected


@EACH
def test_the_network_has_the_records_costs(model: str, name: str) -> None:
    known = shipped.find(model, name)
    network = torchmg.create(model, weights=name)
    assert sum(parameter.numel() for parameter in network.parameters()) == known.record["parameters"]
    assert torchmg.count(network, input=known.input).macs == known.record["macs"]


def slice_of_fashion_mnist() -> ImageSplit:
    """The first 1,000 test images, from the original format."""
    raw = {
        key: gzip.decompress((SLICE / f"t10k-{key}-ubyte.gz").read_bytes()) for key in ("images-idx3", "labels-idx1")
    }
    images, labels = raw["images-idx3"], raw["labels-idx1"]
    assert images[:16] == bytes([0, 0, 8, 3, 0, 0, 3, 232, 0, 0, 0, 28, 0, 0, 0, 28])
    assert labels[:8] == bytes([0, 0, 8, 1, 0, 0, 3, 232])
    pixels = torch.from_numpy(np.frombuffer(images, np.uint8, offset=16).reshape(1000, 1, 28, 28).copy())
    return ImageSplit(pixels, torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).copy()).long())


def test_the_slice_is_what_it_says() -> None:
    split = slice_of_fashion_mnist()
    assert split.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]  # as published
    assert torch.bincount(split.labels).min() >= 86
    assert "MIT License" in (SLICE / "LICENSE.md").read_text()
    assert sum(path.stat().st_size for path in SLICE.iterdir()) < 500_000


FASHION = [(m, n) for m, n in SHIPPED if shipped.find(m, n).record["recipe"]["data"] == "fashion_mnist"]


@pytest.mark.parametrize(("model", "name"), FASHION, ids=["--".join(pair) for pair in FASHION])
def test_the_slice_gives_the_recorded_answers(model: str, name: str) -> None:
    known, split = shipped.find(model, name), slice_of_fashion_mnist()
    batches = picture_batches(
        split, mean=known.values["mean"], std=known.values["std"], batch_size=250, shuffle=False, device="cpu"
    )
    network = torchmg.create(model, weights=name)
    with predictions_of(network) as found:
        metrics = evaluate_batches(network, batches, Classification(), known.record["recipe"]["precision"])
    recorded = torch.tensor(list(known.predictions[:1000]))
    assert int((torch.cat(found) != recorded).sum()) <= allowed(1000)
    assert known.values["slice"]["samples"] == 1000
    assert abs(round(metrics.accuracy * 10) - known.values["slice"]["right"]) <= allowed(1000)


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits come with scikit-learn")
def test_the_digits_are_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    from torchmg import cli

    assert cli.run("eval mgiad20 --weights digits_r1 --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reproduced"]
    assert found["samples"] == 359
    assert found["different"] <= 1
    assert found["other_data"] == []


# ---- packaging


def test_no_shipped_file_is_left_out_by_a_pattern_of_git() -> None:
    """What git ignores is left out of wheels too."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    files = [str(path.relative_to(ROOT)) for path in (*shipped.FOLDER.rglob("*"), *SLICE.iterdir()) if path.is_file()]
    done = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.network
def test_wheel_and_source_archive_hold_them(tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv builds them")
    run = {**os.environ, "CXX": "/nonexistent/c++"}  # the native library is another test's
    subprocess.run(["uv", "build", "--out-dir", str(tmp_path), str(ROOT)], cwd=tmp_path, env=run, check=True)
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    expected = {str(path.relative_to(ROOT)) for path in shipped.FOLDER.rglob("*") if path.is_file()}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    assert expected | {str(path.relative_to(ROOT)) for path in SLICE.iterdir()} <= held
