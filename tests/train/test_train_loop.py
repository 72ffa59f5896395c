"""`fit` against training loops written out here."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training_runs import SMALL_MGIC, STEPS, equal, log, outcome, tiny_recipe, weights

import torchmg
from torchmg.data.batches import Batches
from torchmg.data.images import ImageSet
from torchmg.data.order import epoch_order
from torchmg.errors import UsageError
from torchmg.models.options import ModelOptions
from torchmg.models.user import build
from torchmg.train.folder import RunFolder
from torchmg.train.loop import fit
from torchmg.train.recipe import Recipe, recipe

PARABOLIC: dict[str, Any] = {"model": "parabolic", "options": ModelOptions(width=0.25, steps=3)}


def plain_training(recipe: Recipe, data: ImageSet, rate: Any) -> tuple[nn.Module, list[float]]:
    """The same training in plain PyTorch: no Fabric, no batches, no schedule of ours. Returns model and losses."""
    layout = torch.channels_last if recipe.layout != "channels_first" else torch.contiguous_format
    torch.manual_seed(recipe.seed)
    model = torchmg.create(recipe.model, num_classes=10, in_channels=1, **recipe.options.given())
    model = model.to(memory_format=layout).train()
    norms = [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    free = {id(p) for p in [*norms, model.head.bias]} if recipe.decay == "weights" else set()
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in free], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if id(p) in free], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [g for g in groups if g["params"]], lr=1.0, momentum=recipe.momentum, nesterov=recipe.nesterov
    )
    images = data.train.images.contiguous(memory_format=layout).float().div(255)
    images = (images - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None]
    drawn = {"batch_size": recipe.batch_size, "channels_last": layout is torch.channels_last}
    losses, step, clipped, averaged = [], 0, [], {}
    for epoch in range(recipe.epochs):
        order = epoch_order(recipe.seed, epoch, len(images))
        chosens = order.split(recipe.batch_size)
        batches = [images[chosen].contiguous(memory_format=layout) for chosen in chosens]
        if recipe.augment != "none":  # what augmentation does is tested with the data
            augmented = data.preparation(recipe.augment)
            ours = Batches(data.train, augmented, **drawn, seed=recipe.seed).epoch(epoch)
            batches = [batch.inputs for batch in ours]
        for chosen, batch in zip(chosens, batches, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad()
            total = 0.0
            for some in torch.arange(len(chosen)).tensor_split(recipe.accumulate):
                share = len(some) / len(chosen)
                labels = data.train.labels[chosen[some]]
                loss = F.cross_entropy(model(batch[some]), labels, label_smoothing=recipe.label_smoothing)
                (share * (loss + recipe.time_smoothness * roughness(model))).backward()
                total += share * loss.item()
            if recipe.clip:
                norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
                clipped.append(norm > recipe.clip)
                for p in model.parameters():
                    if p.grad is not None and norm > recipe.clip:
                        p.grad.mul_(recipe.clip / (norm + 1e-6))
            optimizer.step()
            if recipe.limit:
                for p in [p for p in model.parameters() if p.dim() > 1]:
                    p.data.clamp_(-recipe.limit, recipe.limit)
            averaged = update_average(averaged, model, recipe.ema)
            losses.append(total)
            step += 1
    assert not recipe.clip or len(set(clipped)) == 2  # some are, some are not
    model.load_state_dict(averaged)
    return model, losses


def roughness(model: nn.Module) -> Tensor:
    """Sum of sqrt(d^2 + 1e-6) - 1e-3 over the differences d of kernels of consecutive time steps."""
    total = torch.zeros(())
    kernels = {name: p for name, p in model.named_parameters() if ".steps." in name and p.dim() == 4}
    for name, kernel in kernels.items():
        before, _, rest = name.partition(".steps.")
        number, _, rest = rest.partition(".")
        following = kernels.get(f"{before}.steps.{int(number) + 1}.{rest}")
        if following is not None:
            total = total + (((following - kernel) ** 2 + 1e-6) ** 0.5 - 1e-3).sum()
    return total


def update_average(averaged: dict[str, Tensor], model: nn.Module, decay: float) -> dict[str, Tensor]:
    """The moving average after one more step; the state itself without decay."""
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    if not averaged or not decay:
        return state
    mixed = {key: decay * averaged[key] + (1 - decay) * state[key] for key in state}
    return {key: mixed[key] if value.is_floating_point() else value for key, value in state.items()}


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, lambda step: 0.1 * 0.5 * (1 + math.cos(math.pi * step / 10))),
        (
            {"nesterov": True, "decay": "weights", "augment": "crop_flip", "label_smoothing": 0.1, "seed": 5},
            lambda step: 0.1 * 0.5 * (1 + math.cos(math.pi * step / 10)),
        ),
        (
            {"layout": "channels_first", "schedule": "step", "milestones": (1,), "lr": 0.05, "weight_decay": 0.01},
            lambda step: 0.05 * 0.1 ** (step >= STEPS),
        ),
        (
            {"model": "resnet20", "options": ModelOptions(width=0.25), "momentum": 0.5},
            lambda step: 0.1 * 0.5 * (1 + math.cos(math.pi * step / 10)),
        ),
    ],
)
def test_fit_equals_a_plain_loop_bit_for_bit(
    changes: dict[str, Any], rate: Any, data: ImageSet, tmp_path: Path
) -> None:
    recipe = Recipe(**{"model": "mgic_resnet20", "options": SMALL_MGIC, "epochs": 2, "batch_size": 40, **changes})
    run = fit(recipe, folder=tmp_path / "run", quiet=True)
    model, losses = plain_training(recipe, data, rate)
    assert equal(weights(run.folder), {key: value.contiguous() for key, value in model.state_dict().items()})
    for epoch, row in enumerate(log(run.folder)):
        mean = sum(losses[epoch * STEPS : (epoch + 1) * STEPS]) / STEPS
        assert float(row["train_loss"]) == pytest.approx(mean, rel=1e-12)
        assert float(row["lr"]) == rate((epoch + 1) * STEPS - 1)
        assert int(row["step"]) == (epoch + 1) * STEPS
    model.eval()
    for split, images, labels in (
        ("train", data.train.images, data.train.labels),
        ("test", data.test.images, data.test.labels),
    ):
        x = (images.float() / 255 - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None]
        with torch.no_grad():
            logits = model(x)
        right = float((logits.argmax(1) == labels).double().mean() * 100)
        assert outcome(run.folder)[f"{split}_accuracy"] == pytest.approx(right)
        assert outcome(run.folder)[f"{split}_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 3},
        {"clip": 6.0},
        {"ema": 0.8},
        {"accumulate": 4, "clip": 6.0, "ema": 0.5},
        {**PARABOLIC, "limit": 0.3},
        {**PARABOLIC, "time_smoothness": 0.05},
        {**PARABOLIC, "time_smoothness": 0.05, "accumulate": 3},
    ],
)
def test_parts_clipping_averages_and_smoothness_equal_a_plain_loop(
    changes: dict[str, Any], data: ImageSet, tmp_path: Path
) -> None:
    model = {"model": "mgic_resnet20", "options": SMALL_MGIC}
    recipe = Recipe(**{**model, "epochs": 1, "batch_size": 40, "lr": 1e-3, **changes})
    run = fit(recipe, folder=tmp_path / "run", quiet=True)
    model, losses = plain_training(recipe, data, lambda step: 1e-3 * 0.5 * (1 + math.cos(math.pi * step / 5)))
    for epoch, row in enumerate(log(run.folder)):
        mean = sum(losses[epoch * STEPS : (epoch + 1) * STEPS]) / STEPS
        assert float(row["train_loss"]) == pytest.approx(mean, rel=1e-4)
    # Sums in another order flip a unit of ReLU now and then, which changes a gradient by about a percent; a wrong share
    # of a part, a missing clip or another average changes what was learned by far more.
    torch.manual_seed(recipe.seed)
    start = dict(torchmg.create(recipe.model, in_channels=1, **recipe.options.given()).named_parameters())
    ours = weights(run.folder)
    with torch.no_grad():
        off = sum(float((ours[key] - value).square().sum()) for key, value in model.named_parameters())
        moved = sum(float((start[key] - value).square().sum()) for key, value in model.named_parameters())
    assert moved > 0
    assert off <= 0.03**2 * moved


@pytest.mark.usefixtures("data")
def test_label_smoothing_changes_the_loss_as_its_formula_says(data: ImageSet, tmp_path: Path) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    plain = F.cross_entropy

    def watched(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        if logits.requires_grad:
            seen.append((logits.detach().double(), labels))
        return plain(logits, labels, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", watched)
        run = fit(tiny_recipe(tmp_path, epochs=1, label_smoothing=0.3, lr=0.0), folder=tmp_path / "run", quiet=True)
    assert len(seen) == STEPS
    total = 0.0
    for logits, labels in seen:
        logs = logits - logits.exp().sum(1, keepdim=True).log()
        target = torch.full_like(logits, 0.3 / 10)
        target[torch.arange(len(labels)), labels] += 0.7
        total += float(-(target * logs).sum(1).mean())
    (row,) = log(run.folder)
    assert float(row["train_loss"]) == pytest.approx(total / STEPS, rel=1e-6)
    hits = sum(int((logits.argmax(1) == labels).sum()) for logits, labels in seen)
    assert float(row["train_accuracy"]) == pytest.approx(hits / 2)
    test = plain_loss(run.folder, tmp_path, data)
    assert float(row["test_loss"]) == pytest.approx(test, rel=1e-5)  # never smoothed


def plain_loss(folder: Path, place: Path, data: ImageSet) -> float:
    model = build(f"{place / 'net.py'}:tiny", num_classes=10, in_channels=1)
    RunFolder(folder).read_weights(model)
    model.eval()
    x = (data.test.images.float() / 255 - torch.tensor(data.mean)) / torch.tensor(data.std)
    with torch.no_grad():
        return F.cross_entropy(model(x), data.test.labels).item()


WATCHER = """
import torch
from torch import nn

SEEN = set()

class Watcher(nn.Sequential):
    def forward(self, x):
        if not x.is_meta:
            out = super().forward(x)
            SEEN.add((self.training, out.dtype, self[0].weight.dtype))
            return out
        return super().forward(x)

def watcher(num_classes, in_channels):
    return Watcher(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 196, num_classes))
"""


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
@pytest.mark.usefixtures("data")
def test_bf16_computes_in_bfloat16_and_keeps_float32_weights(
    precision: str, dtype: torch.dtype, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "watcher.py").write_text(WATCHER)
    recipe = tiny_recipe(tmp_path, model=f"{tmp_path / 'watcher.py'}:watcher", precision=precision, epochs=1)
    run = fit(recipe, folder=tmp_path / "run", quiet=True)
    seen = sys.modules["torchmg_user_watcher"].SEEN
    assert seen == {(True, dtype, torch.float32), (False, dtype, torch.float32)}
    assert {value.dtype for value in weights(run.folder).values()} == {torch.float32, torch.int64}
    assert math.isfinite(run.record["train_loss"])
    assert capfd.readouterr() == ("", "")  # quiet is quiet, Lightning too


def test_bf16_is_another_training_than_fp32(data: ImageSet, tmp_path: Path) -> None:
    one, other = (
        fit(tiny_recipe(tmp_path, precision=p), folder=tmp_path / p, quiet=True).folder for p in ("fp32", "bf16")
    )
    assert not equal(weights(one), weights(other))
    for key, value in weights(one).items():
        torch.testing.assert_close(weights(other)[key].double(), value.double(), rtol=0.1, atol=0.1)


@pytest.mark.usefixtures("data")
def test_the_memory_layout_is_what_the_recipe_says(tmp_path: Path) -> None:
    (tmp_path / "layout.py").write_text(
        "import torch\nfrom torch import nn\nSEEN = set()\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, c, k):\n"
        "        super().__init__(); self.conv = nn.Conv2d(c, 4, 3); self.deep = nn.Conv2d(4, 4, 3)\n"
        "        self.head = nn.Linear(4, k)\n"
        "    def forward(self, x):\n"
        "        y = self.conv(x)\n"
        "        if not x.is_meta: SEEN.add((y.is_contiguous(), self.deep.weight.is_contiguous()))\n"
        "        return self.head(self.deep(y).mean((2, 3)))\n"
        "def net(num_classes, in_channels): return Net(in_channels, num_classes)\n"
    )
    for last, name in ((True, "channels_last"), (False, "channels_first"), (True, "auto")):
        recipe = tiny_recipe(tmp_path, model=f"{tmp_path / 'layout.py'}:net", epochs=1, layout=name)
        fit(recipe, folder=tmp_path / name, quiet=True)
        assert {(not last, not last)} == sys.modules["torchmg_user_layout"].SEEN


@pytest.mark.usefixtures("data")
def test_a_model_is_built_from_the_seed_alone(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, lr=0.0, epochs=1)
    one = weights(fit(recipe, folder=tmp_path / "a", quiet=True).folder)
    torch.manual_seed(0)
    assert one["0.weight"].equal(build(recipe.model, num_classes=10, in_channels=1).state_dict()["0.weight"])


def test_a_user_model_on_real_digits_learns(tmp_path: Path) -> None:
    run = fit(tiny_recipe(tmp_path, epochs=3, batch_size=64), folder=tmp_path / "run", quiet=True)
    rows = log(run.folder)
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert run.record["test_accuracy"] > 15
    assert run.record["steps"] == 3 * 23


def test_what_cannot_be_trained_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no device 'gpu'"):
        fit(recipe("digits_resnet20", epochs=1), out=tmp_path / "runs", device="gpu", quiet=True)
    assert not (tmp_path / "runs").exists()
