"""What of known and of made-up networks is found, and that no layer is lost or found twice."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torchvision.models as zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmg.conversion.sites import find_sites
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.layer_shape import Dense, LayerShape


def kinds(model: nn.Module, **options: bool) -> dict[str, int]:
    return dict(Counter(site.kind for site in find_sites(model, **options)[0]))


def check_every_layer_once(model: nn.Module, **options: bool) -> None:
    """Names of layers in sites, blocks and skips are those of the model's layers, each once."""
    sites, skips = find_sites(model, **options)
    found = [skip.path for skip in skips]
    for site in sites:
        inner = [f"{site.path}.{name}".removeprefix(".") for name in (*site.layers, *site.squeeze)]
        found += inner or [site.path]
        module = model.get_submodule(site.path)
        assert site.parameters == sum(parameter.numel() for parameter in module.parameters())
        assert all(model.get_submodule(path) is module for path in site.paths)
        assert (site.shape is None) == bool(site.layers) == (site.channels > 0)
    known = Dense | nn.MultiheadAttention  # which holds matrices beside its layer
    assert sorted(found) == sorted(name for name, module in model.named_modules() if isinstance(module, known))


# Stem and head apart. ResNets: a block for every one that keeps its shape; the first of a stage goes layer by layer.
KNOWN: dict[str, tuple[Callable[..., nn.Module], dict[str, int]]] = {
    "resnet18": (zoo.resnet18, {"residual": 5, "conv": 3 * 3}),
    "resnet50": (zoo.resnet50, {"bottleneck": 3 + 4 + 6 + 3 - 4, "conv": 4 * 4}),
    "vgg11": (zoo.vgg11, {"conv": 7, "linear": 2}),
    "densenet121": (zoo.densenet121, {"conv": 2 * 58 + 3}),
    "mobilenet_v3_large": (zoo.mobilenet_v3_large, {"inverted_residual": 10, "conv": 17, "linear": 1}),
    "efficientnet_b0": (zoo.efficientnet_b0, {"inverted_residual": 9, "conv": 28}),
    "convnext_tiny": (zoo.convnext_tiny, {"linear": 2 * 18, "conv": 3}),
    "vit_b_16": (zoo.vit_b_16, {"linear": 2 * 12}),
    "swin_t": (zoo.swin_t, {"linear": 2 * 12 + 3}),
    "fcn_resnet50": (zoo.segmentation.fcn_resnet50, {"bottleneck": 2 + 3, "conv": 16 + 3 * 7 + 1}),
    "r3d_18": (zoo.video.r3d_18, {"residual": 5, "conv": 3 * 3}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_on_the_meta_device(name: str) -> None:
    make, expected = KNOWN[name]
    with torch.device("meta"):
        model = make(weights=None, **({"weights_backbone": None} if name.startswith("fcn") else {}))
    assert kinds(model) == expected
    check_every_layer_once(model)
    check_every_layer_once(model, blocks=False)
    ends = find_sites(model)[1]
    assert [sum(word in skip.reason for skip in ends) for word in ("stem=True", "head=True")] == [1, 1]
    taken = find_sites(model, stem=True, head=True)[1]
    assert not any("=True" in skip.reason for skip in taken)


def test_regnet_goes_layer_by_layer() -> None:
    sites, skips = find_sites(zoo.regnet_y_400mf(weights=None))
    assert {site.kind for site in sites} == {"conv"}
    assert Counter("grouped" in skip.reason for skip in skips)[True] == 16


@pytest.mark.parametrize("make", [zoo.resnet18, zoo.mobilenet_v3_large])
def test_blocks_tried_out_are_those_known_by_their_attributes(make: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        meta = make(weights=None)
    assert find_sites(meta) == find_sites(make(weights=None))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"residual": 5, "conv": 9}),
        ("mixer_s16_224", {"linear": 4 * 8}),
        ("convnext_atto", {"conv": 2 * 12 + 3}),
    ],
)
def test_timm(name: str, expected: dict[str, int]) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    assert kinds(model) == expected
    check_every_layer_once(model)


def test_shape_of_a_block() -> None:
    with torch.device("meta"):
        sites, _ = find_sites(zoo.efficientnet_b0(weights=None))
    site = next(site for site in sites if site.kind == "inverted_residual")
    assert (site.path, site.channels, site.hidden) == ("features.2.1", 24, 144)
    assert site.layers == ("block.0.0", "block.1.0", "block.3.0")
    assert site.squeeze == ("block.2.fc1", "block.2.fc2")


def test_shape_of_a_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose1d(8, 12, 4, 2, 1), nn.Linear(8, 2))
    (site,), _ = find_sites(model)
    assert (site.paths, site.kind, site.parameters) == (("1",), "transposed", 8 * 12 * 4 + 12)
    assert site.shape == LayerShape.of(model[1])


class Sum(nn.Module):
    """A user's block, with what is added and how given as a function of x and its branch."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor], width: int = 8) -> None:
        super().__init__()
        self.add = add
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x, self.body(x))


class Parallel(Sum):
    """Two convolutions side by side: no chain."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body[0](x) + self.body[3](x)


class Given(Sum):
    """Adds what it is given in the place of its input, where it is."""

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        return self.body(x) + (x if shortcut is None else shortcut)


class Picky(Sum):
    """A block that refuses the input of the trial."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 7:
            raise ValueError
        return super().forward(x)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Sum(lambda x, y: x + y), {"residual": 1}),
        (Sum(lambda x, y: torch.relu(x + y)), {"residual": 1}),
        (Sum(lambda x, y: nn.functional.gelu(x + 0.1 * y)), {"residual": 1}),
        (Sum(lambda x, y: y), {"conv": 2}),
        (Sum(lambda x, y: torch.cat([x, y], 1)), {"conv": 2}),
        (Sum(lambda x, y: x * y.sigmoid()), {"conv": 2}),
        (Sum(lambda x, y: 2 * x + y), {"conv": 2}),
        (Parallel(lambda x, y: x), {"conv": 2}),
        (Given(lambda x, y: x), {"conv": 2}),
        (Picky(lambda x, y: x + y), {"conv": 2}),
    ],
)
def test_blocks_of_users(block: nn.Module, expected: dict[str, int]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), block, nn.Linear(8, 2))
    before = {name: value.clone() for name, value in block.state_dict().items()}
    draws = torch.get_rng_state()
    assert kinds(model) == expected
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    assert block.training
    assert torch.equal(draws, torch.get_rng_state())


def test_the_model_itself_is_a_block_or_a_layer() -> None:
    (site,), skips = find_sites(Sum(lambda x, y: x + y))
    assert (site.paths, site.kind, site.layers, skips) == (("",), "residual", ("body.0", "body.3"), [])
    (site,), skips = find_sites(nn.Linear(3, 5))
    assert (site.path, site.kind, skips) == ("", "linear", [])


def test_a_block_that_is_turned_down_goes_layer_by_layer() -> None:
    model = nn.Sequential(*(Sum(lambda x, y: x + y) for _ in range(3)))
    sites, skips = find_sites(model, where=lambda name, module: not isinstance(module, Sum) and name != "1.body.0")
    assert [site.path for site in sites] == ["0.body.0", "0.body.3", "1.body.3", "2.body.0", "2.body.3"]
    assert [(skip.path, skip.eligible) for skip in skips] == [("1.body.0", True)]


def test_shared_modules_have_all_their_names() -> None:
    shared, block = nn.Linear(8, 8), Sum(lambda x, y: x + y)
    model = nn.Sequential(nn.Linear(4, 8), shared, block, shared, block, nn.Linear(8, 2))
    assert [site.paths for site in find_sites(model)[0]] == [("1", "3"), ("2", "4")]
    # A layer of a block that also hangs elsewhere must stay shared.
    model = nn.Sequential(nn.Linear(4, 8), block, block.body[0], nn.Linear(8, 2))
    assert [site.paths for site in find_sites(model)[0]] == [("1.body.0", "2"), ("1.body.3",)]


class OwnForward(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def leaves() -> st.SearchStrategy[Callable[[], nn.Module]]:
    return st.sampled_from(
        [
            lambda: nn.Linear(4, 4),
            lambda: nn.Conv1d(4, 8, 3),
            lambda: nn.Conv2d(4, 4, 3, groups=2),
            lambda: nn.ConvTranspose2d(8, 4, 2),
            lambda: OwnForward(4, 4, 1),
            lambda: nn.BatchNorm2d(4),
            lambda: nn.ReLU(),
            lambda: nn.Embedding(4, 4),
            lambda: nn.MultiheadAttention(4, 2),
            lambda: zoo.resnet.BasicBlock(8, 8),
            lambda: zoo.resnet.Bottleneck(8, 2),
            lambda: Sum(lambda x, y: x + y, 4),
            lambda: MultigridLayer(LayerShape.of(nn.Linear(8, 8)), group_size=2, coarsest=2),
        ]
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_layer_of_random_trees_is_found_once(data: st.DataObject) -> None:
    pool: list[nn.Module] = [make() for make in data.draw(st.lists(leaves(), min_size=1, max_size=6))]
    for _ in range(data.draw(st.integers(1, 4))):
        # Drawn with replacement: modules are shared within and between containers.
        pool.append(nn.Sequential(*data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))))
    linear = [module for module in pool if isinstance(module, nn.Linear)]
    if len(linear) > 1 and data.draw(st.booleans()):
        linear[0].weight = linear[1].weight
    model = pool[-1]
    for options in ({}, {"blocks": False}, {"stem": True, "head": True}):
        check_every_layer_once(model, **options)
    if data.draw(st.booleans()):
        check_every_layer_once(model.to("meta"))
