"""Which channels an operation reads in order to compute some of its outputs: the rule that fusion rests on."""

from collections.abc import Sequence

from torchmg.inference.program import Kind, Op, Plane

Channels = tuple[int, int]
"""From, and up to but without."""


def own(plane: Plane, part: int, parts: int) -> Channels:
    """The channels of a tensor that belong to a part."""
    return plane.channels * part // parts, plane.channels * (part + 1) // parts


def needs(op: Op, planes: Sequence[Plane], part: int, parts: int) -> list[tuple[int, Channels]]:
    """The tensors that an operation reads for its part, and which of their channels."""
    if op.kind is Kind.LOAD:
        return []
    low, high = own(planes[op.cut], part, parts)
    first = _source(op, planes, low, high)
    return [(op.source, first), *((tensor, (low, high)) for tensor in op.reads[1:])]


def _source(op: Op, planes: Sequence[Plane], low: int, high: int) -> Channels:
    phases = op.stride * op.stride
    into = planes[op.source].channels
    if op.kind is Kind.LINEAR:
        return 0, into
    if op.kind in (Kind.CONV, Kind.CONV_PHASED):
        out, wide = planes[op.out].channels // op.groups, into // op.groups
        return low // out * wide, -(-high // out) * wide
    if op.kind is Kind.SPLIT:
        return low // phases, -(-high // phases)
    if op.kind in (Kind.MAX_PHASED, Kind.MEAN_PHASED):
        return low * phases, high * phases
    if op.kind is Kind.COPY:
        return low + op.channel, high + op.channel
    return low, high


def is_local(op: Op, planes: Sequence[Plane], fresh: set[int], parts: int) -> bool:
    """Whether every part finds what it reads of the tensors `fresh` among what it wrote itself."""
    if not fresh.intersection(op.reads):
        return True
    for part in range(parts):
        for tensor, (low, high) in needs(op, planes, part, parts):
            first, last = own(planes[tensor], part, parts)
            if tensor in fresh and not first <= low <= high <= last:
                return False
    return True


def macs(op: Op, planes: Sequence[Plane]) -> int:
    """Multiply-adds of one image; of an operation without weights, what it writes."""
    if op.kind is Kind.STORE:
        plane = planes[op.source]
        return plane.channels * plane.height * plane.width
    plane = planes[op.out]
    pixels = plane.height * plane.width
    if op.weight is not None:
        return op.weight.numel() * pixels
    return plane.channels * pixels
