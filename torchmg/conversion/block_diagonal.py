"""Matrices cut into groups of neighbouring rows and columns, one for each tap: tensors (taps, rows, columns)."""

import torch
from torch import Tensor


def cut(x: Tensor, groups: int) -> Tensor:
    """A view (taps, groups, rows / groups, groups, columns / groups) of a contiguous x."""
    return x.view(len(x), groups, x.shape[1] // groups, groups, x.shape[2] // groups)


def off_diagonal(x: Tensor, groups: int) -> Tensor:
    """A copy whose diagonal blocks are zero."""
    copy = x.clone(memory_format=torch.contiguous_format)
    torch.diagonal(cut(copy, groups), dim1=1, dim2=3).zero_()
    return copy


def diagonal(x: Tensor, groups: int) -> Tensor:
    """The diagonal blocks, (groups, rows / groups, columns / groups, taps), a copy."""
    return torch.diagonal(cut(x.contiguous(), groups), dim1=1, dim2=3).permute(3, 1, 2, 0).contiguous()


def spread(blocks: Tensor) -> Tensor:
    """The inverse of `diagonal`, with zeros between the blocks: (taps, rows, columns)."""
    groups, rows, columns, taps = blocks.shape
    full = blocks.new_zeros(taps, groups * rows, groups * columns)
    torch.diagonal(cut(full, groups), dim1=1, dim2=3).copy_(blocks.permute(3, 1, 2, 0))
    return full


def left(blocks: Tensor, x: Tensor) -> Tensor:
    """The product B x for B = diag(blocks), blocks (groups, m, n), and x (taps, groups n, columns)."""
    groups = len(blocks)
    return (blocks @ x.reshape(len(x), groups, -1, x.shape[2])).flatten(1, 2)


def right(x: Tensor, blocks: Tensor) -> Tensor:
    """The product x B for B = diag(blocks), blocks (groups, m, n), and x (taps, rows, groups m)."""
    parts = x.reshape(len(x), x.shape[1], len(blocks), -1).transpose(1, 2)
    return (parts @ blocks).transpose(1, 2).flatten(2)
