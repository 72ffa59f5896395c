"""`create(name, weights=...)`: the network that was trained, exactly, or one sentence on what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from shipping import finished_run, ship_tool

import torchmg
from torchmg.errors import CheckpointError, TorchmgError, UnknownNameError, UsageError
from torchmg.models import shipped
from torchmg.models.user import build
from torchmg.models.weights import digest

OPTIONS = {"width": 0.25, "group_size": 2, "coarsest": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that holds digits_r1 of mgiad20."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "FOLDER", folder / "weights")
        ship_tool().ship(finished_run(folder / "run"), "digits_r1")
    return folder / "weights"


@pytest.fixture
def files(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of mgiad20's weights, which `create` reads."""
    monkeypatch.setattr(shipped, "FOLDER", Path(shutil.copytree(store, tmp_path / "weights")))
    return shipped.FOLDER / "mgiad20"


def test_the_network_has_the_records_options_and_the_files_tensors(files: Path) -> None:
    model = torchmg.create("mgiad20", weights="digits_r1")
    stored = load_file(files / "digits_r1.safetensors")
    state = model.state_dict()
    assert state.keys() == stored.keys()
    assert all(state[name].equal(tensor) for name, tensor in stored.items())
    by_hand = torchmg.create("mgiad20", num_classes=10, in_channels=1, **OPTIONS)
    by_hand.load_state_dict(stored)
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert model.eval()(x).equal(by_hand.eval()(x))


def test_it_is_in_training_mode_as_without_weights(files: Path) -> None:
    model = torchmg.create("mgiad20", weights="digits_r1")
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_random_numbers_go_on_as_without_weights(files: Path) -> None:
    torch.manual_seed(3)
    torchmg.create("mgiad20", num_classes=10, in_channels=1, **OPTIONS)
    expected = torch.rand(4)
    torch.manual_seed(3)
    torchmg.create("mgiad20", weights="digits_r1")
    assert torch.rand(4).equal(expected)


@pytest.mark.parametrize("options", [{}, {"width": 0.25}, {"num_classes": 10, "in_channels": 1, **OPTIONS}])
def test_the_records_own_options_may_be_given(options: dict[str, Any], files: Path) -> None:
    assert build("mgiad20", weights="digits_r1", **options).state_dict().keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 7}, "num_classes=7 (theirs: 10)"),
        ({"in_channels": 3, "width": 0.25}, "in_channels=3 (theirs: 1)"),
        ({"width": 1.0, "coarsest": 8}, "width=1.0 (theirs: 0.25), coarsest=8 (theirs: 4)"),
        ({"correction": "plain"}, "correction='plain' (theirs: the default)"),  # the same tensors, another function
    ],
)
def test_other_options_are_an_error(options: dict[str, Any], said: str, files: Path) -> None:
    with pytest.raises(UsageError) as caught:
        torchmg.create("mgiad20", weights="digits_r1", **options)
    assert str(caught.value).endswith(f"leave out {said}.")


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        (
            "mgiad20",
            "digits_r2",
            ["no weights 'digits_r2' of mgiad20.", "Did you mean digits_r1?"],
        ),
        ("mgiad20", "imagenet", ["It has: digits_r1.", "net.safetensors"]),
        ("mgiad20", "../mgiad20/digits_r1", ["It has: digits_r1."]),
        ("resnet20", "digits_r1", ["no weights 'digits_r1' of resnet20", "Models with weights: mgiad20."]),
    ],
)
def test_unknown_weights(model: str, name: str, said: list[str], files: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        torchmg.create(model, weights=name)
    assert all(words in str(caught.value) for words in said)


def test_the_model_is_checked_first(files: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown model 'mgiad2'"):
        torchmg.create("mgiad2", weights="digits_r1")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_of_the_weights_is_noticed(store: Path, place: float, bit: int) -> None:
    file = store / "mgiad20" / "digits_r1.safetensors"
    sound = file.read_bytes()
    at = int(place * len(sound))
    try:
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shipped, "FOLDER", store)
            with pytest.raises(CheckpointError, match=r"digits_r1\.safetensors is damaged.*Install torchmg again"):
                torchmg.create("mgiad20", weights="digits_r1")
    finally:
        file.write_bytes(sound)


def emptied(path: Path) -> None:
    path.write_text("")


def of_another_format(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


def without_record(path: Path) -> None:
    path.write_text(json.dumps({key: v for key, v in json.loads(path.read_text()).items() if key != "record"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "cannot be read"),
        (emptied, "cannot be read"),
        (of_another_format, "format 1"),
        (without_record, "record"),
    ],
)
def test_damaged_descriptions(harm: Callable[[Path], Any], said: str, files: Path) -> None:
    harm(files / "digits_r1.json")
    with pytest.raises(CheckpointError) as caught:
        torchmg.create("mgiad20", weights="digits_r1")
    assert "digits_r1.json" in str(caught.value)
    assert said in str(caught.value)


# ---- a file of the user's


def small(**options: Any) -> torch.nn.Module:
    return torchmg.create("mgiad20", **{**OPTIONS, **options})


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_read_into_the_network_that_is_asked_for(as_text: bool, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = small().state_dict()
    file = tmp_path / "net.safetensors"
    save_file(state, file)
    found = small(weights=str(file) if as_text else file).state_dict()
    assert all(found[name].equal(tensor) for name, tensor in state.items())


@pytest.mark.parametrize("missing", [True, False])
def test_tensors_have_to_be_exactly_those_of_the_network(missing: bool, tmp_path: Path) -> None:
    state = small().state_dict()
    name = next(iter(state))
    changed = (
        {key: value for key, value in state.items() if key != name} if missing else {**state, "more": torch.ones(1)}
    )
    save_file(changed, tmp_path / "net.safetensors")
    said = f"missing: {name}" if missing else "not in the model: more"
    with pytest.raises(CheckpointError, match=said):
        small(weights=tmp_path / "net.safetensors")


def test_other_options_than_the_files_do_not_fit(tmp_path: Path) -> None:
    save_file(small().state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="of another shape"):
        small(weights=tmp_path / "net.safetensors", num_classes=7)


def test_a_runs_file_carries_its_digest(tmp_path: Path) -> None:
    state = small().state_dict()
    save_file(state, tmp_path / "good.safetensors", {"sha256": digest(state)})
    small(weights=tmp_path / "good.safetensors")
    content = bytearray((tmp_path / "good.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors is damaged: its tensors are not what its sha256 says"):
        small(weights=tmp_path / "bad.safetensors")


@pytest.mark.parametrize("harm", ["none", "pickle", "folder"])
def test_what_is_no_safetensors_file(harm: str, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    if harm == "pickle":
        torch.save(small().state_dict(), file)
    elif harm == "folder":
        file.mkdir()
    with pytest.raises(TorchmgError, match="cannot be read as safetensors") as caught:
        small(weights=file)
    assert isinstance(caught.value, CheckpointError)
