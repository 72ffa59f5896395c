"""Warm starts and peers: one trained network made 4 and 8 times smaller in several ways, then fine-tuned alike.

    uv run --with torch-pruning python benchmarks/convert_study.py --data-dir DATA     [--state runs/convert_study]

A ResNet-18 for small pictures, a quarter wide, learns FashionMNIST. Then it is converted by `torchmg.convert` with each
warm start, pruned by Torch-Pruning (by magnitude and by Taylor expansion), and factorised (truncated singular value
decompositions, ranks by the energy they keep for their weights; `on data` in order and on data, as torchmg's layers
are), each to the same number of parameters; accuracy is taken right after, and after one and three epochs of the same
fine-tuning. `scratch` is the converted network trained without the original, for as many epochs as both trainings
together. Everything that gets data gets the same 1,024 pictures without labels (Taylor: with), and batch norms
re-estimated from them.

Rows that --state has are not computed again, so a run can be interrupted. Writes convert_study.json beside this file.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.conversion.compensate import compensated
from torchmg.conversion.in_order import project_in_order
from torchmg.conversion.regress import reestimate_norms
from torchmg.conversion.sites import find_sites
from torchmg.conversion.surgery import replace_modules
from torchmg.train.environment import environment

MODEL: tuple[str, dict[str, Any]] = ("resnet18_cifar", {"width": 0.25, "in_channels": 1, "num_classes": 10})
RATIOS = (4, 8)
EPOCHS, TUNING = 4, 3
BATCH, RATE, TUNING_RATE = 128, 0.1, 0.05
UNLABELLED = 1024
METHODS = ("match blocks", "match layers", "project blocks", "project layers", "none blocks", "none layers")
METHODS += ("taylor", "magnitude", "svd", "svd on data", "scratch blocks", "scratch layers")


class Task:
    """FashionMNIST in memory, normalised."""

    def __init__(self, data_dir: Path | None, samples: int | None) -> None:
        data = torchmg.load("fashion_mnist", data_dir)
        self.train = self._tensors(data, data.train)
        self.test = self._tensors(data, data.test)
        if samples:
            self.train = (self.train[0][:samples], self.train[1][:samples])

    @staticmethod
    def _tensors(data: Any, split: Any) -> tuple[Tensor, Tensor]:
        x = split.inputs.float() / 255
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.mean, data.std))
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last), split.targets.long()

    def unlabelled(self) -> list[Tensor]:
        """A few batches."""
        return list(self.train[0][:UNLABELLED].split(BATCH))


def learn(model: nn.Module, task: Task, epochs: int, rate: float, seed: int) -> Iterator[int]:
    """SGD with momentum, a cosine over all epochs, mirrored pictures; gives the number of epochs done."""
    generator = torch.Generator().manual_seed(seed)
    x, y = task.train
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        model.train()
        for chosen in torch.randperm(len(x), generator=generator)[: steps // epochs * BATCH].split(BATCH):
            pictures = x[chosen]
            pictures = pictures.flip(3) if torch.rand((), generator=generator) < 0.5 else pictures
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(pictures), y[chosen]).backward()
            optimizer.step()
            schedule.step()
        yield epoch + 1


@torch.no_grad()
def accuracy(model: nn.Module, task: Task) -> float:
    """In percent, of the test pictures."""
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(*(t.split(500) for t in task.test), strict=True))
    return round(100 * right / len(task.test[0]), 2)


def parameters(model: nn.Module) -> int:
    """Unique trainable numbers."""
    return sum(p.numel() for p in model.parameters())


def converted(method: str) -> Callable[[nn.Module, Task, int, int], nn.Module]:
    """`torchmg.convert` with a warm start, whole blocks or layer by layer."""
    start, _, form = method.partition(" ")
    scheme = torchmg.MGIC(blocks=form == "blocks")

    def make(dense: nn.Module, task: Task, ratio: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        warm = "none" if start == "scratch" else start
        data = None if warm == "none" else task.unlabelled()
        net, report = torchmg.convert(
            dense, scheme, ratio=ratio, warm_start=warm, data=data, example_input=task.train[0][:1]
        )
        print(report.summary(), flush=True)
        return net

    return make


def pruned(importance: str) -> Callable[[nn.Module, Task, int, int], nn.Module]:
    """Torch-Pruning with its groups of coupled channels, all layers compared, in small steps down to the budget."""

    def make(dense: nn.Module, task: Task, ratio: int, seed: int) -> nn.Module:
        import torch_pruning as tp

        torch.manual_seed(seed)
        net, example = copy.deepcopy(dense), task.train[0][:2]
        taylor = importance == "taylor"
        kind = tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=2)
        budget = parameters(dense) / ratio
        pruner = tp.pruner.BasePruner(
            net, example, kind, global_pruning=True, pruning_ratio=0.95, max_pruning_ratio=0.95,
            iterative_steps=200, ignored_layers=[net.head],
        )  # fmt: skip
        while parameters(net) > budget:
            if taylor:
                net.zero_grad()
                for x, y in zip(task.unlabelled(), task.train[1][:UNLABELLED].split(BATCH), strict=True):
                    F.cross_entropy(net.eval()(x), y).backward()
            pruner.step()
        reestimate_norms(net, task.unlabelled())
        return net

    return make


def factorised(dense: nn.Module, task: Task, ratio: int, seed: int, *, on_data: bool = False) -> nn.Module:
    """Every convolution that could be converted as two of lower rank, W = U V, ranks by energy for weights.

    With `on_data` the factors are fitted as torchmg fits its layers: in order, to what reaches them.
    """
    net = copy.deepcopy(dense)
    sites, _ = find_sites(net, blocks=False)
    layers = {site.path: net.get_submodule(site.path) for site in sites}
    sizes = {path: m.weight.flatten(1).shape for path, m in layers.items()}
    energies = {
        path: torch.linalg.svdvals(m.weight.detach().flatten(1).double()).square() for path, m in layers.items()
    }
    # Relative energy of a layer that one more rank keeps, for a weight.
    gains = {path: (e / e.sum() / sum(sizes[path])).tolist() for path, e in energies.items()}
    ranks = dict.fromkeys(layers, 1)
    room = parameters(dense) / ratio - (parameters(dense) - sum(m.weight.numel() for m in layers.values()))
    room -= sum(map(sum, sizes.values()))
    order = sorted(((g, path, r) for path, gain in gains.items() for r, g in enumerate(gain) if r), reverse=True)
    for _, path, _ in order:
        if sum(sizes[path]) <= room and ranks[path] < len(gains[path]):
            ranks[path] += 1
            room -= sum(sizes[path])
    units = [(site, low_rank(layers[site.path], ranks[site.path])) for site in sites]
    units = [(site, unit) for site, unit in units if parameters(unit) < layers[site.path].weight.numel()]
    if on_data:
        project_in_order(net, units, task.unlabelled(), fit_low_rank)
    else:
        for site, unit in units:
            fit_low_rank(site, layers[site.path], unit, None)
    net, _ = replace_modules(net, {site.paths: unit for site, unit in units})
    reestimate_norms(net, task.unlabelled())
    return net


def low_rank(layer: Any, rank: int) -> nn.Sequential:
    """A convolution to fewer channels and one of single taps back, without values yet."""
    first = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, bias=False)
    return nn.Sequential(first, nn.Conv2d(rank, layer.out_channels, 1, bias=False))


@torch.no_grad()
def fit_low_rank(site: Any, layer: Any, unit: Any, moments: tuple[Tensor, Tensor] | None) -> float:
    """Truncated singular values, of the compensated kernel in the norm of its inputs where these are known."""
    del site
    weight = layer.weight.double()
    root = torch.eye(weight.shape[1], dtype=torch.float64)
    if moments is not None:
        weight = compensated(weight, *moments)
        values, vectors = torch.linalg.eigh(moments[1])
        root = vectors * (values.clamp_min(0) + 1e-4 * values.mean()).sqrt() @ vectors.T
    seen = torch.einsum("oikl,ij->ojkl", weight, root)
    u, s, v = torch.linalg.svd(seen.flatten(1), full_matrices=False)
    rank = unit[0].out_channels
    first = (s[:rank, None].sqrt() * v[:rank]).unflatten(1, weight.shape[1:])
    unit[0].weight.copy_(torch.einsum("oikl,ij->ojkl", first, torch.linalg.inv(root)))
    unit[1].weight.copy_((u[:, :rank] * s[:rank].sqrt())[..., None, None])
    return (s[rank:].norm() / s.norm()).item()


def maker(method: str) -> Callable[[nn.Module, Task, int, int], nn.Module]:
    """What makes the small network of a method."""
    if method in ("taylor", "magnitude"):
        return pruned(method)
    if method.startswith("svd"):
        return partial(factorised, on_data=method == "svd on data")
    return converted(method)


def trained(state: Path, task: Task, epochs: int, seed: int) -> nn.Module:
    """The dense network, from --state if it is there."""
    torch.manual_seed(seed)
    model = torchmg.create(MODEL[0], **MODEL[1]).to(memory_format=torch.channels_last)  # pyright: ignore
    file = state / f"dense_{seed}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
        return model
    for epoch in learn(model, task, epochs, RATE, seed):
        print(f"dense, epoch {epoch}: {accuracy(model, task)} %", flush=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return model


def row(method: str, ratio: int, dense: nn.Module, task: Task, epochs: int, seed: int) -> dict[str, Any]:
    """One small network: its size and its accuracies."""
    start = time.perf_counter()
    net = maker(method)(dense, task, ratio, seed).to(memory_format=torch.channels_last)  # pyright: ignore
    making = time.perf_counter() - start
    macs = torchmg.count(net, tuple(task.train[0].shape[1:])).macs
    found = {"method": method, "ratio": ratio, "seed": seed, "parameters": parameters(net), "macs": macs}
    found |= {"seconds_to_make": round(making, 1), "accuracy": {"0": accuracy(net, task)}}
    whole = epochs + TUNING if method.startswith("scratch") else TUNING
    rate = RATE if method.startswith("scratch") else TUNING_RATE
    for epoch in learn(net, task, whole, rate, seed + 1):
        done = epoch - (whole - TUNING)
        if done in (1, TUNING):
            found["accuracy"][str(done)] = accuracy(net, task)
    print(found, flush=True)
    return found


def main() -> None:
    """Train, convert, fine-tune, record."""
    parser = argparse.ArgumentParser(description="Warm starts and peers on one trained network.")
    parser.add_argument("--data-dir", type=Path, help="folder of the data sets")
    parser.add_argument("--state", type=Path, default=Path("runs/convert_study"), help="finished rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the dense network")
    parser.add_argument("--samples", type=int, default=None, help="of the training set (default: all)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--finished", action="store_true", help="compute nothing more, record the rows that there are")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    task = Task(args.data_dir, args.samples)
    rows, dense_accuracy = [], {}
    for seed in args.seeds:
        dense = trained(args.state, task, args.epochs, seed)
        dense_accuracy[str(seed)] = accuracy(dense, task)
        for ratio in RATIOS:
            for method in args.methods:
                file = args.state / f"{method.replace(' ', '_')}_{ratio}_{seed}.json"
                if args.finished and not file.exists():
                    continue
                if not file.exists():
                    file.write_text(json.dumps(row(method, ratio, dense, task, args.epochs, seed)))
                rows.append(json.loads(file.read_text()))
    record = {
        "command": "uv run --with torch-pruning python benchmarks/convert_study.py --data-dir DATA_DIR"
        + (f" --samples {args.samples}" if args.samples else "")
        + (f" --epochs {args.epochs}" if args.epochs != EPOCHS else ""),
        "model": {"name": MODEL[0], **MODEL[1]},
        "data": "fashion_mnist",
        "samples": len(task.train[0]),
        "epochs": args.epochs,
        "fine_tuning": {"epochs": TUNING, "rate": TUNING_RATE, "batch_size": BATCH},
        "dense": {"parameters": parameters(dense), "accuracy": dense_accuracy},
        "rows": rows,
        "environment": environment(torch.device("cpu")),
    }
    (args.out / "convert_study.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
