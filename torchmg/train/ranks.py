"""What several processes of one run have to agree on; with one process, nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")


class Ranks:
    """The processes of a run as seen by one of them.

    Its methods are collective: every process calls them at the same point.
    """

    def __init__(self, fabric: "Fabric") -> None:
        self._fabric = fabric
        self.rank, self.world = fabric.global_rank, fabric.world_size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether some process has it."""
        if self.world == 1:
            return list(flags)
        return [count > 0 for count in self.sum(torch.tensor(flags, dtype=torch.int32)).tolist()]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world == 1:
            return tensor
        summed = self._fabric.all_reduce(tensor.to(self._fabric.device), reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed

    def gather(self, mine: dict[str, Tensor]) -> dict[str, Tensor]:
        """Everybody's tensors on the CPU, whose names differ, in one dictionary."""
        if self.world == 1:
            return mine
        everybody: list[dict[str, Tensor]] = [{}] * self.world
        torch.distributed.all_gather_object(everybody, mine)
        return {name: state for states in everybody for name, state in states.items()}

    def share(self, model: nn.Module) -> None:
        """Give everybody the first process's buffers: running statistics differ by the batches that each has seen."""
        if self.world > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def one_by_one(self, function: Callable[[], T]) -> T:
        """What `function` returns, once the first process is done with it, and then the others."""
        mine = [function()] if self.first else []
        self.wait()
        return mine[0] if mine else function()

    def wait(self) -> None:
        """Until every process is here."""
        self._fabric.barrier()
