"""A network's modules by identity: under which names each hangs and who else holds its parameters."""

from collections import defaultdict
from collections.abc import Iterator

from torch import nn

from torchmg.nn.layer_shape import Dense

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConv = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def groups_of(layer: Dense) -> int:
    """Groups of a layer; 1 of a linear map."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def join(*parts: str) -> str:
    """A dotted name from parts of which some may be empty."""
    return ".".join(part for part in parts if part)


class ModuleTree:
    """Every module of a network once, in registration order, with all its names.

    Args:
        model: the network; it may be on the meta device.

    Attributes:
        modules: first name -> module, in registration order; the root's name is "".
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self._paths: dict[int, list[str]] = defaultdict(list)
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths[id(module)].append(path)
        self._holders: dict[int, list[str]] = defaultdict(list)
        for path, module in self.modules.items():
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                self._holders[id(parameter)].append(join(path, name))

    def layers(self) -> Iterator[tuple[str, Dense]]:
        """(first name, layer) of torch's linear layers, grouped ones and subclasses too, in registration order."""
        for path, module in self.modules.items():
            if isinstance(module, Dense):
                yield path, module

    def paths(self, module: nn.Module) -> tuple[str, ...]:
        """All names of a module, first one first."""
        return tuple(self._paths[id(module)])

    def parents(self, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
        """(ancestor, name below it) for all ancestors by all names, nearest first."""
        for path in self.paths(module):
            parts = path.split(".") if path else []
            for cut in reversed(range(len(parts))):
                yield self.model.get_submodule(".".join(parts[:cut])), ".".join(parts[cut:])

    def tie(self, module: nn.Module) -> tuple[str, str] | None:
        """(its own parameter, where else the same one is held) of the first tied parameter, or None."""
        path = self.paths(module)[0]
        for name, parameter in module.named_parameters(recurse=False):
            for holder in self._holders[id(parameter)]:
                if holder != join(path, name):
                    return name, holder
        return None
