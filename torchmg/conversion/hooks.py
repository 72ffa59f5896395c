"""Which hooks of a module are its user's, and how they follow when another module takes its place."""

import functools
import inspect
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn

# The first of each row holds the hooks, the others mark some of them by the same keys.
_TABLES = (
    ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    ("_backward_pre_hooks",),
    ("_backward_hooks",),
    ("_state_dict_pre_hooks",),
    ("_state_dict_hooks",),
    ("_load_state_dict_pre_hooks",),
    ("_load_state_dict_post_hooks",),
)


def hand_over_hooks(source: nn.Module, target: nn.Module) -> None:
    """Give `target` the hooks that a user registered on `source`; the handles that the user holds still remove them.

    A `RemovableHandle` refers to the dictionary that holds its hook, so it is the dictionary that changes hands, in
    exchange for `target`'s. Hooks that are part of how a module computes stay with it: those that weight norm,
    spectral norm or pruning put there, a module's own methods, and functions written inside its class. `target`'s own
    hooks come before those it is given. A second call finds nothing left to give.
    """
    for names in _TABLES:
        hooks: dict[int, Callable[..., Any]] = getattr(source, names[0])
        own = [key for key, hook in hooks.items() if _is_part_of(source, hook)]
        if len(own) == len(hooks):
            continue
        for name in names:
            _exchange(source, target, name, own)
        for hook in getattr(target, names[0]).values():
            _rebind(hook, target)
        if names[0] == "_backward_hooks":
            target._is_full_backward_hook = source._is_full_backward_hook


def computes_by_hooks(module: nn.Module) -> bool:
    """Whether hooks are part of how a module computes, as those of weight norm, spectral norm and pruning."""
    names = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return any(_is_part_of(module, hook) for name in names for hook in getattr(module, name).values())


def without_hooks(module: nn.Module) -> dict[int, Any]:
    """A `copy.deepcopy` memo under which `module` and all its parts are copied with no hooks at all."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        memo |= {id(getattr(part, name)): OrderedDict() for names in _TABLES for name in names}
    return memo


def _exchange(source: nn.Module, target: nn.Module, name: str, own: list[int]) -> None:
    """Swap one table of two modules; the entries `own` stay with `source`, all of `target`'s with `target`."""
    given, received = getattr(source, name), getattr(target, name)
    before, kept = dict(received), {key: given[key] for key in own if key in given}
    users = {key: value for key, value in given.items() if key not in kept}
    received.clear()
    received.update(kept)
    given.clear()
    given.update(before | users)
    setattr(source, name, received)
    setattr(target, name, given)


def _is_part_of(module: nn.Module, hook: Callable[..., Any]) -> bool:
    """Whether a hook belongs to how `module` computes, rather than to its user."""
    while isinstance(hook := inspect.unwrap(hook), functools.partial):
        hook = hook.func
    if getattr(hook, "__self__", None) is module:
        return True
    made = hook if hasattr(hook, "__qualname__") else type(hook)
    if str(made.__module__).startswith("torch.nn."):
        return True
    inside = [(kind.__module__, f"{kind.__qualname__}.") for kind in type(module).mro()]
    return any(made.__module__ == where and made.__qualname__.startswith(name) for where, name in inside)


def _bound_module(hook: Callable[..., Any]) -> nn.Module | None:
    """The module that torch remembers to call a state-dict hook with; None for hooks that are called as they are."""
    reference = getattr(hook, "module", None) if getattr(hook, "with_module", False) else None
    return reference() if isinstance(reference, weakref.ref) else None


def _rebind(hook: Any, module: nn.Module) -> None:
    """Let a hook that torch calls with the module it was registered on be called with `module`."""
    if _bound_module(hook) is not None:
        hook.module = weakref.ref(module)
