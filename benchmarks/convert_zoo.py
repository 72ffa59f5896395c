"""Which networks of torchvision and timm convert, and what works afterwards.

    uv run python benchmarks/convert_zoo.py                    all that are not in the record yet
    uv run python benchmarks/convert_zoo.py --only 'timm:*'    those whose names match
    uv run python benchmarks/convert_zoo.py --again            also those that are there

Every network is built with weights drawn at random (nothing is fetched), converted by `torchmg.convert` with fixed
sizes, and the result is run forward, backward and through torch.export, and undone. A network that fails at a step is
a row that says where and why. The record, convert_zoo.json beside this file (or in --out), is written after every
network; `tools/results.py` makes the table of docs/convert_zoo.md from it.
"""

import argparse
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import torchmg
from torchmg.conversion.report import Report
from torchmg.models.outside import without_weights
from torchmg.models.user import build
from torchmg.train.environment import environment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from zoo_networks import NETWORKS, Network  # noqa: E402

SIZES = ((16, 32), (8, 16), (4, 8))
"""(group_size, coarsest), tried in this order: narrow networks have nothing to gain from the first."""
ENOUGH = 0.95
"""Share of the eligible parameters at which no smaller sizes are tried."""
TOLERANCE = 1e-4
REASONS = 3
YES = "yes"


class OutOfTimeError(BaseException):
    """A network took too long; no Exception, for libraries catch those."""


def main() -> None:
    """Check the networks that were asked for and record each."""
    parser = argparse.ArgumentParser(description="Which networks torchmg.convert converts.")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to check, such as 'timm:*'")
    parser.add_argument("--again", action="store_true", help="check also those that are in the record")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="most time for one network")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder of the record")
    options = parser.parse_args()
    file = options.out / "convert_zoo.json"
    rows = {row["network"]: row for row in json.loads(file.read_text())["rows"]} if file.exists() else {}
    for network in NETWORKS:
        if not fnmatch(network.spec, options.only) or (network.spec in rows and not options.again):
            continue
        row = rows[network.spec] = checked(network, options.limit)
        print(" ".join(str(row.get(key, "-")) for key in ("network", "share", "seconds", "error", *STEPS)), flush=True)
        write(file, [rows[each.spec] for each in NETWORKS if each.spec in rows])


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write the record whole, so that a run that is broken off leaves the last one."""
    record = {
        "command": "uv run python benchmarks/convert_zoo.py",
        "environment": environment(torch.device("cpu")),
        "libraries": libraries(),
        "tolerance": TOLERANCE,
        "rows": rows,
    }
    fresh = file.with_suffix(".tmp")
    fresh.write_text(json.dumps(record, indent=1) + "\n")
    fresh.replace(file)


def libraries() -> dict[str, str]:
    """Versions of the libraries that the networks come from."""
    import timm
    import torchvision

    return {"torchvision": str(torchvision.__version__).partition("+")[0], "timm": timm.__version__}


def checked(network: Network, limit: int) -> dict[str, Any]:
    """The row of one network, whatever happens."""
    start = time.perf_counter()
    row: dict[str, Any] = {"network": network.spec, "options": network.options}
    row["input"] = [network.batch, *network.input]
    try:
        with warnings.catch_warnings(), _at_most(limit):
            warnings.simplefilter("ignore")  # the libraries' own
            torch.manual_seed(0)
            spec = str(ROOT / network.spec) if network.spec.startswith("examples/") else network.spec
            model = build(spec, **without_weights(spec, network.options))
            check(model, torch.randn(network.batch, *network.input), row)
    except OutOfTimeError as error:
        row["error"] = str(error)
    except Exception as error:  # a row that says so, never the end of the script
        row["error"] = first_line(error)
    row["seconds"] = round(time.perf_counter() - start, 1)
    return row


def check(model: nn.Module, x: Tensor, row: dict[str, Any]) -> None:
    """Convert a network and fill its row: what was converted, and whether each of `STEPS` works."""
    model.eval()
    with torch.no_grad():
        dense = tensors(model(x))
    scheme = sizes(model)
    net, report = torchmg.convert(model, scheme, warm_start="none", example_input=x)
    blocks = sum(change.site.shape is None for change in report.replaced)
    row |= {
        "group_size": scheme.group_size,
        "coarsest": scheme.coarsest,
        "before": report.before.params,
        "after": report.after.params,
        "macs_before": report.before.macs,
        "macs_after": report.after.macs,
        "share": round(report.eligible_share, 4),
        "blocks": blocks,
        "layers": len(report.replaced) - blocks,
        "skips": skips(report),
    }
    for name, step in STEPS.items():
        try:
            row[name] = step(model, net, report, x, dense)
        except Exception as error:
            row[name] = first_line(error)


def sizes(model: nn.Module) -> torchmg.MGIC:
    """The first of `SIZES` with which nearly all that is eligible converts, or else that with which most does."""
    tried: list[tuple[float, torchmg.MGIC]] = []
    for group_size, coarsest in SIZES:
        scheme = torchmg.MGIC(group_size=group_size, coarsest=coarsest)
        try:  # layer by layer, which says as much and takes a tenth of the time that blocks do
            _, report = torchmg.convert(model, replace(scheme, blocks=False), warm_start="none", dry_run=True)
        except torchmg.errors.UsageError:  # nothing gets smaller
            continue
        tried.append((report.eligible_share, scheme))
        if report.eligible_share >= ENOUGH:
            break
    return max(tried, key=lambda pair: pair[0])[1] if tried else torchmg.MGIC(*SIZES[-1])


def skips(report: Report) -> list[dict[str, Any]]:
    """The commonest reasons for which layers stay, by their share of the network's parameters."""
    weights: Counter[tuple[str, bool]] = Counter()
    for skip in report.skipped:
        weights[general(skip.reason), skip.eligible] += skip.parameters
    return [
        {"reason": reason, "eligible": eligible, "share": round(parameters / report.before.params, 4)}
        for (reason, eligible), parameters in weights.most_common(REASONS)
    ]


def general(reason: str) -> str:
    """A reason without the numbers of one layer."""
    if "no fewer" in reason:
        return "it would have no fewer parameters with these sizes"
    if "has no half" in reason:
        return "the common divisor of its widths, or its width, has no half"
    return "it is grouped already" if reason.startswith("it is grouped already") else reason.partition(" (")[0]


def forward(model: nn.Module, net: nn.Module, report: Report, x: Tensor, dense: list[Tensor]) -> str:
    """Outputs have the dense ones' shapes and are finite."""
    del model, report
    with torch.no_grad():
        now = tensors(net.eval()(x))
    if [y.shape for y in now] != [y.shape for y in dense]:
        return f"gives {[tuple(y.shape) for y in now]} instead of {[tuple(y.shape) for y in dense]}"
    return YES if all(bool(y.isfinite().all()) for y in now) else "gives values that are not finite"


def export(model: nn.Module, net: nn.Module, report: Report, x: Tensor, dense: list[Tensor]) -> str:
    """torch.export runs and its program computes what the network does."""
    del report, dense
    net.eval()
    try:
        program = torch.export.export(net, (x,))
    except Exception as error:
        try:
            torch.export.export(model.eval(), (x,))
        except Exception:
            return "the dense one does not either"
        return first_line(error)
    with torch.no_grad():
        pairs = list(zip(tensors(program.module()(x)), tensors(net(x)), strict=True))
    worst = max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)
    return YES if worst <= TOLERANCE else f"differs by {worst:.1e}"


def backward(model: nn.Module, net: nn.Module, report: Report, x: Tensor, dense: list[Tensor]) -> str:
    """In training mode every parameter of every new unit has a finite gradient."""
    del model, dense
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    try:
        loss = torch.stack([y.square().mean() for y in tensors(net.train()(x))]).sum()
        loss.backward()
        bad = [path for path, gradient in _gradients(net, report) if gradient is None or not gradient.isfinite().all()]
    finally:  # statistics of norms, which the undone network shall have as they were
        net.zero_grad(set_to_none=True)
        net.eval()
        for name, buffer in net.named_buffers():
            buffer.copy_(buffers[name])
    return f"{len(bad)} parameters without a finite gradient, such as {bad[0]}" if bad else YES


def undo(model: nn.Module, net: nn.Module, report: Report, x: Tensor, dense: list[Tensor]) -> str:
    """The network that comes back computes bit for bit what the dense one did."""
    del model
    with torch.no_grad():
        back = tensors(report.undo(net).eval()(x))
    same = all(torch.equal(a, b) for a, b in zip(back, dense, strict=True))
    return YES if same else "another function"


STEPS = {"forward": forward, "backward": backward, "export": export, "undo": undo}
"""What is tried after the conversion, in this order; each returns `YES` or what is wrong."""


def tensors(output: Any) -> list[Tensor]:
    """All floating tensors in what a network gives."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for value in values for tensor in tensors(value)]


def first_line(error: BaseException) -> str:
    """Kind and first line of an error's message, at most 200 characters."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]


def _gradients(net: nn.Module, report: Report) -> Iterator[tuple[str, Tensor | None]]:
    for change in report.replaced:
        for name, parameter in net.get_submodule(change.site.path).named_parameters():
            yield f"{change.site.path}.{name}", parameter.grad


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise OutOfTimeError inside after so many seconds, where the system has alarms."""

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"longer than {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
