"""Peak memory of inference and training: counted without data, and measured in a process of its own."""

import json
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchmg.counting.macs import meta_copy
from torchmg.errors import DataError
from torchmg.tables import Table

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """What one pass over a batch takes beyond weights and input, in bytes."""

    model: str
    training: bool
    batch: int
    parameters: int
    """Bytes of the weights."""
    counted: int
    """Largest sum of tensors that live at once; in training gradients, those of weights among them, are counted."""
    kept: int
    """What autograd keeps from forward to backward; 0 at inference."""
    measured: int | None = None
    """Growth of the process at its largest, or None where it was not measured."""

    def row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class _Live(TorchDispatchMode):
    """Adds up the storages that operators make, and takes them off when they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def ignore(self, tensors: Sequence[Tensor]) -> None:
        """What was there before."""
        for tensor in tensors:
            self.known.add(tensor.untyped_storage())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage()) not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, size: int) -> None:
        self.now -= size


def counted(model: nn.Module, input: tuple[int, ...], batch: int, *, training: bool) -> tuple[int, int]:  # noqa: A002
    """(peak bytes, bytes kept by autograd) of one pass, from shapes alone, for any size.

    Every operator runs on the meta device; a tensor counts from the operator that makes it until Python and autograd
    have let go of it. What an operator needs inside of itself, such as packed copies, does not count.

    Args:
        model: left as it is.
        input: of one sample.
        batch: samples.
        training: forward and backward in training mode, otherwise a forward pass without gradients.
    """
    twin = meta_copy(model).train(training)
    x = torch.empty(batch, *input, device="meta")
    own = [*twin.parameters(), *twin.buffers(), x]
    given = {tensor.untyped_storage()._cdata for tensor in own}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in given:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    live = _Live()
    live.ignore(own)
    if not training:
        with live, torch.no_grad():
            twin(x)
        return live.peak, 0
    with live:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = twin(x).sum()
        loss.backward()
    return live.peak, sum(kept.values())


def measured(spec: str, options: Mapping[str, Any], input: Sequence[int], batch: int, *, training: bool) -> int:  # noqa: A002
    """How many bytes a process grows at most while it runs one pass, after a pass of one sample.

    Args:
        spec: what commands take as a model.
        options: of its builder.
        input: of one sample.
        batch: samples.
        training: as in `counted`.

    Raises:
        DataError: the child process failed.
    """
    order = {"spec": spec, "options": dict(options), "input": list(input), "batch": batch, "training": training}
    command = [sys.executable, "-m", "torchmg.bench.one_pass", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"The process that measures memory failed: {last}")
    return int(done.stdout.split()[-1])


def memory_table(rows: Sequence[Memory]) -> Table:
    """A row for each network and phase, in MiB."""
    cells = [
        (
            *(r.model, "training" if r.training else "inference", r.batch, _mib(r.parameters), _mib(r.counted)),
            *(_mib(r.kept) if r.training else None, None if r.measured is None else _mib(r.measured)),
        )
        for r in rows
    ]
    columns = ("model", "phase", "batch", "weights", "peak, counted", "kept for backward", "peak, measured")
    note = (
        "MiB, float32, in eager PyTorch, beyond weights and input. Counted: tensors that live at once, from shapes; "
        "measured: growth of a process."
    )
    return Table(columns, cells, "Peak memory", note)


def _mib(size: int) -> float:
    return round(size / MIB, 1)
