"""Feature maps: taken as the layer gives them, kept to the bit, and refused with a reason when damaged."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from torchmg.data import features as module
from torchmg.data.features import FILE, FeatureSet, FeatureSplit, extract_features, load_features, save_features
from torchmg.errors import DataError, ShapeError, UnknownNameError, UsageError


class Small(nn.Module):
    """A stem and what must not be run for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 2)
        self.unused = nn.Linear(2, 2)
        self.ran = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.ran += 1
        return self.head(x.mean((2, 3)))


def data(channels: int = 4, n: int = 3) -> Tensor:
    return torch.randn(n, channels, 2, 3)


@given(st.integers(1, 9), st.integers(1, 12))
def test_features_are_the_layers_output_in_evaluation_mode(batch_size: int, n: int) -> None:
    model = Small()
    model.stem(torch.randn(8, 3, 4, 4))
    model.stem[1].eval()
    modes = [m.training for m in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(n, 3, 4, 5)
    found = extract_features(model, x, batch_size=batch_size)
    assert [m.training for m in model.modules()] == modes
    assert model.ran == 0, "no further than to the layer"
    assert not model.stem._forward_hooks
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not found.requires_grad
    torch.testing.assert_close(found, model.eval().stem(x).detach())


def test_a_layer_inside_a_network_of_ours() -> None:
    import torchmg

    model = torchmg.create("mgic_resnet20", width=0.5)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(extract_features(model, x, "stem.conv"), model.stem.conv(x).detach())  # pyright: ignore


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (torch.randn(1, 3, 4, 4), {"layer": "sten"}, UnknownNameError, "Did you mean stem"),
        (torch.randn(1, 3, 4, 4), {"layer": ""}, UnknownNameError, "Known: head, stem"),
        (torch.randn(1, 3, 4, 4), {"layer": "unused"}, UsageError, "does not use its layer 'unused'"),
        (torch.randn(1, 3, 4, 4), {"layer": "head"}, ShapeError, r"gives \(1, 2\)"),
        (torch.randn(1, 3, 4, 4), {"batch_size": 0}, UsageError, "batch_size"),
        (torch.randn(3, 4, 4), {}, ShapeError, r"\(N, C, H, W\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), {}, ShapeError, "floating point"),
        (torch.randn(1, 2, 4, 4), {}, ShapeError, "does not run on images"),
    ],
)
def test_what_cannot_be_extracted(
    images: Tensor, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = Small().train()
    with pytest.raises(error, match=message):
        extract_features(model, images, **options)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_was_saved_is_loaded(dtype: torch.dtype, tmp_path: Path) -> None:
    train, test = data(n=5).to(dtype), data().to(dtype)
    assert save_features(tmp_path / FILE, data(), data()) == tmp_path / FILE
    save_features(tmp_path / FILE, train.to(memory_format=torch.channels_last), test)
    assert [file.name for file in (tmp_path / "features").iterdir()] == ["features.safetensors"]
    found = load_features(tmp_path)
    assert torch.equal(found.train.inputs, train.float())
    assert torch.equal(found.test.inputs, test.float())
    assert (found.name, found.task, found.classes, found.shape, found.num_classes) == (
        *("features", "regress", ()),
        *((4, 2, 3), 4),
    )
    assert found.hashes() == {
        "train_features": hashlib.sha256(train.float().numpy().tobytes()).hexdigest(),
        "test_features": hashlib.sha256(test.float().numpy().tobytes()).hexdigest(),
    }


def test_a_split_gives_the_same_tensor_twice() -> None:
    split = FeatureSplit(data(n=5))
    assert len(split) == 5
    assert split.targets is split.inputs
    inputs, targets = split.take(torch.tensor([3, 1, 3]), torch.zeros(3, 2, dtype=torch.int64))
    assert inputs is targets
    assert torch.equal(inputs, split.inputs[[3, 1, 3]])


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = save_features(tmp_path / FILE, data(2, 1), data(2, 1))
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in range(start, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"features\.safetensors (is damaged|holds values)"):
            load_features(tmp_path)
    for length in (0, 5, 8, start - 1, start, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged or no safetensors file"):
            load_features(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"train": data()}, "has no tensor 'test', only train"),
        ({"train": data(), "test": data()[0]}, r"no feature maps as test.*got \(4, 2, 3\)"),
        ({"train": data()[:0], "test": data()}, "no feature maps as train"),
        ({"train": data(), "test": data(5)}, "two kinds"),
        ({"train": data(), "test": data().double()}, "float64, not as float16 or float32"),
        ({"train": data() / 0, "test": data()}, "values in train that are not finite"),
    ],
)
def test_other_tensors_are_refused(tensors: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(DataError, match=message):
        load_features(tmp_path)


def test_a_file_without_digests_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    save_file({"train": data(), "test": data()}, tmp_path / FILE)
    assert len(load_features(tmp_path).train) == 3


def test_missing_files_and_folders_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data.features.features\.safetensors does not exist.*save_features"):
        load_features()
    (tmp_path / FILE).mkdir(parents=True)
    with pytest.raises(DataError, match="not a regular file"):
        load_features(tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "error", "message"),
    [
        (data(), data(5), ShapeError, "must agree"),
        (data()[0], data(), ShapeError, r"\(N, C, H, W\)"),
        (data(), data().double(), UsageError, "test is torch.float64"),
        (data() / 0, data(), UsageError, "train holds values that are not finite"),
        ((1e5 * data()).half(), data(), UsageError, "65504"),
    ],
)
def test_what_is_not_saved(train: Tensor, test: Tensor, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        save_features(tmp_path / FILE, train, test)
    assert not (tmp_path / "features").exists()


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_features(tmp_path / FILE, data(), data())
    content = path.read_bytes()

    def fail(tensors: object, file: Path, digests: object) -> None:
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "save_file", fail)
    with pytest.raises(UsageError, match="No space left"):
        save_features(path, data(), data())
    assert path.read_bytes() == content
    assert len(list(path.parent.iterdir())) == 1


def test_sets_are_checked() -> None:
    with pytest.raises(ShapeError, match="must agree"):
        FeatureSet(FeatureSplit(data()), FeatureSplit(data(5)))
    with pytest.raises(UsageError, match=r"features\.float"):
        FeatureSplit(data().half())
