"""The parts of a folded network as launches of this package's Triton kernels, with their packed weights."""

from functools import partial

import torch
from torch import Tensor

from torchmg.inference.gpu_blocks import with_blocks
from torchmg.inference.gpu_match import BlockPart, ChainPart, LevelPart, Part, StepPart, match
from torchmg.inference.gpu_runner import Runner, Values
from torchmg.inference.gpu_steps import is_scale, torch_step
from torchmg.inference.graph import Network, Step
from torchmg.kernels.gpu import cycle, support
from torchmg.kernels.gpu.conv import conv
from torchmg.kernels.gpu.edges import End
from torchmg.kernels.gpu.level import Correction, Pack, Relaxation, level, pack_taps
from torchmg.kernels.gpu.restrict import Run, restrict, runs
from torchmg.kernels.gpu.tune import Config, tuned
from torchmg.kernels.shape import Shape

WIDEST = {2: 64, 4: 16}
"""Channels of a level's widest pack by the bytes of a number: wider ones spill registers."""


def fused_parts(network: Network, device: torch.device, dtype: torch.dtype) -> list[Runner]:
    """All parts of a network, see `gpu_match`.

    In float32 levels and chains need tensor cores, that is `torch.backends.cudnn.conv.fp32_precision = "tf32"`: with
    full products they would spill registers, and every convolution is a launch of its own.
    """
    widest = WIDEST[dtype.itemsize]
    if support.interpreted():
        widest = max(WIDEST.values())
    elif dtype == torch.float32 and support.float32_precision() != "tf32":
        widest = 0
    parts: list[Part] = match(network, widest=widest) if widest else [StepPart(step) for step in network.steps]
    runners: list[Runner] = []
    for part in with_blocks(parts, network, cycle.SIDE):
        block = block_runner(part, device, dtype) if isinstance(part, BlockPart) else None
        pieces = part.parts if isinstance(part, BlockPart) else [part]
        runners += [block] if block is not None else [_runner(piece, network, device, dtype) for piece in pieces]
    return runners


def _runner(
    part: LevelPart | ChainPart | StepPart, network: Network, device: torch.device, dtype: torch.dtype
) -> Runner:
    if isinstance(part, LevelPart):
        return level_runner(part, device, dtype)
    if isinstance(part, ChainPart):
        return chain_runner(part, device, dtype)
    if is_ours(part.step, network):
        return conv_runner(part.step, device, dtype)
    return torch_step(part.step, network.shapes[part.step.output], device, dtype)


def relaxation_of(part: LevelPart, device: torch.device, dtype: torch.dtype) -> Relaxation:
    """The packed constants of a level's two convolutions."""
    first, second, between = part.first, part.second, part.between
    bias, scale = first.bias, None
    if between is not None:
        assert between.weight is not None
        scale = between.weight.flatten()
        shift = torch.zeros_like(scale) if between.bias is None else between.bias
        bias = shift if bias is None else shift + scale * bias
    return Relaxation(
        _taps(first, part.pack, part.pack, device, dtype),
        _vector(bias, first, device),
        _taps(second, part.pack, part.pack, device, dtype),
        _vector(second.bias, second, device),
        part.pack,
        None if scale is None else _vector(scale, first, device),
        relu_inside=(first if between is None else between).act == "relu",
        relu=second.act == "relu",
        sum_last=second.add0 is None,
    )


def correction_of(part: LevelPart, device: torch.device, dtype: torch.dtype) -> Correction | None:
    """The packed constants of a level's prolongation, if it has one."""
    if part.move is None or part.coarse is None:
        return None
    weight = _taps(part.move, part.coarse, part.pack, device, dtype)
    return Correction(weight, _vector(part.move.bias, part.move, device), part.coarse)


def level_runner(part: LevelPart, device: torch.device, dtype: torch.dtype) -> Runner:
    """One launch for a level."""
    relaxation, correction = relaxation_of(part, device, dtype), correction_of(part, device, dtype)
    precision = support.float32_precision()
    data = part.first.add0

    def run(values: Values) -> None:
        coarse = None
        if part.change is not None:
            after, before = part.change.inputs
            coarse = values[before], values[after]
        f = None if data is None else values[data]
        values[part.output] = level(values[part.x], relaxation, correction, coarse, f, precision)

    kind = "relaxation" if correction is None else "level"
    return Runner(run, part.reads, part.writes, kind, len(part.steps))


def chain_runner(part: ChainPart, device: torch.device, dtype: torch.dtype) -> Runner:
    """One launch for a chain of restrictions, or a few for a long one."""
    moved = chain_of(part, device, dtype)
    precision = support.float32_precision()

    def run(values: Values) -> None:
        made = restrict(values[part.reads[0]], moved, precision)
        values.update(zip(part.writes, made, strict=True))

    return Runner(run, part.reads, part.writes, "restriction", len(part.steps))


def chain_of(part: ChainPart, device: torch.device, dtype: torch.dtype) -> list[Run]:
    """The packed constants of a chain of restrictions."""
    weights = [step.weight for step in part.steps if step.weight is not None]
    chain = runs(weights, [step.bias for step in part.steps], [step.groups for step in part.steps], dtype)
    return [
        run._replace(
            weights=[w.to(device) for w in run.weights],
            biases=[None if b is None else b.to(device) for b in run.biases],
        )
        for run in chain
    ]


LEVEL_BY_LEVEL = Config(0)
"""Stands for launches of a block's restrictions and levels one by one: the default among ways of doing a block."""


def block_runner(part: BlockPart, device: torch.device, dtype: torch.dtype) -> Runner | None:
    """A block in one launch or level by level, whichever is faster; None where its levels are too unlike each other."""
    coarsest, *levels = part.levels
    moves = [correction_of(piece, device, dtype) for piece in reversed(levels)]
    block = cycle.joined(
        chain_of(part.chain, device, dtype),
        relaxation_of(coarsest, device, dtype),
        [relaxation_of(piece, device, dtype) for piece in reversed(levels)],
        [move for move in moves if move is not None],
    )
    if block is None:
        return None
    chain, ups = chain_runner(part.chain, device, dtype), [level_runner(p, device, dtype) for p in part.levels]
    precision = support.float32_precision()

    def run(values: Values) -> None:
        x = values[part.reads[0]]

        def once(config: Config) -> None:
            if config != LEVEL_BY_LEVEL:
                values[part.writes[0]] = cycle.cycle(x, block, config, precision)
                return
            inner = {part.reads[0]: x}
            for piece in (chain, *ups):
                piece.run(inner)
            values[part.writes[0]] = inner[part.writes[0]]

        key = (*x.shape, str(x.dtype), precision, *block.chain.widths, block.up.pack.size, block.coarsest.pack.size)
        once(tuned("block", key, [LEVEL_BY_LEVEL, *cycle.configs(x, block)], once))

    return Runner(run, part.reads, part.writes, "block", len(part.steps))


def is_ours(step: Step, network: Network) -> bool:
    """Whether a convolution by itself is one of small groups, for which the grouped kernels are made."""
    if step.kind != "conv" or step.weight is None or is_scale(step) or step.groups == 1:
        return False
    sums = step.add1 is None and step.act in ("none", "relu")
    # Depthwise convolutions are cuDNN's: there is no product of matrices in them.
    return sums and step.weight.shape[1] > 1 and max(step.weight.shape[1], step.weight.shape[0] // step.groups) <= 64


def conv_runner(step: Step, device: torch.device, dtype: torch.dtype) -> Runner:
    """One launch for a convolution with its bias, sum and ReLU."""
    assert step.weight is not None
    weight = step.weight.to(device, dtype).contiguous()
    bias = None if step.bias is None else _vector(step.bias, step, device)
    launch = partial(_conv, step, weight, bias)
    return Runner(launch, step.reads, [step.output], "conv", 1)


def _conv(step: Step, weight: Tensor, bias: Tensor | None, values: Values) -> None:
    x = values[step.inputs[0]]
    images, channels, height, width = x.shape
    out, _, high, wide = weight.shape
    shape = Shape(images, channels, out, step.groups, height, width, high, wide, step.stride, *step.pad)
    add = None if step.add0 is None else values[step.add0]
    values[step.output], _ = conv(x, weight, shape, after=End(bias, add, step.act == "relu"))


def _taps(step: Step, read: Pack, written: Pack, device: torch.device, dtype: torch.dtype) -> Tensor:
    assert step.weight is not None
    return pack_taps(step.weight, step.groups, read, written, dtype).to(device)


def _vector(vector: Tensor | None, step: Step, device: torch.device) -> Tensor:
    assert step.weight is not None
    made = step.weight.new_zeros(step.weight.shape[0]) if vector is None else vector
    return made.to(device, torch.float32).contiguous()
