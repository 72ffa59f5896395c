"""Every model as data: what it is, where it comes from, and what it costs. No torch.

Counts are those of the default options at the listed input size; a test builds every model and compares.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torchmg.models.entries_pde import PDE_ENTRIES
from torchmg.models.entry import Entry

HE2016 = 'He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016'
ZAGORUYKO2016 = 'Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016'
XIE2017 = 'Xie, Girshick, Dollar, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017'
DENSE = MappingProxyType({"plain": ("resnet", HE2016), "wide": ("wrn", ZAGORUYKO2016), "resnext": ("resnext", XIE2017)})
"""Variant of an ImageNet ResNet -> short name and citation of the paper that defines it."""
MGIC2023 = (
    'Eliasof, Ephrath, Ruthotto, Treister, "MGIC: Multigrid-in-Channels Neural Network Architectures", '
    "SIAM J. Sci. Comput. 2023, arXiv 2011.09128"
)
HOWARD2019 = 'Howard et al., "Searching for MobileNetV3", ICCV 2019'
CHEN2017 = 'Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017'
MGIAD = 'van Betteray, Rottmann, Kahl, "MGiaD: Multigrid in all dimensions", 2022, arXiv 2211.05525'
HEXU2019 = 'He, Xu, "MgNet: A unified framework of multigrid and convolutional neural network", Sci. China Math. 2019'
VIT2021 = 'Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, in a size for 32x32 images'

SANDLER2018 = 'Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018'
HAN2020 = 'Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020'
MA2018 = 'Ma, Zhang, Zheng, Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018'
TAN2019 = 'Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019'
WANG2019 = 'Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM Trans. Graph. 2019'
RIVALS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "ghostnet": ("ghost", "ghostnet", HAN2020),
        "shufflenetv2": ("shufflenet", "shufflenet", MA2018),
        "mobilenetv2": ("mobilenet", "mobilenet", SANDLER2018),
        "mobilenetv3": ("mobilenet", "mobilenet", HOWARD2019),
        "efficientnet_b0": ("efficientnet", "efficientnet", TAN2019),
    }
)
"""Builder of another library's network -> family, short name and citation of its paper."""


_MODULE = "torchmg.models.resnet_cifar"


def _resnet(depth: int, parameters: int, macs: int, name: str | None = None) -> Entry:
    name = name or f"resnet{depth}"
    fixed = MappingProxyType({"depth": depth})
    return Entry(name, "resnet", f"{_MODULE}:resnet", parameters, macs, "resnet", HE2016, fixed)


def _mgic(depth: int, parameters: int, macs: int, name: str | None = None) -> Entry:
    dense = name or f"resnet{depth}"
    fixed = MappingProxyType({"depth": depth})
    builder = f"{_MODULE}:mgic_resnet"
    return Entry(f"mgic_{dense}", "mgic", builder, parameters, macs, "mgic", MGIC2023, fixed, dense=dense)


def _imagenet(name: str, depth: int, parameters: int, macs: int, variant: str = "plain") -> Entry:
    fixed = MappingProxyType({"depth": depth, "variant": variant})
    family, dense = ("mgic", name.removeprefix("mgic_")) if name.startswith("mgic_") else ("resnet", None)
    paper, citation = ("mgic", MGIC2023) if dense else DENSE[variant]
    function = "mgic_resnet" if dense else "resnet"
    builder = f"torchmg.models.resnet_imagenet:{function}"
    return Entry(name, family, builder, parameters, macs, paper, citation, fixed, (3, 224, 224), dense)


def _mobile(size: str, parameters: int, macs: int, *, mgic: bool = False, cifar: bool = False) -> Entry:
    name = f"mobilenetv3_{size}" + ("_cifar" if cifar else "")
    rows = "table6" if mgic and size == "large" else "mobilenetv3"
    stem_stride = 1 if cifar else 2
    fixed = MappingProxyType({"size": size, "rows": rows, "stem_stride": stem_stride, "reduced_tail": False})
    where, shape = "torchmg.models.mobilenetv3:", (3, 32, 32) if cifar else (3, 224, 224)
    if not mgic:
        builder = f"{where}mobilenetv3"
        return Entry(name, "mobilenet", builder, parameters, macs, "mobilenet", HOWARD2019, fixed, shape)
    builder = f"{where}mgic_mobilenetv3"
    return Entry(f"mgic_{name}", "mgic", builder, parameters, macs, "mgic", MGIC2023, fixed, shape, name)


def _segmenter(dense: str, fixed: Mapping[str, int | str], parameters: int, macs: int, *, mgic: bool = False) -> Entry:
    head = dense.partition("_")[0]
    where, shape, fixed = "torchmg.models.segmentation:", (3, 512, 1024), MappingProxyType(fixed)
    if mgic:
        builder, name = f"{where}mgic_{head}", f"mgic_{dense}"
        return Entry(name, "mgic", builder, parameters, macs, "mgic", MGIC2023, fixed, shape, dense, "segment")
    family, paper, citation = ("mobilenet", "mobilenet", HOWARD2019) if head == "lraspp" else ("resnet", head, CHEN2017)
    return Entry(dense, family, f"{where}{head}", parameters, macs, paper, citation, fixed, shape, None, "segment")


def _rival(name: str, builder: str, parameters: int, macs: int, **fixed: int | float | str) -> Entry:
    family, paper, citation = RIVALS[builder]
    where = f"torchmg.models.rivals:{builder}"
    return Entry(name, family, where, parameters, macs, paper, citation, MappingProxyType(fixed), (3, 224, 224))


def _ghost_resnet(name: str, builder: str, depth: int, parameters: int, macs: int, ratio: int, side: int) -> Entry:
    where, fixed = f"torchmg.models.ghost_resnet:{builder}", MappingProxyType({"depth": depth, "ratio": ratio})
    return Entry(name, "ghost", where, parameters, macs, "ghostnet", HAN2020, fixed, (3, side, side))


def _function(name: str, family: str, parameters: int, macs: int, citation: str) -> Entry:
    where = f"torchmg.models.functions:{name}"
    dense = "function_mobilenetv3" if family == "mgic" else None
    paper = {"mgic": "mgic", "mobilenet": "mobilenet"}.get(family, "ghostnet")
    return Entry(
        name,
        family,
        where,
        parameters,
        macs,
        paper,
        citation,
        input=(2, 1, 1),
        dense=dense,
        task="regress",
    )


def _cloud(name: str, family: str, parameters: int, macs: int, citation: str) -> Entry:
    dense, where = "dgcnn" if family == "mgic" else None, f"torchmg.models.dgcnn:{name}"
    paper = "mgic" if dense else "dgcnn"
    return Entry(name, family, where, parameters, macs, paper, citation, input=(3, 1024), dense=dense, task="points")


def _mgnet(family: str, depth: int, parameters: int, macs: int) -> Entry:
    dense = {18: "resnet18_cifar", 20: "resnet20"}[depth]
    fixed = MappingProxyType({"depth": depth})
    builder = f"torchmg.models.mgnet:{family}"
    return Entry(f"{family}{depth}", family, builder, parameters, macs, "mgiad", MGIAD, fixed, dense=dense)


_HEXU = Entry(
    "mgnet_hexu",
    "mgnet",
    "torchmg.models.mgnet:hexu",
    8_278_794,
    3_999_009_280,
    "mgnet",
    HEXU2019,
    dense="resnet18_cifar",
)

_VIT = MappingProxyType({"depth": 6})


ENTRIES: tuple[Entry, ...] = (
    _resnet(8, 75_290, 12_239_488),
    _resnet(20, 269_722, 40_551_040),
    _resnet(32, 464_154, 68_862_592),
    _resnet(44, 658_586, 97_174_144),
    _resnet(56, 853_018, 125_485_696),
    _resnet(110, 1_727_962, 252_887_680),
    _resnet(18, 11_173_962, 555_422_720, "resnet18_cifar"),
    _mgic(8, 36_410, 8_925_824),
    _mgic(20, 104_890, 25_670_272),
    _mgic(32, 173_370, 42_414_720),
    _mgic(44, 241_850, 59_159_168),
    _mgic(56, 310_330, 75_903_616),
    _mgic(110, 618_490, 151_253_632),
    _mgic(18, 620_490, 76_305_408, "resnet18_cifar"),
    _imagenet("resnet18", 18, 11_689_512, 1_814_073_344),
    _imagenet("resnet34", 34, 21_797_672, 3_663_761_408),
    _imagenet("resnet50", 50, 25_557_032, 4_089_184_256),
    _imagenet("resnet101", 101, 44_549_160, 7_801_405_440),
    _imagenet("wide_resnet50", 50, 68_883_240, 11_398_021_120, "wide"),
    _imagenet("resnext50", 50, 25_028_904, 4_230_479_872, "resnext"),
    _imagenet("mgic_resnet18", 18, 2_853_288, 1_001_197_056),
    _imagenet("mgic_resnet34", 34, 5_095_592, 1_741_192_704),
    _imagenet("mgic_resnet50", 50, 9_149_480, 2_139_043_840),
    _imagenet("mgic_resnet101", 101, 17_370_408, 3_722_196_992),
    _imagenet("mgic_wide_resnet50", 50, 10_220_072, 2_908_944_384, "wide"),
    _imagenet("mgic_resnext50", 50, 7_750_184, 1_622_325_120, "resnext"),
    _mobile("small", 2_542_856, 56_510_400),
    _mobile("large", 5_483_032, 216_589_760),
    _mobile("small", 1_528_106, 5_502_720, cifar=True),
    _mobile("large", 4_214_842, 20_101_760, cifar=True),
    _mobile("small", 2_626_984, 51_766_800, mgic=True),
    _mobile("large", 5_948_492, 173_573_352, mgic=True),
    _mobile("small", 1_612_234, 5_202_240, mgic=True, cifar=True),
    _mobile("large", 4_680_302, 17_000_352, mgic=True, cifar=True),
    _segmenter("lraspp_mobilenetv3_small", {"size": "small"}, 467_486, 672_468_736),
    _segmenter("lraspp_mobilenetv3_large", {"size": "large"}, 1_505_550, 2_329_974_912),
    _segmenter("deeplabv3_resnet50", {"depth": 50}, 39_638_355, 96_806_633_472),
    _segmenter("lraspp_mobilenetv3_small", {"size": "small"}, 483_776, 681_500_416, mgic=True),
    _segmenter("lraspp_mobilenetv3_large", {"size": "large"}, 1_647_198, 2_331_840_384, mgic=True),
    _segmenter("deeplabv3_resnet50", {"depth": 50}, 23_230_803, 58_992_885_760, mgic=True),
    _mgnet("mgnet", 20, 100_954, 50_209_408),
    _mgnet("mgnet", 18, 2_749_514, 653_896_192),
    _HEXU,
    _mgnet("mgiad", 20, 37_146, 20_613_760),
    _mgnet("mgiad", 18, 453_578, 246_813_184),
    Entry("vit_cifar", "vit", "torchmg.models.vit:vit", 2_675_146, 179_898_240, "vit", VIT2021, _VIT),
    Entry(
        "mgic_vit_cifar",
        "mgic",
        "torchmg.models.vit:mgic_vit",
        1_070_266,
        77_047_680,
        "mgic",
        MGIC2023,
        _VIT,
        dense="vit_cifar",
    ),
    _ghost_resnet("ghost_resnet56", "ghost_resnet_cifar", 56, 438_154, 65_286_784, 2, 32),
    _ghost_resnet("ghost_resnet50", "ghost_resnet_imagenet", 50, 13_953_512, 2_151_023_360, 2, 224),
    _ghost_resnet("ghost_resnet50_r4", "ghost_resnet_imagenet", 50, 8_151_752, 1_181_942_912, 4, 224),
    _rival("ghostnet_050", "ghostnet", 2_587_292, 42_328_152, width=0.5),
    _rival("ghostnet_100", "ghostnet", 5_182_508, 141_150_512, width=1.0),
    _rival("ghostnet_130", "ghostnet", 7_358_820, 227_003_256, width=1.3),
    _rival("shufflenetv2_050", "shufflenetv2", 1_366_792, 40_476_448, width=0.5),
    _rival("shufflenetv2_100", "shufflenetv2", 2_278_604, 144_907_992, width=1.0),
    _rival("shufflenetv2_150", "shufflenetv2", 3_503_624, 295_759_392, width=1.5),
    _rival("shufflenetv2_200", "shufflenetv2", 7_393_996, 583_253_464, width=2.0),
    _rival("mobilenetv2_060", "mobilenetv2", 2_217_000, 150_958_928, width=0.6),
    _rival("mobilenetv2_100", "mobilenetv2", 3_504_872, 300_774_272, width=1.0),
    _rival("mobilenetv3_large_075", "mobilenetv3", 3_993_528, 154_560_624, variant="large", width=0.75),
    _rival("efficientnet_b0", "efficientnet_b0", 5_288_548, 385_814_752),
    _cloud("dgcnn", "dgcnn", 63_882, 389_427_840, WANG2019),
    _cloud("mgic_dgcnn", "mgic", 37_482, 361_902_720, MGIC2023),
    _function("function_mobilenetv3", "mobilenet", 97_857, 93_664, MGIC2023),
    _function("function_ghost", "ghost", 52_721, 50_320, MGIC2023),
    _function("function_mgic", "mgic", 64_321, 57_312, MGIC2023),
    Entry(
        "mgic_transfers",
        "mgic",
        "torchmg.models.transfers:transfer_autoencoder",
        896,
        917_504,
        "mgic",
        MGIC2023,
        input=(64, 32, 32),
        task="regress",
    ),
    *PDE_ENTRIES,
)
"""Dense before multigrid, small before large."""
