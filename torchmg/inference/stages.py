"""Operations in stages: what stays in a part's own channels runs back to back, while it is in cache.

In part j of a stage every operation computes its j-th share of channels and may read, of what the stage itself
writes, only the j-th shares. The groups of a multigrid level, from prolongation to its last convolution, and the
chain of restrictions are such runs.
"""

from collections.abc import Iterable
from dataclasses import replace

from torchmg.inference.locality import is_local, macs
from torchmg.inference.lower import Draft
from torchmg.inference.program import Kind, Op, Plane, Program, Stage

CACHE = 256 * 1024
"""Bytes that the tensors a part writes should fit into; fewer parts are not taken for a longer stage beyond it."""
LEAST_WORK = 32768
"""Multiply-adds of a part below which cutting further costs more than it gains."""
BLOCK = 8
"""Output channels that the inner loop of a convolution computes together."""
SHARED = 4
"""Parts that are enough to share among threads: a longer stage may have so few."""


def plan(draft: Draft) -> Program:
    """Stages of a draft, and where its tensors lie."""
    stages = _stages(draft)
    homes = _homes(draft, stages)
    planes, arena, scratch = list(draft.planes), 0, 0
    spans = _spans(draft.ops)
    stage_of = {op: i for i, stage in enumerate(stages) for op in range(stage.first, stage.first + stage.count)}
    shared = [(tensor, stage_of[a], stage_of[b]) for tensor, (a, b) in spans.items() if homes[tensor] is None]
    for tensor, offset, end in _packed((t, a, b, planes[t].floats()) for t, a, b in shared):
        planes[tensor] = replace(planes[tensor], offset=offset)
        arena = max(arena, end)
    for stage in stages:
        inside = [t for t in spans if homes[t] == stage.first]
        sized = ((t, *spans[t], planes[t].floats(stage.parts)) for t in inside)
        for tensor, offset, end in _packed(sized):
            planes[tensor] = replace(planes[tensor], offset=offset, local=True)
            scratch = max(scratch, end)
    return Program(planes, draft.ops, stages, arena, scratch, draft.inputs, draft.outputs)


class _Open:
    """A stage that is being filled: its operations and the numbers of parts that it could have."""

    def __init__(self, planes: list[Plane], first: int) -> None:
        self.planes, self.first = planes, first
        self.ops: list[Op] = []
        self.fresh: set[int] = set()
        self.placed: set[int] = set()
        self.feasible: set[int] | None = None

    def allowed(self, op: Op) -> set[int]:
        """The numbers of parts with this operation at the end."""
        if self.placed.intersection(op.reads):
            return set()
        parts = set(_divisors(self.planes[op.cut].channels))
        if self.feasible is not None:
            parts &= self.feasible
        return {p for p in parts if is_local(op, self.planes, self.fresh, p)}

    def append(self, op: Op) -> None:
        self.feasible = self.allowed(op)
        self.ops.append(op)
        if op.kind is Kind.PLACE:
            self.placed.add(op.out)
        elif op.writes is not None:
            self.fresh.add(op.writes)

    def takes(self, op: Op) -> bool:
        """Whether the operation gains by being in this stage, or loses nothing."""
        allowed = self.allowed(op)
        if not allowed or self.feasible is None:
            return self.feasible is None
        alone = _Open(self.planes, 0)
        alone.append(op)
        together = _best([*self.ops, op], allowed, self.planes)
        apart = max(self.parts, alone.parts)
        enough = min(apart, SHARED)
        written = sum(self.planes[t].floats(together) for t in self.fresh | {op.out} if t >= 0) * 4
        return together >= enough and (together >= apart or written <= CACHE)

    @property
    def parts(self) -> int:
        return _best(self.ops, self.feasible or {1}, self.planes)


def _best(ops: list[Op], feasible: set[int], planes: list[Plane]) -> int:
    """The most parts that leave every one whole blocks of channels and enough work."""
    work = sum(macs(op, planes) for op in ops)
    most = max(1, work // LEAST_WORK)
    for op in ops:
        if op.weight is not None:
            most = min(most, max(1, planes[op.out].channels // BLOCK))
    return max((p for p in feasible if p <= most), default=1)


def _stages(draft: Draft) -> list[Stage]:
    stages: list[Stage] = []
    now = _Open(draft.planes, 0)
    for index, op in enumerate(draft.ops):
        if now.ops and not now.takes(op):
            stages.append(Stage(now.first, len(now.ops), now.parts))
            now = _Open(draft.planes, index)
        now.append(op)
    stages.append(Stage(now.first, len(now.ops), now.parts))
    return stages


def _spans(ops: list[Op]) -> dict[int, tuple[int, int]]:
    """The operations between which each tensor is needed."""
    spans: dict[int, tuple[int, int]] = {}
    for index, op in enumerate(ops):
        for tensor in op.reads if op.writes is None else (*op.reads, op.writes):
            spans[tensor] = (spans.get(tensor, (index, index))[0], index)
    return spans


def _homes(draft: Draft, stages: list[Stage]) -> dict[int, int | None]:
    """The first operation of the one stage that knows a tensor; None of tensors that several do."""
    homes: dict[int, int | None] = {}
    for stage in stages:
        for op in draft.ops[stage.first : stage.first + stage.count]:
            touched = op.reads if op.writes is None else (*op.reads, op.writes)
            for tensor in touched:
                known = homes.setdefault(tensor, stage.first)
                if known != stage.first or (op.kind is Kind.PLACE and tensor == op.out):
                    homes[tensor] = None
    return homes


def _packed(tensors: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int, int]]:
    """(tensor, first use, last use, floats) -> (tensor, offset, end): those whose uses meet never overlap."""
    placed: list[tuple[int, int, int, int]] = []
    result = []
    for tensor, first, last, floats in sorted(tensors, key=lambda t: (-t[3], t[1])):
        taken = sorted((low, high) for low, high, a, b in placed if a <= last and first <= b)
        offset = 0
        for low, high in taken:
            if offset + floats <= low:
                break
            offset = max(offset, high)
        placed.append((offset, offset + floats, first, last))
        result.append((tensor, offset, offset + floats))
    return result


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
