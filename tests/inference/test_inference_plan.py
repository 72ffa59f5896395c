"""Programs keep the executor's rules and compute what the steps do: in the interpreter, and natively where that is."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmg.inference.graph import ACTS, Network, Step
from torchmg.inference.interpret import RuleError, interpret
from torchmg.inference.lower import lower
from torchmg.inference.program import Kind, NativeProgram, Program
from torchmg.inference.stages import plan
from torchmg.inference.torch_run import run_network
from torchmg.kernels import native


def program_of(network: Network) -> Program:
    return plan(lower(network.steps, network.shapes, [network.input], [network.output]))


def check(network: Network, x: Tensor) -> Program:
    """Interpreter and executor against torch."""
    program = program_of(network)
    wanted = run_network(network, x)
    limit = 1e-4 * wanted.abs().max() + 1e-5
    runs = {"interpreter": interpret(program, [x])[0]}
    library = native.loaded()
    if library is not None:
        compiled = NativeProgram(program, library)
        for threads in (1, 2):
            runs[f"{threads} threads"] = compiled.run([x], threads)[0]
    for how, got in runs.items():
        assert (got.view_as(wanted) - wanted).abs().max() <= limit, how
    return program


class Chain:
    """A network that grows step by step."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.network = Network([], {0: shape}, 0, 0)

    def add(self, kind: str, shape: tuple[int, ...], *inputs: int, **fields: object) -> int:
        value = len(self.network.shapes)
        self.network.steps.append(Step(kind, list(inputs), value, **fields))  # pyright: ignore[reportArgumentType]
        self.network.shapes[value] = shape
        self.network.output = value
        return value

    def conv(self, source: int, out: int, kernel: int, stride: int = 1, groups: int = 1, **fields: object) -> int:
        channels, height, width = self.network.shapes[source]  # pyright: ignore
        pad = kernel // 2
        shape = (out, (height - 1) // stride + 1, (width - 1) // stride + 1)
        weight = torch.randn(out, channels // groups, kernel, kernel) / (channels // groups * kernel**2) ** 0.5
        fields = {"weight": weight, "bias": torch.randn(out), "kernel": (kernel, kernel), "pad": (pad, pad)} | fields
        return self.add("conv", shape, source, stride=stride, groups=groups, **fields)


@settings(max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 4, 8]), st.sampled_from([8, 16, 32]), st.sampled_from([1, 3, 5]), st.integers(1, 3)
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_chains_of_convolutions(seed: int, height: int, width: int, layers: list[tuple[int, int, int, int]]) -> None:
    torch.manual_seed(seed)
    chain = Chain((8, height, width))
    value = 0
    for number, (groups, out, kernel, stride) in enumerate(layers):
        value = chain.conv(value, out, kernel, stride, groups, act=ACTS[number % 4])
        shape = chain.network.shapes[value]
        assert shape is not None
        value = chain.conv(value, out, 3, 1, groups, act="relu", add0=value, add1=value)
        value = chain.add("binary", shape, value, value - 1, alpha=2.0, beta=-1.0, act="relu6")
    check(chain.network, torch.randn(3, 8, height, width))


def test_every_kind_of_step() -> None:
    chain = Chain((6, 9, 7))
    whole = (12, 9, 7)
    a = chain.conv(0, 12, 3, groups=3, act="hardswish")
    b = chain.add("max", (12, 5, 4), a, kernel=(3, 3), stride=2, pad=(1, 1))
    c = chain.add("mean_pool", (12, 5, 4), a, kernel=(1, 3), stride=2, pad=(0, 1), alpha=1 / 3)
    c = chain.add("mul", (12, 5, 4), b, chain.add("copy", (12, 5, 4), c))
    vector = chain.add("mean", (12,), a)
    vector = chain.add("linear", (20,), vector, weight=torch.randn(20, 12), bias=torch.randn(20), act="silu")
    vector = chain.add("linear", (12,), vector, weight=torch.randn(12, 20), act="sigmoid")
    a = chain.add("scale", whole, a, chain.add("view", (12, 1, 1), vector))
    both = chain.add("concat", (24, 9, 7), a, chain.add("act", whole, a, act="gelu", alpha=0.5, beta=1.0))
    d = chain.conv(chain.add("copy", whole, both, channel=7), 12, 5, 2, act="hardsigmoid", add1=c)
    chain.add("binary", (12, 5, 4), d, b)
    assert {op.kind for op in check(chain.network, torch.randn(2, 6, 9, 7)).ops} == set(Kind)


def level(chain: Chain, source: int, coarse: int) -> int:
    """Prolongation of a difference and two grouped convolutions."""
    coarser, size, _ = chain.network.shapes[coarse]  # pyright: ignore
    fine = 2 * coarser
    difference = chain.add("binary", (coarser, size, size), coarse, coarse - 1, beta=-1.0)
    z = chain.conv(difference, fine, 1, groups=coarser // 8, add0=source)
    k = chain.conv(z, fine, 3, groups=fine // 16, act="relu")
    return chain.conv(k, fine, 3, groups=fine // 16, act="relu", add0=z)


def test_a_multigrid_level_is_one_stage_of_its_groups() -> None:
    chain = Chain((256, 14, 14))
    coarse = chain.conv(0, 128, 1, groups=16)
    k = chain.conv(coarse, 128, 3, groups=8, act="relu")
    level(chain, 0, chain.conv(k, 128, 3, groups=8))
    program = program_of(chain.network)
    last = program.stages[-1]
    names = [op.kind.name for op in program.ops[last.first : last.first + last.count]]
    assert names[-5:] == ["BINARY", "CONV", "CONV", "CONV", "STORE"]
    assert last.parts >= 4
    assert sum(plane.local for plane in program.planes) >= 3


def test_a_chain_of_restrictions_is_one_stage() -> None:
    chain = Chain((512, 14, 14))
    value = 0
    for groups in (32, 16, 8):
        value = chain.conv(value, chain.network.shapes[value][0] // 2, 1, groups=groups)  # pyright: ignore
    stages = program_of(chain.network).stages
    assert len(stages) <= 2
    assert stages[-1].parts >= 4


def test_memory_is_used_again() -> None:
    chain = Chain((32, 10, 10))
    value = 0
    for _ in range(12):
        value = chain.conv(value, 32, 3)
    program = check(chain.network, torch.randn(2, 32, 10, 10))
    assert program.arena <= 4 * max(plane.floats() for plane in program.planes)


def test_the_interpreter_finds_broken_programs() -> None:
    chain = Chain((16, 6, 6))
    chain.conv(chain.conv(0, 16, 3, groups=2), 16, 3)
    program = program_of(chain.network)
    x = torch.randn(1, 16, 6, 6)
    interpret(program, [x])
    stages = [replace(program.stages[0], first=0, count=len(program.ops), parts=2)]
    with pytest.raises(RuleError, match="reads channels"):
        interpret(replace(program, stages=stages), [x])
    planes = [replace(plane, offset=0, local=False) for plane in program.planes]
    with pytest.raises(RuleError, match=r"overwritten|ends at"):
        interpret(replace(program, planes=planes, arena=max(p.floats() for p in planes)), [x])
