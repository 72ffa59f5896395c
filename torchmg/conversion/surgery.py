"""Putting modules into the tree of a network, in place of others, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from torchmg.conversion.hooks import hand_over_hooks
from torchmg.errors import UsageError

Place = tuple[torch.device, torch.dtype]


def module_paths(model: nn.Module) -> dict[nn.Module, tuple[str, ...]]:
    """All dotted paths under which every module of `model` hangs, in the order of `named_modules`; "" is the root.

    A module has several when it, or a module above it, is used twice.
    """
    paths: dict[nn.Module, tuple[str, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths[module] = (*paths.get(module, ()), path)
    return paths


def replace_modules(model: nn.Module, new: Mapping[tuple[str, ...], nn.Module]) -> tuple[nn.Module, "Undo"]:
    """Put new modules in place of old ones, in place, each as a stand-in for the old one (`adopt`).

    A module that is shared stays shared: its replacement hangs under all its paths. Only registered children are
    seen. A plain list or a stored bound method that also refers to an old module goes on referring to it.

    Args:
        model: The network; it is changed.
        new: The new module for each old one, which is named by all its paths (`module_paths`), in any order.
            `("",)` is the network itself.

    Returns:
        The network, which is the replacement itself where the root is replaced, and what puts the old modules back.

    Raises:
        UsageError: paths that do not exist, do not lead to one module, or leave out others of the same module; a
            replacement inside a module that is replaced too; one new module for two old ones; a new module on the
            meta device. Nothing is changed then.
    """
    known = module_paths(model)
    at = {path: module for module, paths in known.items() for path in paths}
    pairs = tuple(Pair(paths, _only_module(at, known, paths), module) for paths, module in new.items())
    _check_apart(pairs)
    for pair in pairs:
        _check_has_values(pair.old, pair.new)
    for pair in pairs:
        adopt(pair.old, pair.new)
    undo = Undo(pairs, tuple(_State.of(pair.new, model) for pair in pairs))
    for pair in pairs:
        model = _put(model, pair.paths, pair.new)
    return model, undo


def adopt(old: nn.Module, new: nn.Module) -> None:
    """Make `new` a stand-in for `old`: the same mode, device, floating dtype, memory format, freezing and hooks.

    Device and dtype are those of `old`'s first floating parameter (or buffer; with none, `new` stays where it is).
    4-D tensors of `new` become channels-last where a 4-D parameter of `old` is so. `new` is frozen where all of `old`
    is. Hooks that a user registered on `old` itself move over, and the user's handles still remove them; those on
    modules inside `old` stay there. `replace_modules` calls this; a second call changes nothing more.

    Raises:
        UsageError: `new` has no values (it is on the meta device) and `old` has.
    """
    _check_has_values(old, new)
    new.train(old.training)
    if place := _place(old):
        new.to(device=place[0], dtype=place[1])
    if any(_is_channels_last(parameter) for parameter in old.parameters()):
        for tensor in _tensors(new):
            if tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    frozen = [not parameter.requires_grad for parameter in old.parameters()]
    if frozen and all(frozen):
        new.requires_grad_(False)
    hand_over_hooks(old, new)


@dataclass(frozen=True)
class Pair:
    """An old module, the new one in its place, and all paths where they hang."""

    paths: tuple[str, ...]
    old: nn.Module
    new: nn.Module


@dataclass(frozen=True)
class _State:
    """What a user may have changed since: the mode of a module and where its values lie."""

    training: bool
    place: Place | None

    @classmethod
    def of(cls, module: nn.Module, model: nn.Module) -> "_State":
        """The state of a module, whose place is the model's when it has no values."""
        return cls(module.training, _place(module) or _place(model))


@dataclass
class Undo:
    """Puts back what `replace_modules` took out.

    `pairs` says what was replaced by what, and where.
    """

    pairs: tuple[Pair, ...]
    _states: tuple[_State, ...]
    _done: bool = field(default=False)

    def undo(self, model: nn.Module) -> nn.Module:
        """Put the very same old modules back, in place; returns the network, or the old root where that was replaced.

        Old modules keep their values, so the function is the old one bit for bit. They follow what was done to the
        network since: a mode, device or dtype that is another one than after the replacement is passed on, and hooks
        go back, those registered since included. What did not change is not touched, and neither is `requires_grad`.

        Raises:
            UsageError: a second call, or a network that no longer has the replacements; the message says where.
                Nothing is changed then.
        """
        if self._done:
            raise UsageError("This conversion is undone already; the old modules are back. Convert again to go on.")
        _check_in_place(model, self.pairs)
        now = [_State.of(pair.new, model) for pair in self.pairs]
        for pair, before, after in zip(self.pairs, self._states, now, strict=True):
            model = _put(model, pair.paths, pair.old)
            hand_over_hooks(pair.new, pair.old)
            _follow(pair.old, before, after)
        self._done = True
        return model


def _follow(old: nn.Module, before: _State, after: _State) -> None:
    """Pass on to a module what changed of its stand-in."""
    if before.training != after.training:
        old.train(after.training)
    if before.place is None or after.place is None:
        return
    device, dtype = (y if x != y else None for x, y in zip(before.place, after.place, strict=True))
    if device or dtype:
        old.to(device=device, dtype=dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _put(model: nn.Module, paths: tuple[str, ...], module: nn.Module) -> nn.Module:
    """Hang a module under all its paths; returns the root."""
    if paths == ("",):
        return module
    for path in paths:
        parent, _, name = path.rpartition(".")
        model.get_submodule(parent)._modules[name] = module
    return model


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _place(module: nn.Module) -> Place | None:
    """Device and floating dtype of a module; None without floating values."""
    return next(((tensor.device, tensor.dtype) for tensor in _tensors(module) if tensor.is_floating_point()), None)


def _is_channels_last(tensor: Tensor) -> bool:
    # With one channel or one pixel both formats are the same strides, and say nothing.
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _named(path: str) -> str:
    return f"'{path}'" if path else "the root ('')"


def _only_module(
    at: Mapping[str, nn.Module], known: Mapping[nn.Module, tuple[str, ...]], paths: tuple[str, ...]
) -> nn.Module:
    """The one module that hangs under exactly these paths."""
    if not paths:
        raise UsageError('A replacement needs the paths of the module it replaces; got none. Use ("",) for the root.')
    for path in paths:
        if path not in at:
            parent = path
            while parent not in at:
                parent = parent.rpartition(".")[0]
            children = ", ".join(name for name, _ in at[parent].named_children()) or "none"
            raise UsageError(f"There is no module at '{path}'. Children of {_named(parent)}: {children}.")
    old = at[paths[0]]
    for path in paths[1:]:
        if at[path] is not old:
            raise UsageError(f"{_named(paths[0])} and {_named(path)} are two modules. Give each its own replacement.")
    if rest := set(known[old]) - set(paths):
        more = ", ".join(map(_named, sorted(rest)))
        raise UsageError(f"The module at {_named(paths[0])} is shared: it also hangs under {more}. Name all its paths.")
    return old


def _check_apart(pairs: tuple[Pair, ...]) -> None:
    """Raise unless no replacement lies in another one, and every new module is used once and is new."""
    owner: dict[nn.Module, Pair] = {}
    for pair in pairs:
        if pair.new is pair.old:
            raise UsageError(f"The replacement of {_named(pair.paths[0])} is the module itself. Leave it out.")
        if pair.new in owner:
            both = f"{_named(owner[pair.new].paths[0])} and {_named(pair.paths[0])}"
            raise UsageError(f"One new module is to replace two: {both}. Give each its own.")
        owner[pair.new] = pair
    replaced = {path for pair in pairs for path in pair.paths}
    for path in sorted(replaced):
        above = path
        while above:
            above = above.rpartition(".")[0]
            if above in replaced:
                raise UsageError(f"'{path}' lies inside {_named(above)}, which is replaced too. Replace one of them.")


def _check_has_values(old: nn.Module, new: nn.Module) -> None:
    """Raise when a new module lies on the meta device and the old one does not."""
    place = _place(old)
    if place and place[0].type != "meta" and any(tensor.is_meta for tensor in _tensors(new)):
        raise UsageError(
            f"The replacement {type(new).__name__} is on the meta device and has no values to move to {place[0]}. "
            "Build it on a real device."
        )


def _check_in_place(model: nn.Module, pairs: tuple[Pair, ...]) -> None:
    """Raise unless every replacement hangs where it was put."""
    at = dict(model.named_modules(remove_duplicate=False))
    for pair in pairs:
        for path in pair.paths:
            if at.get(path) is not pair.new:
                found = type(at[path]).__name__ if path in at else "nothing"
                raise UsageError(
                    f"Cannot undo: at {_named(path)} there is {found}, not the {type(pair.new).__name__} that was put "
                    "there. Undo takes the converted network itself, not a copy of it nor a wrapper around it."
                )
