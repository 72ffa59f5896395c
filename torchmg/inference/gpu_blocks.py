"""Whole blocks among the parts of a network: a way down and the way up that belongs to it."""

from torchmg.inference.gpu_match import BlockPart, ChainPart, LevelPart, Part
from torchmg.inference.graph import Network


def with_blocks(parts: list[Part], network: Network, side: int) -> list[Part]:
    """The parts, with blocks in place of what they are made of; in an order in which they can be carried out.

    Args:
        parts: see `gpu_match.match`.
        network: whose parts they are.
        side: the largest height and width of a block's maps.
    """
    levels = {part.output: part for part in parts if isinstance(part, LevelPart)}
    ends: dict[int, BlockPart] = {}
    inner: set[int] = set()
    for part in parts:
        block = _block(part, levels, network, side) if isinstance(part, ChainPart) else None
        if block is not None:
            ends[block.levels[-1].output] = block
            inner.update(value for piece in block.parts for value in piece.writes)
    found: list[Part] = []
    for part in parts:
        if part.writes[-1] not in inner:
            found.append(part)
        elif part.writes[-1] in ends:  # whatever a block reads was there before its restrictions
            found.append(ends[part.writes[-1]])
    return found


def _block(chain: ChainPart, levels: dict[int, LevelPart], network: Network, side: int) -> BlockPart | None:
    """The block that begins with a chain, if there is one and its inner values are nobody else's."""
    xs = [chain.reads[0], *chain.writes]
    shape = network.shapes[xs[0]]
    if shape is None or len(shape) != 3 or max(shape[1:]) > side:
        return None
    up: list[LevelPart] = []
    for x in reversed(xs):
        after = None if not up else [up[-1].output, xs[len(xs) - len(up)]]
        here = [part for part in levels.values() if part.x == x and part.first.add0 is None and _coarse(part) == after]
        if len(here) != 1:
            return None
        up.append(here[0])
    block = BlockPart(chain, up)
    inside = {step.output for step in block.steps}
    for step in block.steps:
        if step.output != up[-1].output:
            outside = any(user.output not in inside for user in network.users()[step.output])
            if outside or step.output == network.output:
                return None
    return block


def _coarse(level: LevelPart) -> list[int] | None:
    """The coarser level's states after and before, where it takes a correction."""
    return None if level.change is None else level.change.inputs
