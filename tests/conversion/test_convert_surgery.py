"""Modules change places and back: same outputs bit for bit, hooks with their handles, mode, dtype and format."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmg.conversion.surgery import adopt, module_paths, replace_modules
from torchmg.errors import UsageError


class Twice(nn.Module):
    """One convolution under three names, in a block that is itself used twice, beside one of each container."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Conv2d(4, 4, 3, padding=1)
        block = nn.Sequential(shared, nn.BatchNorm2d(4), nn.ReLU())
        block.add_module("again", shared)
        self.stem = nn.Sequential(block, block)
        self.list = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Identity()])
        self.named = nn.ModuleDict({"a b": nn.Conv2d(4, 4, 1), "conv": shared})

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.named["a b"](self.list[0](x)) + self.named["conv"](x)


def at(model: nn.Module, path: str) -> tuple[str, ...]:
    """All paths of the module at one path."""
    return module_paths(model)[model.get_submodule(path)]


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    return copy.deepcopy(model)(x)


def test_shared_module_stays_shared_and_comes_back() -> None:
    model, x = Twice(), torch.randn(2, 4, 5, 5)
    before, names, state = outputs(model, x), list(model.named_modules()), model.state_dict(keep_vars=True)
    new = nn.Conv2d(4, 4, 5, padding=2)
    paths = at(model, "named.conv")
    assert paths == ("stem.0.0", "stem.0.again", "stem.1.0", "stem.1.again", "named.conv")
    converted, undo = replace_modules(model, {paths: new, at(model, "named.a b"): nn.Identity()})
    assert converted is model
    assert model.stem[0][0] is model.stem[1].again is model.named["conv"] is new
    assert list(model.stem[0]._modules) == ["0", "1", "2", "again"]
    assert sum(module is new for module in model.modules()) == 1

    copied = copy.deepcopy(model)
    assert torch.equal(outputs(copied, x), outputs(model, x))
    assert copied.stem[0][0] is copied.named["conv"] is not new
    copied.load_state_dict(model.state_dict(), strict=True)
    with pytest.raises(UsageError, match=r"stem\.0\.0.*not a copy"):
        undo.undo(copied)

    assert undo.undo(model) is model
    assert list(model.named_modules()) == names
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(x), before)
    with pytest.raises(UsageError, match="undone already"):
        undo.undo(model)


def test_root() -> None:
    old, new = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
    seen: list[str] = []
    old.register_forward_hook(lambda *_: seen.append("hook"))
    converted, undo = replace_modules(old, {("",): new})
    assert converted is new
    converted(torch.ones(1, 3))
    assert seen == ["hook"]
    with pytest.raises(UsageError, match=r"root.*Linear"):
        undo.undo(old)
    assert undo.undo(new) is old


Register = Callable[[nn.Module, list[str], str], Any]
REGISTER: dict[str, Register] = {
    "forward_pre": lambda m, seen, name: m.register_forward_pre_hook(lambda *_: seen.append(name)),
    "forward_pre_kwargs": lambda m, seen, name: m.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(name + str(len(kwargs))), with_kwargs=True
    ),
    "forward": lambda m, seen, name: m.register_forward_hook(lambda *_: seen.append(name)),
    "forward_kwargs": lambda m, seen, name: m.register_forward_hook(
        lambda module, args, kwargs, out: seen.append(name + str(len(kwargs))), with_kwargs=True, always_call=True
    ),
    "backward_pre": lambda m, seen, name: m.register_full_backward_pre_hook(lambda *_: seen.append(name)),
    "backward": lambda m, seen, name: m.register_full_backward_hook(lambda *_: seen.append(name)),
    "state_pre": lambda m, seen, name: m.register_state_dict_pre_hook(lambda *_: seen.append(name)),
    "state": lambda m, seen, name: m.register_state_dict_post_hook(lambda *_: seen.append(name)),
    "load_pre": lambda m, seen, name: m.register_load_state_dict_pre_hook(
        lambda module, *_: seen.append(name + type(module).__name__)
    ),
    "load_post": lambda m, seen, name: m.register_load_state_dict_post_hook(lambda *_: seen.append(name)),
}


def use(model: nn.Module, seen: list[str]) -> list[str]:
    """What the hooks of a network say when it is called, differentiated, saved and loaded."""
    seen.clear()
    model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    model.load_state_dict(model.state_dict())
    return list(seen)


@pytest.mark.parametrize("kind", REGISTER)
@pytest.mark.parametrize("when", ["converted", "undone"])
def test_hooks_follow_and_their_handles_still_remove_them(kind: str, when: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    old, new, seen = model[0], nn.Bilinear(4, 4, 4), []
    new.forward = lambda x: nn.Bilinear.forward(new, x, x)
    handles = [REGISTER[kind](old, seen, name) for name in ("one", "two")]
    said = use(model, seen)
    assert [word[:3] for word in said] == ["one", "two"]

    _, undo = replace_modules(model, {("0",): new})
    adopt(old, new)  # a second time there is nothing to take over
    assert use(model, seen) == [word.replace("Linear", "Bilinear") for word in said]
    if when == "converted":
        handles[0].remove()
        assert [word[:3] for word in use(model, seen)] == ["two"]
        handles[0] = REGISTER[kind](new, seen, "one")
        assert {word[:3] for word in use(model, seen)} == {"one", "two"}
    undo.undo(model)
    assert sorted(use(model, seen)) == said
    for handle in handles:
        handle.remove()
    assert use(model, seen) == []
    assert not any(getattr(module, name) for module in (old, new) for name in vars(module) if "hooks" in name)


def test_hooks_by_which_a_layer_computes_stay_with_it() -> None:
    from torch.nn.utils.prune import l1_unstructured

    model, x, seen = nn.Sequential(nn.Linear(4, 4)), torch.randn(2, 4), []
    old = l1_unstructured(model[0], "weight", amount=0.5)
    before = model(x)
    old.register_forward_pre_hook(lambda *_: seen.append("user"))
    _, undo = replace_modules(model, {("0",): nn.Linear(4, 4)})
    model(x)
    assert seen == ["user"]
    with torch.no_grad():
        old.weight_orig += 1  # the mask is applied by the hook that stayed
    undo.undo(model)
    with torch.no_grad():
        old.weight_orig -= 1
    torch.testing.assert_close(model(x), before)
    assert seen == ["user", "user"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_stand_in_is_like_the_old_one_and_undo_follows_the_network(dtype: torch.dtype, training: bool) -> None:
    model = Twice().to(dtype).to(memory_format=torch.channels_last).train(training).requires_grad_(False)
    old, new = model.list[0], nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    shared, stand_in = model.named["conv"], nn.Conv2d(4, 4, 3, padding=1)
    values = old.weight.clone()
    _, undo = replace_modules(model, {at(model, "list.0"): new, at(model, "named.conv"): stand_in})
    for module in (new, stand_in):
        assert all(part.training is training for part in module.modules())
        assert all(p.dtype == dtype and not p.requires_grad for p in module.parameters())
    assert stand_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert not stand_in.weight.is_contiguous()
    assert new[0].weight.is_contiguous()  # a 1x1 weight does not say which format it has
    storage = shared.weight.data_ptr()

    model.train(not training)
    undo.undo(model)
    assert all(part.training is not training for part in model.modules())
    assert torch.equal(old.weight, values)
    assert shared.weight.data_ptr() == storage  # nothing was cast, so nothing was touched

    _, undo = replace_modules(model, {at(model, "list.0"): nn.Identity(), at(model, "named.conv"): nn.Conv2d(4, 4, 1)})
    model.float()
    undo.undo(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(old.weight, values.float())


def test_mixed_modes_inside_an_old_block_survive() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval()))
    old = model[0]
    _, undo = replace_modules(model, {("0",): nn.Linear(2, 2)})
    undo.undo(model)
    assert (old.training, old[1].training) == (True, False)


def test_what_cannot_be_replaced() -> None:
    model, new = Twice(), nn.Identity()
    model.list[1].register_forward_hook(print)
    names = list(model.named_modules())
    for wrong, words in [
        ({("list.7",): new}, "no module at 'list.7'. Children of 'list': 0, 1"),
        ({(): new}, "got none"),
        ({("named.conv",): new}, "shared: it also hangs under 'stem.0.0'"),
        ({("list.0", "list.1"): new}, "two modules"),
        ({("list",): new, ("list.0",): nn.Identity()}, "lies inside 'list'"),
        ({("",): new, ("list.0",): nn.Identity()}, "lies inside the root"),
        ({("list.0",): new, ("list.1",): new}, "replace two"),
        ({("list.1",): model.list[1]}, "itself"),
        ({("list.1",): new, ("list.0",): nn.Linear(2, 2, device="meta")}, "meta"),
    ]:
        with pytest.raises(UsageError, match=words):
            replace_modules(model, wrong)
        assert list(model.named_modules()) == names
        assert not new._forward_hooks


@st.composite
def trees(draw: st.DrawFn) -> nn.Sequential:
    """A chain of chains of element-wise layers, some of which, or whole chains, occur several times."""
    pool: list[nn.Module] = [nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.LayerNorm(3), nn.Tanh()]
    for _ in range(draw(st.integers(1, 5))):
        chosen = draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=4))
        pool.append(nn.Sequential(*[pool[index] for index in chosen]))
    return nn.Sequential(pool[-1])


@given(trees(), st.data())
def test_any_leaves_of_any_tree(model: nn.Sequential, data: st.DataObject) -> None:
    x, names = torch.randn(2, 3), list(model.named_modules(remove_duplicate=False))
    before = model(x)
    leaves = {module: paths for module, paths in module_paths(model).items() if not list(module.children())}
    chosen = data.draw(st.sets(st.sampled_from(list(leaves.values()))))
    _, undo = replace_modules(model, {paths: nn.Softsign() for paths in chosen})
    assert {p for p, m in model.named_modules(remove_duplicate=False) if type(m) is nn.Softsign} == {
        path for paths in chosen for path in paths
    }
    model(x)
    undo.undo(model)
    assert list(model.named_modules(remove_duplicate=False)) == names
    assert torch.equal(model(x), before)
