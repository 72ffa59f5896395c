"""From a graph of ATen operations to a folded network: constants computed, channel maps multiplied out."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate

from torchmg.inference.capture import CannotOptimizeError
from torchmg.inference.channels import ChannelMap, block_weight, blocks, diagonal, selection
from torchmg.inference.graph import Network, Ref, Step, StepKind

Known = Tensor | ChannelMap | list[Any] | None
"""What a node is: a constant, a channel map, several of them, or None: whatever torch makes of it."""
Rule = Callable[["Folder", fx.Node], Known]


class Folder:
    """One walk over a graph.

    Every node becomes a constant or a channel map; a rule that needs numbers asks for `value(node)`, which writes the
    steps that are still missing. What no rule knows is left to torch.
    """

    def __init__(self, program: ExportedProgram, rules: dict[Any, Rule]) -> None:
        self.program, self.rules = program, rules
        self.known: dict[fx.Node, Known] = {}
        self.values: dict[fx.Node, int] = {}
        self.steps: list[Step] = []
        self.made_by: dict[int, Step] = {}
        self.shapes: dict[int, tuple[int, ...] | None] = {}

    @torch.no_grad()
    def network(self) -> Network:
        """The whole graph.

        Raises:
            CannotOptimizeError: several inputs or outputs, or an input or output that is no batch of tensors.
        """
        entries = self._constants()
        if len(entries) != 1:
            raise CannotOptimizeError(f"it takes {len(entries)} inputs; one is needed")
        start = self.new_value(self.shape(entries[0]))
        self.batch = entries[0].meta["val"].shape[0]
        self.values[entries[0]] = start
        self.known[entries[0]] = self.whole(start)
        outputs: list[Any] = []
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.known[node] = self._known(node)
            elif node.op == "output":
                outputs = list(node.args[0])
        spec = self.program.call_spec.out_spec
        if len(outputs) != 1 or not isinstance(outputs[0], fx.Node) or spec is None or not spec.is_leaf():
            raise CannotOptimizeError("it returns more than one tensor, or a structure of them")
        return Network(self.steps, self.shapes, start, self.value(outputs[0]))

    def _constants(self) -> list[fx.Node]:
        """Note the parameters and buffers as constants; the nodes that remain are the inputs."""
        held = {**self.program.state_dict, **self.program.constants}
        kinds = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        entries = []
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = kinds[node.name]
            if spec.kind is InputKind.USER_INPUT:
                entries.append(node)
                continue
            constant = held.get(spec.target) if spec.target is not None else None
            if not isinstance(constant, Tensor):
                raise CannotOptimizeError(f"it holds {spec.target}, which is no tensor")
            self.known[node] = constant.detach()
        return entries

    def _known(self, node: fx.Node) -> Known:
        inputs = node.all_input_nodes
        if all(_is_constant(self.known.get(n)) for n in inputs):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.known[n])  # pyright: ignore[reportArgumentType]
            made = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
            return list(made) if isinstance(made, tuple) else made
        if node.target is operator.getitem:
            parts = self.known.get(node.args[0])  # pyright: ignore[reportArgumentType]
            return parts[node.args[1]] if isinstance(parts, list) else None  # pyright: ignore
        rule = self.rules.get(node.target)
        return None if rule is None or not self.is_batch(node) else rule(self, node)

    def is_batch(self, node: fx.Node) -> bool:
        """Whether the first axis of what a node makes is the batch, and no other one is."""
        made = node.meta.get("val")
        first = made[0] if isinstance(made, list | tuple) and made else made
        if not isinstance(first, Tensor) or first.dim() == 0 or first.dtype != torch.float32:
            return False
        return first.shape[0] == self.batch and all(isinstance(size, int) for size in first.shape[1:])

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of one image's share."""
        return tuple(node.meta["val"].shape[1:])

    def new_value(self, shape: tuple[int, ...] | None) -> int:
        """A value that a step is going to make."""
        self.shapes[len(self.shapes)] = shape
        return len(self.shapes) - 1

    def whole(self, value: int, *, sole: bool = False) -> ChannelMap:
        """A value as the identity of itself."""
        shape = self.shapes[value]
        assert shape is not None
        return ChannelMap(value, shape[:1], shape[1:], sole=sole)

    def add(self, kind: StepKind, inputs: list[int], shape: tuple[int, ...] | None, **fields: Any) -> int:
        """Write a step down; the value it makes."""
        step = Step(kind, inputs, self.new_value(shape), **fields)
        self.steps.append(step)
        self.made_by[step.output] = step
        return step.output

    def channel_map(self, node: Any) -> ChannelMap | None:
        """What is known of a node, if it is a channel map; one that torch makes becomes a value if it is a picture."""
        known = self.known.get(node) if isinstance(node, fx.Node) else None
        if isinstance(known, ChannelMap) or not isinstance(node, fx.Node):
            return known if isinstance(known, ChannelMap) else None
        if known is None and self.is_batch(node) and len(self.shape(node)) in (1, 3):
            known = self.known[node] = self.whole(self.value(node))
            return known
        return None

    def follow(self, node: Any) -> ChannelMap | None:
        """The channel map of a node for one that is made of it: still alone with its source if nobody else reads it."""
        known = self.channel_map(node)
        if known is None or not known.sole or len(node.users) == 1:
            return known
        return ChannelMap(known.source, known.axes, known.space, known.rows, known.bias, known.step)

    def value(self, node: Any) -> int:
        """The value of a node's numbers, made now if need be."""
        if node not in self.values:
            known = self.known.get(node)
            made = self.carry_out(known) if isinstance(known, ChannelMap) else None
            self.values[node] = self.left_to_torch(node) if made is None else made
            if made is not None:
                self.known[node] = self.whole(made)
        return self.values[node]

    def left_to_torch(self, node: fx.Node) -> int:
        """A step that calls what the graph calls."""

        def refer(argument: fx.Node) -> Any:
            known = self.known.get(argument)
            return known if _is_constant(known) else Ref(self.value(argument))

        args, kwargs = fx.map_arg((node.args, node.kwargs), refer)
        reads: list[int] = []
        map_aggregate((args, kwargs), lambda a: reads.append(a.value) if isinstance(a, Ref) else None)
        shape = self.shape(node) if self.is_batch(node) and isinstance(node.meta["val"], Tensor) else None
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        return self.add("torch", reads, shape, call=node.target, args=args, kwargs=kwargs, name=name)

    def carry_out(self, channels: ChannelMap) -> int | None:
        """The value of a channel map; None if only torch can make it."""
        source, step = channels.source, channels.step
        flat = len(channels.axes) == 1 and len(channels.space) in (0, 2)
        if source is None or not flat or step[0] != step[1]:
            return None
        held = self.shapes[source]
        assert held is not None
        shape = (*channels.axes, *channels.space)
        if channels.is_identity:
            return source if held == shape else self.add("view", [source], shape)
        if channels.rows is None and channels.bias is None:
            eye = torch.ones(*channels.axes, 1, 1, 1, dtype=torch.float64)
            return self.add("conv", [source], shape, weight=eye, groups=channels.axes[0], stride=step[0])
        if channels.sole and step == (1, 1) and self._into_its_step(source, channels):
            return source if held == shape else self.add("view", [source], shape)
        rows, bias = channels.dense_rows(), channels.bias
        first = selection(rows) if bias is None and step == (1, 1) else None
        if first is not None:
            return self.add("copy", [source], shape, channel=first)
        if len(held) == 1 or held[1:] == (1, 1):
            return self.add("linear", [source], shape, weight=rows, bias=bias)
        groups = blocks(rows)
        return self.add(
            "conv", [source], shape, weight=block_weight(rows, groups), bias=bias, groups=groups, stride=step[0]
        )

    def _into_its_step(self, source: int, channels: ChannelMap) -> bool:
        """Put a scale and shift of each channel into the convolution that made the source, if one did."""
        step = self.made_by.get(source)
        if step is None or step.kind not in ("conv", "linear") or step.weight is None:
            return False
        scale = None if channels.rows is None else diagonal(channels.rows)
        if channels.rows is not None and scale is None:
            return False
        bias = step.bias
        if scale is not None:
            step.weight = step.weight * scale.view(-1, *[1] * (step.weight.dim() - 1))
            bias = None if bias is None else bias * scale
        if channels.bias is not None:
            bias = channels.bias if bias is None else bias + channels.bias
        step.bias = bias
        return True


def _is_constant(known: Known) -> bool:
    """Whether numbers are known that no input changes."""
    return isinstance(known, Tensor) or (isinstance(known, list) and all(isinstance(part, Tensor) for part in known))
