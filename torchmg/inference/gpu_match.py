"""Which steps of a folded network one GPU kernel does together: levels of multigrid blocks, chains of restrictions."""

from dataclasses import dataclass, field

from torchmg.inference.graph import Network, Step
from torchmg.kernels.gpu.level import Pack, pack_of


@dataclass(frozen=True)
class LevelPart:
    """A relaxation with the correction before it, if there is one: see `torchmg.kernels.gpu.level`.

    Attributes:
        x: what enters: what was restricted to this level, or a relaxation's input.
        first, second: the two 3x3 convolutions.
        output: what leaves.
        pack: how their channels are cut.
        between: the scale, shift and activation of each channel between them, where they are no part of `first`.
        move: the prolongation, or None, with its packs of coarse channels.
        change: the difference of the coarser level's states, after less before, or None.
    """

    x: int
    first: Step
    second: Step
    output: int
    pack: Pack
    between: Step | None = None
    move: Step | None = None
    coarse: Pack | None = None
    change: Step | None = None

    @property
    def steps(self) -> list[Step]:
        """All steps that it stands for, in no order."""
        parts = (self.change, self.move, self.first, self.between, self.second)
        return [step for step in parts if step is not None]

    @property
    def reads(self) -> list[int]:
        """All values that are needed."""
        coarse = self.change.inputs if self.change is not None else []
        return [self.x, *coarse, *([] if self.first.add0 is None else [self.first.add0])]

    @property
    def writes(self) -> list[int]:
        """All values that are made."""
        return [self.output]


@dataclass(frozen=True)
class ChainPart:
    """Pointwise convolutions, each of the one before, all of whose outputs are kept: a way down."""

    steps: list[Step]

    @property
    def reads(self) -> list[int]:
        """The value that enters."""
        return self.steps[0].inputs

    @property
    def writes(self) -> list[int]:
        """All values that are made."""
        return [step.output for step in self.steps]


@dataclass(frozen=True)
class BlockPart:
    """A way down, the coarsest level's relaxation and the way up, that nobody else looks into.

    Attributes:
        chain: of all restrictions.
        levels: the coarsest level first, the finest last.
    """

    chain: ChainPart
    levels: list[LevelPart]

    @property
    def parts(self) -> list[ChainPart | LevelPart]:
        """What it is made of, in the order in which they can be carried out."""
        return [self.chain, *self.levels]

    @property
    def steps(self) -> list[Step]:
        """All steps that it stands for."""
        return [step for part in self.parts for step in part.steps]

    @property
    def reads(self) -> list[int]:
        """The value that enters."""
        return self.chain.reads

    @property
    def writes(self) -> list[int]:
        """The value that leaves."""
        return self.levels[-1].writes


@dataclass(frozen=True)
class StepPart:
    """A step by itself."""

    step: Step

    @property
    def steps(self) -> list[Step]:
        """The step."""
        return [self.step]

    @property
    def reads(self) -> list[int]:
        """All values that are needed."""
        return self.step.reads

    @property
    def writes(self) -> list[int]:
        """The value that is made."""
        return [self.step.output]


Part = BlockPart | LevelPart | ChainPart | StepPart


def match(network: Network, *, widest: int = 64) -> list[Part]:
    """A network as parts, in an order in which they can be carried out; every step is in one of them.

    Args:
        network: folded.
        widest: channels of the widest pack of a level that its kernel can take.
    """
    return _Matcher(network, widest).parts()


@dataclass
class _Matcher:
    network: Network
    widest: int
    made_by: dict[int, Step] = field(init=False)
    users: dict[int, list[Step]] = field(init=False)

    def __post_init__(self) -> None:
        self.made_by = {step.output: step for step in self.network.steps}
        self.users = self.network.users()

    def parts(self) -> list[Part]:
        levels: dict[int, LevelPart] = {}
        inner: set[int] = set()
        # From the end: a level takes the prolongation that belongs to it before anything else could.
        for step in reversed(self.network.steps):
            found = None if step.output in inner else self.level(step)
            if found is not None and not inner.intersection(s.output for s in found.steps):
                levels[step.output] = found
                inner.update(s.output for s in found.steps)
        parts: list[Part] = []
        for step in self.network.steps:
            if step.output in levels:
                parts.append(levels[step.output])
            elif step.output not in inner:
                chain = self.chain(step)
                inner.update(s.output for s in chain)
                parts.append(ChainPart(chain) if chain else StepPart(step))
        return parts

    def level(self, second: Step) -> LevelPart | None:
        """The level whose last convolution this is."""
        if not self.couples(second) or (second.add0 is None) == (second.add1 is None):
            return None
        z = second.add1 if second.add0 is None else second.add0
        middle = self.alone(second.inputs[0], [second])
        between = middle if middle is not None and self.scales(middle) else None
        first = middle if between is None else self.alone(between.inputs[0], [between])
        if first is None or z is None or not self.couples(first) or first.inputs[0] != z or first.add1 is not None:
            return None
        if first.add0 == z or (between is not None and first.act != "none"):
            return None
        channels = self.channels(z)
        sizes = [channels // first.groups, channels // second.groups]
        move = self.alone(z, [first, second])
        change = None if move is None else self.correction(move)
        if move is not None and change is not None:
            pack = pack_of(channels, *sizes, channels // move.groups)
            if pack is not None and pack.block <= self.widest and move.add0 is not None:
                assert move.weight is not None
                inner = pack.size * move.groups // channels * move.weight.shape[1]
                coarse = Pack(inner, max(16, 1 << (inner - 1).bit_length()), pack.number)
                return LevelPart(move.add0, first, second, second.output, pack, between, move, coarse, change)
        pack = pack_of(channels, *sizes)
        if pack is None or pack.block > self.widest:
            return None
        return LevelPart(z, first, second, second.output, pack, between)

    def chain(self, step: Step) -> list[Step]:
        """The pointwise convolutions that start here; none if this is none."""
        chain: list[Step] = []
        while step is not None and self.restricts(step):
            chain.append(step)
            following = [user for user in self.users[step.output] if self.restricts(user)]
            if len(following) != 1:
                break
            step = following[0]
        return chain

    # What a step is.

    def channels(self, value: int) -> int:
        shape = self.network.shapes[value]
        assert shape is not None
        return shape[0]

    def alone(self, value: int, users: list[Step]) -> Step | None:
        """The step that made a value which nobody else reads."""
        outputs = {user.output for user in users}
        read = {user.output for user in self.users[value]}
        return self.made_by.get(value) if read == outputs and value != self.network.output else None

    def couples(self, step: Step) -> bool:
        """Whether it is a 3x3 convolution of one width, padded, that ends in no more than a ReLU."""
        same = step.kind == "conv" and (step.kernel, step.pad, step.stride) == ((3, 3), (1, 1), 1)
        return (
            same
            and self.channels(step.inputs[0]) == self.channels(step.output)
            and step.groups < self.channels(step.output)
            and step.act in ("none", "relu")
        )

    def pointwise(self, step: Step) -> bool:
        return step.kind == "conv" and (step.kernel, step.pad, step.stride) == ((1, 1), (0, 0), 1)

    def scales(self, step: Step) -> bool:
        """Whether it scales and shifts each channel by itself."""
        own = self.pointwise(step) and step.groups == self.channels(step.inputs[0]) == self.channels(step.output)
        return own and step.add0 is None and step.add1 is None and step.act in ("none", "relu")

    def correction(self, move: Step) -> Step | None:
        """The difference that a prolongation moves up, if this is one."""
        if not self.pointwise(move) or move.act != "none" or move.add0 is None or move.add1 is not None:
            return None
        change = self.alone(move.inputs[0], [move])
        if change is None or change.kind != "binary" or change.act != "none":
            return None
        return change if (change.alpha, change.beta) == (1.0, -1.0) else None

    def restricts(self, step: Step) -> bool:
        """Whether it makes fewer channels of some, group by group, and nothing else."""
        plain = self.pointwise(step) and step.act == "none" and step.add0 is None and step.add1 is None
        if not plain:
            return False
        channels, fewer = self.channels(step.inputs[0]), self.channels(step.output)
        return 2 * fewer == channels and step.groups > 1 and channels // step.groups <= 64
