"""Models of low-cost channel couplings as data: coupled residual networks, PDE networks, IMEXnet. No torch."""

from types import MappingProxyType

from torchmg.models.entry import Entry

TREISTER2018 = (
    'Treister, Ruthotto, Sharoni, Zafrani, Haber, "Low-Cost Parameterizations of Deep Convolutional Neural Networks", '
    "2018, arXiv 1805.07821"
)
EPHRATH2019 = (
    'Ephrath, Ruthotto, Haber, Treister, "LeanResNet: A Low-cost Yet Effective Convolutional Residual Networks", 2019, '
    "arXiv 1904.06952"
)
RUTHOTTO2020 = (
    'Ruthotto, Haber, "Deep Neural Networks Motivated by Partial Differential Equations", J. Math. Imaging Vis. 2020, '
    "arXiv 1804.04272"
)
HABER2019 = (
    'Haber, Lensink, Treister, Ruthotto, "IMEXnet: A Forward Stable Deep Neural Network", ICML 2019, arXiv 1903.02639'
)


def _coupled(coupling: str, depth: int, parameters: int, macs: int) -> Entry:
    """A residual network for ImageNet at the depths that ImageNet has, else for small images."""
    images, side = ("imagenet", 224) if depth in (18, 34, 50) else ("small", 32)
    paper, citation = ("lean", EPHRATH2019) if coupling == "lean" else ("lowcost", TREISTER2018)
    return Entry(
        f"{coupling}_resnet{depth}",
        coupling,
        f"torchmg.models.coupled_resnet:{coupling}_resnet",
        parameters,
        macs,
        paper,
        citation,
        MappingProxyType({"depth": depth, "images": images}),
        (3, side, side),
        f"resnet{depth}",
    )


def _pde(dynamics: str, parameters: int, macs: int) -> Entry:
    builder = f"torchmg.models.pde:{dynamics}"
    return Entry(dynamics, "pde", builder, parameters, macs, "pde", RUTHOTTO2020)


def _drnet(coupling: str, parameters: int, macs: int) -> Entry:
    fixed, dense = MappingProxyType({"coupling": coupling}), None if coupling == "full" else "drnet_full"
    name, builder = f"drnet_{coupling}", "torchmg.models.pde:drnet"
    return Entry(name, "drnet", builder, parameters, macs, "lowcost", TREISTER2018, fixed, dense=dense)


def _imexnet(name: str, scheme: str, parameters: int, macs: int) -> Entry:
    fixed, shape = MappingProxyType({"scheme": scheme}), (3, 64, 64)
    builder = "torchmg.models.imexnet:imexnet"
    return Entry(name, "imexnet", builder, parameters, macs, "imexnet", HABER2019, fixed, shape, task="segment")


PDE_ENTRIES: tuple[Entry, ...] = (
    _coupled("lean", 20, 34_842, 5_587_584),
    _coupled("lean", 56, 107_418, 16_401_024),
    _coupled("union", 20, 37_530, 6_275_712),
    _coupled("union", 56, 115_482, 18_465_408),
    _coupled("circulant", 20, 8_506, 40_551_040),
    _coupled("circulant", 56, 23_290, 125_485_696),
    _coupled("lean", 18, 1_940_008, 330_067_968),
    _coupled("lean", 34, 3_084_584, 540_606_464),
    _coupled("lean", 50, 15_512_360, 2_450_536_448),
    _coupled("union", 18, 1_955_368, 336_089_088),
    _coupled("union", 50, 15_527_464, 2_456_055_808),
    _coupled("circulant", 18, 738_600, 1_814_073_344),
    _coupled("circulant", 50, 14_273_768, 4_089_184_256),
    _pde("hamiltonian", 264_106, 83_919_968),
    _pde("parabolic", 502_570, 162_219_104),
    _pde("second_order", 502_570, 162_219_104),
    _drnet("full", 508_186, 167_863_904),
    _drnet("union", 89_242, 31_368_800),
    _drnet("pointwise", 84_250, 28_665_440),
    _drnet("circulant", 36_874, 167_863_904),
    _imexnet("imexnet_explicit", "explicit", 169_780, 1_286_275_072),
    _imexnet("imexnet", "imex", 172_804, 1_348_206_592),
)
"""Small before large, couplings in the order of their papers."""
