"""Activations and sums become parts of the step before them."""

from torchmg.inference.graph import Network, Step


def fuse(network: Network) -> None:
    """Merge act and binary steps into the convolutions, linear maps and sums whose outputs only they read."""
    uses = {value: len(steps) for value, steps in network.users().items()}
    uses[network.output] += 1
    made: dict[int, int] = {}
    steps: list[Step | None] = []
    for step in network.steps:
        place = _host(step, steps, made, uses)
        if place is None:
            host = step
        else:
            host = steps[place]
            assert host is not None
            steps[place] = None
            _merge(host, step)
        made[host.output] = len(steps)
        steps.append(host)
    network.steps = [step for step in steps if step is not None]
    kept = {network.input, *(step.output for step in network.steps)}
    network.shapes = {value: shape for value, shape in network.shapes.items() if value in kept}


def _host(step: Step, steps: list[Step | None], made: dict[int, int], uses: dict[int, int]) -> int | None:
    """The place of the step that can take this one in, the latest if there are two."""
    if step.kind not in ("act", "binary"):
        return None
    places = [
        made[value]
        for value in set(step.inputs)
        if value in made and uses[value] == 1 and _takes(steps[made[value]], step, value)
    ]
    return max(places, default=None)


def _takes(host: Step | None, step: Step, value: int) -> bool:
    if host is None:
        return False
    plain = host.act == "none" and host.add1 is None
    if step.kind == "act":
        whole = (step.alpha, step.beta) == (1.0, 0.0)
        return whole and plain and host.kind in ("conv", "linear", "binary")
    if host.kind != "conv" or step.inputs[0] == step.inputs[1]:
        return False
    own, its = (step.alpha, step.beta) if step.inputs[0] == value else (step.beta, step.alpha)
    if its != 1.0:
        return False
    return (plain and host.add0 is None) or (own == 1.0 and host.add1 is None and step.act == "none")


def _merge(host: Step, step: Step) -> None:
    """`host` now makes what `step` made."""
    if step.kind == "act":
        host.act = step.act
    else:
        first = step.inputs[0] == host.output
        own, other = (step.alpha, step.inputs[1]) if first else (step.beta, step.inputs[0])
        if host.act == "none" and host.add0 is None and host.add1 is None:
            assert host.weight is not None
            host.weight = host.weight * own
            host.bias = None if host.bias is None else host.bias * own
            host.add0, host.act = other, step.act
        else:
            host.add1 = other
    host.output = step.output
