"""Archives bring back the network to the bit, with its types and ties, and say in a sentence what is wrong."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import torchmg
from torchmg.conversion.archive import ABOUT, CARD, FILES, WEIGHTS, load_converted, read_about, save_converted
from torchmg.conversion.hub import from_pretrained, push_to_hub
from torchmg.errors import DataError, MissingExtraError, TorchmgError, UnknownNameError, UsageError

PLAN = {"replace": {"head": 3}, "by": [1, 2.5, None]}


def apply(model: nn.Module, plan: Mapping[str, Any]) -> nn.Module:
    """A conversion: named linear layers become two, the first of a given width."""
    model = deepcopy(model)
    for path, width in plan["replace"].items():
        old = model.get_submodule(path)
        assert isinstance(old, nn.Linear)
        model.set_submodule(path, nn.Sequential(nn.Linear(old.in_features, width), nn.Linear(width, old.out_features)))
    return model


class Tied(nn.Module):
    """One tensor under two names, one under a transposed view of itself, a buffer, a slice of something larger."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.turned = nn.Parameter(self.encode.weight.detach().t())
        self.part = nn.Parameter(torch.randn(6)[2:4])
        self.empty = nn.Parameter(torch.empty(0))
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("hidden", torch.rand(2), persistent=False)


def trained(model: nn.Module) -> nn.Module:
    """Other values than any initialisation has, in buffers too."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.add_(0.01 * torch.rand_like(tensor) if tensor.is_floating_point() else 3)
    return model.eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return list(mine) == list(theirs) and all(
        torch.equal(mine[n], theirs[n]) and mine[n].dtype == theirs[n].dtype for n in mine
    )


@pytest.fixture
def net() -> nn.Module:
    return trained(apply(torchmg.create("mgic_resnet20", num_classes=5), PLAN))


@pytest.fixture
def folder(net: nn.Module, tmp_path: Path) -> Path:
    options = {"num_classes": 5}
    return save_converted(tmp_path / "net", net, PLAN, base="mgic_resnet20", options=options, card="# net\n")


def test_a_converted_network_comes_back(net: nn.Module, folder: Path) -> None:
    state = torch.get_rng_state()
    found = load_converted(folder, apply=apply)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(found, net)
    assert not any(module.training for module in found.modules())
    x = torch.rand(2, 3, 8, 8)
    assert net(x).isfinite().all()
    assert torch.equal(found(x), net(x))
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["net"], "nothing is left beside it"
    assert (folder / CARD).read_text() == "# net\n"
    about = read_about(folder)
    assert (about.plan, about.base, about.options, about.torchmg) == (
        PLAN,
        "mgic_resnet20",
        {"num_classes": 5},
        torchmg.__version__,
    )
    assert len({(folder / name).stat().st_mode for name in FILES}) == 1, "whoever may read one may read all"


def test_a_given_base_model_is_used(net: nn.Module, tmp_path: Path) -> None:
    folder = save_converted(tmp_path / "net", net, PLAN, base=None, card="")
    assert same(load_converted(folder, torchmg.create("mgic_resnet20", num_classes=5), apply=apply), net)
    with pytest.raises(UsageError, match=r"a model without a name\. Build it and give it"):
        load_converted(folder, apply=apply)


def test_a_model_of_the_catalogue_needs_no_plan(tmp_path: Path) -> None:
    net = trained(torchmg.create("mgic_resnet20", width=0.5))
    folder = save_converted(tmp_path / "a" / "b", net, {}, base="mgic_resnet20", options={"width": 0.5}, card="")
    assert same(load_converted(folder), net)


@pytest.mark.parametrize("base", ["timm:lcnet_035", "torchvision:squeezenet1_1"])
def test_a_model_of_another_library(base: str, tmp_path: Path) -> None:
    options = {"num_classes": 3}
    net = trained(torchmg.models.user.build(base, **options))
    loading = {"pretrained": True} if base.startswith("timm") else {"weights": None, "progress": True}
    folder = save_converted(tmp_path / "net", net, {}, base=base, options={**options, **loading}, card="")
    assert read_about(folder).options == options, "what fetches weights is not needed again"
    assert same(load_converted(folder), net)


def test_ties_types_and_views_are_kept(tmp_path: Path) -> None:
    net = trained(Tied())
    net.encode.to(torch.bfloat16)
    net.decode.weight = net.encode.weight
    folder = save_converted(tmp_path / "net", net, {}, base=None, card="")
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt", "decode.weight": "encode.weight"}
        assert set(file.keys()) == {"encode.weight", "turned", "part", "empty", "steps"}
    base = Tied()
    found = load_converted(folder, base)
    assert same(found, net)
    assert found is base
    assert base.decode.weight is base.encode.weight
    assert base.encode.weight.dtype == torch.bfloat16


def test_saving_again_replaces_an_archive_and_nothing_else(net: nn.Module, folder: Path, tmp_path: Path) -> None:
    other = trained(torchmg.create("resnet20"))
    save_converted(folder, other, {}, base="resnet20", card="")
    assert same(load_converted(folder), other)
    (tmp_path / "empty").mkdir()
    save_converted(tmp_path / "empty", other, {}, base="resnet20", card="")
    (folder / ".git").mkdir()
    with pytest.raises(UsageError, match=r"net holds something else, such as \.git; name a new folder"):
        save_converted(folder, net, PLAN, base="mgic_resnet20", card="")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds something else, such as README\.md"):
        save_converted(tmp_path / "mine", net, PLAN, base="mgic_resnet20", card="")
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"
    (tmp_path / "mine" / ABOUT).write_text("{}")
    with pytest.raises(UsageError, match="damaged or not of this version"):
        save_converted(tmp_path / "mine", net, PLAN, base="mgic_resnet20", card="")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        save_converted(folder / CARD, net, PLAN, base="mgic_resnet20", card="")


@pytest.mark.parametrize("step", range(6))
def test_what_fails_on_the_way_leaves_the_old_archive(
    net: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    calls = [(Path, "write_text"), (os, "fsync"), (Path, "chmod"), (Path, "mkdir")]
    rename, left = Path.rename, iter([True, False]) if step == 4 else iter([False])

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def failing(self: Path, target: Path) -> Path:
        return rename(self, target) if next(left, True) else refuse()  # pyright: ignore[reportReturnType]

    if step < 4:
        monkeypatch.setattr(*calls[step], refuse)
    else:
        monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DataError, match=r"net cannot be written: No space left on device\. Nothing in it was changed"):
        save_converted(folder, torchmg.create("resnet20"), {}, base="resnet20", card="")
    monkeypatch.undo()
    assert same(load_converted(folder, apply=apply), net)
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_what_cannot_be_saved(net: nn.Module, tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"a": 1}

    cases: list[tuple[nn.Module, Mapping[str, Any], Mapping[str, Any], str]] = [
        (net, {"a": object()}, {}, "The plan cannot be written as JSON"),
        (net, {"a": float("nan")}, {}, "The plan cannot be written as JSON"),
        (net, {}, {"norm_layer": nn.BatchNorm2d}, "options of the base model cannot be written as JSON"),
        (Extra(2, 2), {}, {}, "have values can be saved; these are none: _extra_state"),
        (nn.Linear(2, 2, device="meta"), {}, {}, "these are none: weight, bias"),
        (nn.LazyLinear(2), {}, {}, "these are none: weight, bias"),
        (torch.compile(nn.Linear(2, 2), backend="eager"), {}, {}, "save the model that it was given"),
        (nn.ParameterList([torch.rand(2).to_sparse()]), {}, {}, "these are none: 0"),
    ]
    for model, plan, options, words in cases:
        with pytest.raises(UsageError, match=words):
            save_converted(tmp_path / "net", model, plan, base=None, options=options, card="")
        assert not list(tmp_path.iterdir())


def change(path: Path, **values: Any) -> None:
    found = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in found.items() if value != "gone"}))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES: list[tuple[Callable[[Path], Any], type[Exception], list[str]]] = [
    (shutil.rmtree, DataError, ["no archive of torchmg", "no such folder"]),
    (lambda at: (at / ABOUT).unlink(), DataError, ["it has no conversion.json"]),
    (lambda at: (at / WEIGHTS).unlink(), DataError, ["has no model.safetensors"]),
    (lambda at: flip(at / WEIGHTS), DataError, ["model.safetensors is not the file", "sha256"]),
    (lambda at: (at / ABOUT).write_text("{"), DataError, ["conversion.json cannot be read"]),
    (lambda at: (at / ABOUT).write_bytes(b"\xff\xfe"), DataError, ["conversion.json cannot be read"]),
    (lambda at: (at / ABOUT).write_text("[" * 100_000), DataError, ["conversion.json"]),
    (lambda at: (at / ABOUT).write_text("[1]"), DataError, ["no format number"]),
    (lambda at: change(at / ABOUT, format="1"), DataError, ["no format number"]),
    (lambda at: change(at / ABOUT, format=2, torchmg="9.9"), DataError, ["format 2", "torchmg 9.9", "reads format 1"]),
    (lambda at: change(at / ABOUT, plan="gone"), DataError, ["'plan' is missing"]),
    (lambda at: change(at / ABOUT, options=[1]), DataError, ["'options' is missing or of a wrong kind"]),
    (lambda at: change(at / ABOUT, sha256=None), DataError, ["'sha256'"]),
    (lambda at: change(at / ABOUT, base="resnet21"), UnknownNameError, ["Unknown model 'resnet21'"]),
    (lambda at: change(at / ABOUT, options={"name": 3}), DataError, ["options that do not fit mgic_resnet20"]),
    (lambda at: change(at / ABOUT, base="evil.py:net"), UsageError, ["made of evil.py:net. Build it"]),
    (
        lambda at: change(at / ABOUT, options={"num_classes": 6}),
        DataError,
        ["head.1.weight (5, 3), in the model (6, 3)"],
    ),
    (
        lambda at: change(at / ABOUT, base="resnet20"),
        DataError,
        ["does not fit", "missing: stages", "not in the model"],
    ),
    (lambda at: change(at / ABOUT, plan={}), DataError, ["missing: head.weight, head.bias", "head.0.weight"]),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_damage_is_told_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    damage, error, words = DAMAGES[number]
    (folder.parent / "evil.py").write_text("raise SystemExit")
    monkeypatch.chdir(folder.parent)
    damage(folder)
    with pytest.raises(error) as caught:
        load_converted(folder, apply=apply)
    assert isinstance(caught.value, TorchmgError)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "ran"),)

    import hashlib

    data = pickle.dumps(Evil())
    (folder / WEIGHTS).write_bytes(data)
    change(folder / ABOUT, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        load_converted(folder, apply=apply)
    assert not (folder / "ran").exists()


def test_a_model_that_does_not_fit_is_left_as_it_was(net: nn.Module, folder: Path) -> None:
    base = torchmg.create("mgic_resnet20", num_classes=6)
    before = deepcopy(base)
    with pytest.raises(DataError, match="does not fit this ResNet"):
        load_converted(folder, base, apply=lambda model, _: model)
    assert same(base, before)
    with pytest.raises(UsageError, match="give what applies its plan"):
        load_converted(folder)


def test_other_ties_do_not_fit(tmp_path: Path) -> None:
    net, base = Tied(), Tied()
    folder = save_converted(tmp_path / "net", net, {}, base=None, card="")
    base.decode.weight = nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(DataError, match=r"missing: decode\.weight"):
        load_converted(folder, base)
    net.decode.weight = nn.Parameter(torch.zeros(4, 4))
    save_converted(folder, net, {}, base=None, card="")
    with pytest.raises(DataError, match=r"one tensor in the model, two in the file: encode\.weight = decode\.weight"):
        load_converted(folder, Tied())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The Hub in a folder, and the calls that it had."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(repo_id: str, **options: Any) -> SimpleNamespace:
        calls.append(("create", {"repo_id": repo_id, **options}))
        (tmp_path / "hub" / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(*, repo_id: str, folder_path: str, allow_patterns: list[str], **options: Any) -> None:
        calls.append(("upload", {"repo_id": repo_id, **options}))
        for name in allow_patterns:
            shutil.copy(Path(folder_path) / name, tmp_path / "hub" / repo_id / name)

    def snapshot_download(repo_id: str, *, allow_patterns: list[str], **options: Any) -> str:
        calls.append(("download", {"repo_id": repo_id, "allow_patterns": allow_patterns, **options}))
        if not (tmp_path / "hub" / repo_id).is_dir():
            raise OSError(f"404 Client Error.\nRepository Not Found: {repo_id}")
        return str(tmp_path / "hub" / repo_id)

    for function in (create_repo, upload_folder, snapshot_download):
        monkeypatch.setattr(huggingface_hub, function.__name__, function)
    return calls


def test_to_the_hub_and_back(net: nn.Module, folder: Path, hub: list[tuple[str, dict[str, Any]]]) -> None:
    assert push_to_hub(folder, "me/net", private=True, token="t") == "me/net"
    found = from_pretrained("me/net", apply=apply, revision="v1")
    assert same(found, net)
    (_, made), (_, uploaded), (_, fetched) = hub
    assert (made["private"], made["token"], uploaded["token"]) == (True, "t", "t")
    assert (fetched["revision"], fetched["allow_patterns"]) == ("v1", list(FILES))
    assert same(from_pretrained(folder, apply=apply), net)
    assert same(from_pretrained(str(folder), apply=apply), net)
    assert len(hub) == 3, "a folder needs no Hub"


def test_the_hub_gets_no_damaged_archive(folder: Path, hub: list[tuple[str, dict[str, Any]]]) -> None:
    flip(folder / WEIGHTS)
    with pytest.raises(DataError, match="sha256"):
        push_to_hub(folder, "me/net")
    assert not hub


def test_what_the_hub_refuses(
    folder: Path, hub: list[tuple[str, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"me/none is no folder here, and cannot be fetched: OSError: 404 Client Error\."
    ):
        from_pretrained("me/none")
    for name in ("./net2", "/a/b", "net2", "a/b/c", "~/net"):
        with pytest.raises(DataError, match="There is no folder"):
            from_pretrained(name)
    (tmp_path / "hub" / "me" / "other").mkdir(parents=True)
    with pytest.raises(DataError, match=r"me/other has no conversion\.json, so it is no network of torchmg"):
        from_pretrained("me/other")

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("Repo id must be in the form 'repo_name'")

    monkeypatch.setattr(huggingface_hub, "create_repo", refuse)
    with pytest.raises(DataError, match=r"cannot be uploaded to a b: ValueError: Repo id must"):
        push_to_hub(folder, "a b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for act in (lambda: push_to_hub(folder, "me/net"), lambda: from_pretrained("me/net")):
        with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[hub\]'"):
            act()


def test_the_files_can_be_read_by_others(folder: Path, net: nn.Module) -> None:
    tensors, state = load_file(folder / WEIGHTS), net.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
