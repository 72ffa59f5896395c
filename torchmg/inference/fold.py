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
        self.settled: set[int] = set()

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
            if isinstance(parts, list) and sum(user.args[1:] == node.args[1:] for user in node.args[0].users) > 1:  # pyright: ignore
                self.settle(parts[node.args[1]])  # pyright: ignore
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

    def whole(self, value: int) -> ChannelMap:
        """A value as the identity of itself."""
        shape = self.shapes[value]
        assert shape is not None
        return ChannelMap(value, shape[:1], shape[1:])

    def settle(self, known: Known) -> None:
        """From now on the source of a map stays as it is: more than one thing depends on it."""
        if isinstance(known, ChannelMap) and known.source is not None:
            self.settled.add(known.source)

    def add(self, kind: StepKind, inputs: list[int], shape: tuple[int, ...] | None, **fields: Any) -> int:
        """Write a step down; the value it makes."""
        step = Step(kind, inputs, self.new_value(shape), **fields)
        self.steps.append(step)
        self.settled.update(step.reads)
        self.made_by[step.output] = step
        return step.output

    def channel_map(self, node: Any) -> ChannelMap | None:
        """What is known of a node, if it is a channel map; one that torch makes becomes a value if it is a picture.

        Of a node that several read, the map is put into the step of its source before the first of them sees it, or
        never: what the others make of the source must not change afterwards.
        """
        if not isinstance(node, fx.Node):
            return None
        known = self.known.get(node)
        if known is None and self.is_batch(node) and len(self.shape(node)) in (1, 3):
            known = self.known[node] = self.whole(self.value(node))
        if not isinstance(known, ChannelMap):
            return None
        if len(node.users) > 1:
            if not known.is_identity and self._step_for(known) is not None:
                self.value(node)
                known = self.known[node]
            self.settle(known)
        return known if isinstance(known, ChannelMap) else None

    def value(self, node: Any) -> int:
        """The value of a node's numbers, made now if need be."""
        if node not in self.values:
            known = self.known.get(node)
            made = self.carry_out(known) if isinstance(known, ChannelMap) else None
            self.values[node] = self.left_to_torch(node) if made is None else made
            if made is not None:
                self.known[node] = self.whole(made)
            self.settled.add(self.values[node])
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
        if source is None or not channels.is_flat or step[0] != step[1]:
            return None
        held = self.shapes[source]
        assert held is not None
        shape = (*channels.axes, *channels.space)
        if channels.is_identity:
            return source if held == shape else self.add("view", [source], shape)
        if channels.rows is None and channels.bias is None:
            eye = torch.ones(*channels.axes, 1, 1, 1, dtype=torch.float64)
            return self.add("conv", [source], shape, weight=eye, groups=channels.axes[0], stride=step[0])
        if self._into_its_step(channels):
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

    def _step_for(self, channels: ChannelMap) -> Step | None:
        """The convolution that can take in a scale and shift of each of its channels; None of other maps and sources.

        It may change as long as nothing but this map and those that it was made of depend on it.
        """
        step = None if channels.source is None else self.made_by.get(channels.source)
        if step is None or step.output in self.settled or step.kind not in ("conv", "linear"):
            return None
        if not channels.is_flat or channels.step != (1, 1):
            return None
        return step if channels.rows is None or diagonal(channels.rows) is not None else None

    def _into_its_step(self, channels: ChannelMap) -> bool:
        """Put a scale and shift of each channel into the convolution that made the source, if it may change."""
        step = self._step_for(channels)
        if step is None or step.weight is None:
            return False
        scale = None if channels.rows is None else diagonal(channels.rows)
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
