"""Why layers stay as they are: each reason, the ends of a network, and what a user is told."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from torchmg.conversion.attribute_reads import reads_of
from torchmg.conversion.messages import nothing_matched
from torchmg.conversion.sites import find_sites
from torchmg.nn import MGICBlock, channel_coupling
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.layer_shape import LayerShape


def reasons(model: nn.Module) -> dict[str, str]:
    return {skip.path: skip.reason for skip in find_sites(model)[1]}


class Reading(nn.Module):
    """Looks into its children in every way that is understood."""

    def __init__(self) -> None:
        super().__init__()
        self.direct, self.called, self.by_property = (nn.Linear(4, 4) for _ in range(3))
        self.items = nn.ModuleList([nn.Linear(4, 4)])
        self.loop = nn.ModuleList([nn.Linear(4, 4)])
        self.named, self.free = nn.Linear(4, 4), nn.Linear(4, 4)

    def reset(self) -> None:
        nn.init.zeros_(self.free.weight)

    def helper(self, x: Tensor) -> Tensor:
        return x * self.called.weight

    @property
    def matrix(self) -> Tensor:
        return self.by_property.weight

    def forward(self, x: Tensor) -> Tensor:
        layer = self.named
        for each in self.loop:
            x = x @ each.weight
        x = x @ self.direct.weight @ self.items[0].weight @ layer.weight @ self.matrix
        return self.free(self.helper(x))


def test_layers_that_are_looked_into_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Reading(), nn.Linear(4, 2))
    assert [site.path for site in find_sites(model)[0]] == ["1.free"]
    read = {path: reason for path, reason in reasons(model).items() if "Reading above it reads" in reason}
    assert sorted(read) == ["1.by_property", "1.called", "1.direct", "1.items.0", "1.loop.0", "1.named"]


def test_transformers_of_torch() -> None:
    model = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    assert reads_of(nn.TransformerEncoderLayer) >= {("linear1", "weight"), ("linear2", "weight")}
    # In evaluation an encoder layer hands its weights to one fused function; a decoder layer calls its layers.
    sites, skips = find_sites(model, stem=True, head=True)
    assert [site.path for site in sites] == ["decoder.layers.0.linear1", "decoder.layers.0.linear2"]
    matrices = [skip for skip in skips if skip.kind == "MultiheadAttention"]
    assert [skip.parameters for skip in matrices] == [3 * 16 * (16 + 1)] * 3
    assert all("bare parameters" in skip.reason and skip.eligible for skip in matrices)
    assert all("reads its weight" in skip.reason for skip in skips if skip not in matrices)


def test_matrices_without_layers_are_told() -> None:
    model = nn.ModuleDict({"first": nn.Linear(4, 8), "memory": nn.LSTM(8, 8), "last": nn.Linear(8, 2)})
    eligible = {skip.path: skip.eligible for skip in find_sites(model)[1]}
    assert eligible == {"first": False, "memory": True, "last": False}


class OwnForward(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_reasons() -> None:
    tied = nn.Linear(8, 8, bias=False)
    tied.weight = (embedding := nn.Embedding(8, 8)).weight
    replaced = nn.Linear(8, 8)
    replaced.forward = nn.Identity().forward  # pyright: ignore[reportAttributeAccessIssue]
    hooked = spectral_norm(nn.Linear(8, 8))
    layers = {
        "own": (OwnForward(8, 8, 3), "its class OwnForward computes its own forward"),
        "object": (replaced, "replaced on the object"),
        "parametrised": (parametrizations.weight_norm(nn.Linear(8, 8)), "parametrised"),
        "hooked": (hooked, "hooks"),
        "tied": (tied, "its weight is tied to embedding.weight"),
        "lazy": (nn.LazyConv2d(8, 3), "no widths yet"),
        "integer": (nn.Linear(8, 8, dtype=torch.complex64), "complex64"),
        "grouped": (nn.Conv2d(8, 8, 3, groups=2), "2 groups"),
        "depthwise": (nn.Conv2d(8, 8, 3, groups=8), "depthwise"),
        "mgic.parts": (MGICBlock(32, group_size=4, coarsest=8), "multigrid already"),
        "layer": (MultigridLayer(LayerShape.of(nn.Conv2d(32, 32, 3)), group_size=4, coarsest=8), "multigrid already"),
        "coupling": (channel_coupling("lean", 16, 16, 3), "multigrid already"),
    }
    model = nn.ModuleDict({"stem": nn.Linear(4, 8), "free": nn.Linear(8, 8)})
    model.update({name.replace(".", "_"): layer for name, (layer, _) in layers.items()})
    model.update({"embedding": embedding, "last": nn.Linear(8, 2)})
    sites, skips = find_sites(model)
    assert [site.path for site in sites] == ["free"]
    for name, (_, reason) in layers.items():
        of_it = [skip.reason for skip in skips if skip.path.split(".")[0] == name.replace(".", "_")]
        assert of_it or name == "coupling", name
        assert all(reason in found for found in of_it), (name, of_it)


def test_heads_and_stems_by_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 8)
            self.first = nn.Linear(8, 8)
            self.image = nn.Conv2d(3, 8, 3)
            self.blocks = nn.ModuleList([nn.ModuleDict({"fc": nn.Linear(8, 8)})])
            self.classifier = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
            self.answer, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def get_classifier(self) -> nn.Module:
            return self.answer

    assert [site.path for site in find_sites(Net())[0]] == ["first", "blocks.0.fc", "classifier.0"]


def test_message_when_nothing_matches() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 2))
    sites, skips = find_sites(model)
    message = nothing_matched(skips, sites)
    assert "its 3 layers (2 Conv2d, 1 Linear)" in message
    assert "1 x it is depthwise" in message
    assert "stem=True, head=True" in message
    assert "no layer of torch" in nothing_matched(*reversed(find_sites(nn.ReLU())))
    sites, _ = find_sites(model, stem=True)
    assert nothing_matched([], sites).startswith("Nothing is converted: 1 conv match and are not taken.")
