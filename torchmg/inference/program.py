"""An inference program: operations on padded planes of one image, and the native executor of it.

The structures are those of `torchmg/kernels/csrc/program.h`; what the fields mean stands with `Op`.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import torch
from torch import Tensor

from torchmg.errors import TorchmgError


class Kind(IntEnum):
    """Kinds of operations, in the order of the executor's enumeration."""

    LOAD = 0
    STORE = 1
    CONV = 2
    SPLIT = 3
    CONV_PHASED = 4
    MAX_PHASED = 5
    MEAN_PHASED = 6
    BINARY = 7
    SCALE = 8
    MUL = 9
    MEAN = 10
    LINEAR = 11
    ACT = 12
    COPY = 13
    PLACE = 14


@dataclass(frozen=True)
class Plane:
    """Where a tensor's channels lie; all sizes in floats.

    A vector (height, width 1 and pad 0) is dense. Else a channel is a plane: zeros, then, where a vector of 16 begins,
    rows of `width` pixels and `pad` zeros, which are the left padding of the next row, then zeros.
    """

    channels: int
    height: int
    width: int
    pad: int = 0
    local: bool = False
    offset: int = 0

    @property
    def size(self) -> int:
        """Of one channel."""
        if (self.height, self.width, self.pad) == (1, 1, 0):
            return 1
        row = self.width + self.pad
        before = self.pad * row + self.pad
        return _vectors(before) + _vectors(self.height * row + before) + 16

    def floats(self, parts: int = 1) -> int:
        """Of the channels of one of `parts`, in whole vectors."""
        return _vectors(-(-self.channels // parts) * self.size) + 16


def _vectors(floats: int) -> int:
    return -(-floats // 16) * 16


@dataclass(frozen=True)
class Op:
    """One operation on tensors, which are given by their numbers; -1 is none.

    Attributes:
        kind: see `Kind`. LOAD and STORE have the number of an external tensor as `source` and `out`.
        source: what is read.
        out: what is written.
        act: number of the activation in `torchmg.inference.graph.ACTS`.
        add0, add1: added before and after the activation; the second operand of BINARY, SCALE, MUL.
        groups: of a convolution; of STORE the external tensor's channels.
        kernel: height and width of the window.
        stride: also of SPLIT, which cuts the input padded by `pad` with `fill` into stride * stride phases.
        pad: vertical and horizontal; in the phased kinds it is the SPLIT's.
        channel: first channel that COPY reads, PLACE and STORE write.
        alpha, beta: factors of BINARY, factor and shift of ACT, factor of MEAN_PHASED.
        fill: what SPLIT pads with.
        weight: (out, in / groups, height, width), or (out, in).
        bias: (out,), or None.
    """

    kind: Kind
    source: int
    out: int
    act: int = 0
    add0: int = -1
    add1: int = -1
    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    channel: int = 0
    alpha: float = 1.0
    beta: float = 1.0
    fill: float = 0.0
    weight: Tensor | None = field(default=None, repr=False)
    bias: Tensor | None = field(default=None, repr=False)

    @property
    def reads(self) -> list[int]:
        """Tensors that are read."""
        first = [] if self.kind is Kind.LOAD else [self.source]
        return first + [tensor for tensor in (self.add0, self.add1) if tensor >= 0]

    @property
    def writes(self) -> int | None:
        """The tensor that is written, if it is none outside."""
        return None if self.kind is Kind.STORE else self.out

    @property
    def cut(self) -> int:
        """The tensor whose channels the parts divide."""
        return self.source if self.kind in (Kind.STORE, Kind.PLACE) else self.out


@dataclass(frozen=True)
class Stage:
    """Operations first .. first + count, for each of `parts` independent parts of the channels."""

    first: int
    count: int
    parts: int


@dataclass(frozen=True)
class Program:
    """What the executor runs for each image.

    Attributes:
        planes: the tensors.
        ops: in order.
        stages: one after the other.
        arena: floats of an image's global tensors.
        scratch: floats of one part's local ones.
        inputs: how many external tensors come in.
        outputs: sizes (channels, height, width) of what goes out.
    """

    planes: list[Plane]
    ops: list[Op]
    stages: list[Stage]
    arena: int
    scratch: int
    inputs: int
    outputs: list[tuple[int, int, int]]


class _Tensor(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("channels", "height", "width", "pad", "local", "reserved")),
        ("offset", ctypes.c_int64),
    ]


_INTS = "kind act in out add0 add1 groups kernel_h kernel_w stride pad_h pad_w channel reserved".split()


class _Op(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in _INTS),
        *((name, ctypes.c_float) for name in ("alpha", "beta", "fill", "unused")),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    ]


class _Stage(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("first", "count", "parts", "reserved")]


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(torch.float32).contiguous()


class NativeProgram:
    """A program in the native executor, which keeps a packed copy of the weights.

    Args:
        program: what to run.
        library: from `torchmg.kernels.native.loaded()`.

    Raises:
        TorchmgError: the executor finds the program malformed.
    """

    def __init__(self, program: Program, library: ctypes.CDLL) -> None:
        _declare(library)
        self._library, self.outputs = library, program.outputs
        planes = [_Tensor(p.channels, p.height, p.width, p.pad, p.local, 0, p.offset) for p in program.planes]
        ops = [replace(op, weight=_contiguous(op.weight), bias=_contiguous(op.bias)) for op in program.ops]
        stages = [_Stage(s.first, s.count, s.parts, 0) for s in program.stages]
        self._handle = library.tmg_program_new(
            (_Tensor * len(planes))(*planes),
            len(planes),
            (_Op * len(ops))(*map(_mirrored, ops)),
            len(ops),
            (_Stage * len(stages))(*stages),
            len(stages),
            program.arena,
            program.scratch,
        )
        if not self._handle:
            raise TorchmgError(f"The native executor does not take the program: {library.tmg_error().decode()}.")

    def run(self, inputs: Sequence[Tensor], threads: int) -> list[Tensor]:
        """Outputs of a batch; inputs are contiguous float32 tensors on the CPU.

        Raises:
            TorchmgError: out of memory.
        """
        images = inputs[0].shape[0]
        outputs = [torch.empty(images, *shape) for shape in self.outputs]
        status = self._library.tmg_program_run(
            self._handle,
            (ctypes.c_void_p * len(inputs))(*(x.data_ptr() for x in inputs)),
            (ctypes.c_void_p * len(outputs))(*(y.data_ptr() for y in outputs)),
            images,
            threads,
        )
        if status:
            raise TorchmgError(f"The native executor gave up: {self._library.tmg_error().decode()}.")
        return outputs

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.tmg_program_free(self._handle)


def _mirrored(op: Op) -> _Op:
    pointers = [None if t is None else t.data_ptr() for t in (op.weight, op.bias)]
    return _Op(
        *(int(op.kind), op.act, op.source, op.out, op.add0, op.add1, op.groups, *op.kernel, op.stride, *op.pad),
        *(op.channel, 0, op.alpha, op.beta, op.fill, 0.0, *pointers),
    )


def _declare(library: ctypes.CDLL) -> None:
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    new = library.tmg_program_new
    new.restype = pointer
    new.argtypes = [pointer, number, pointer, number, pointer, number, ctypes.c_int64, ctypes.c_int64]
    library.tmg_program_run.argtypes = [pointer, pointer, pointer, number, number]
    library.tmg_program_run.restype = number
    library.tmg_program_free.argtypes = [pointer]
    library.tmg_program_free.restype = None
    library.tmg_error.restype = ctypes.c_char_p
