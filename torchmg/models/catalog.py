"""Every model by name, as data: what it is, where it comes from, and what it costs. No torch.

Counts are those of the default options at the listed input size; a test builds every model and compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

from torchmg.errors import UnknownNameError, did_you_mean

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

Task = Literal["classify", "segment", "points", "regress"]
"""What a model computes and a data set asks for: the class of an image, of every pixel, of a cloud; or numbers."""


@dataclass(frozen=True)
class Entry:
    """One named model."""

    name: str
    family: str
    """Models of one family share a colour in plots: `resnet`, `mgic`, `mgnet`, `mgiad` or `vit`."""
    builder: str
    """`module:function` that builds it."""
    parameters: int
    """Unique trainable parameters with default options."""
    macs: int
    """Multiply-accumulates of one forward pass for one sample of `input`."""
    paper: str
    """Short name of the paper that defines it."""
    citation: str
    fixed: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments of the builder that the name stands for."""
    input: tuple[int, ...] = (3, 32, 32)
    """(channels, height, width) or (channels, points) that the counts are for; any other size works too."""
    dense: str | None = None
    """The dense model of the same depth, which comparisons are made against."""
    task: Task = "classify"


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
    fixed = MappingProxyType({"size": size, "stem_stride": 1 if cifar else 2})
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
    4_602_989_056,
    "mgnet",
    HEXU2019,
    dense="resnet18_cifar",
)

_VIT = MappingProxyType({"depth": 6})


MODELS: Mapping[str, Entry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _resnet(20, 269_722, 40_551_040),
            _resnet(32, 464_154, 68_862_592),
            _resnet(44, 658_586, 97_174_144),
            _resnet(56, 853_018, 125_485_696),
            _resnet(110, 1_727_962, 252_887_680),
            _resnet(18, 11_173_962, 555_422_720, "resnet18_cifar"),
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
            _mgnet("mgnet", 20, 100_954, 52_568_704),
            _mgnet("mgnet", 18, 2_749_514, 691_644_928),
            _HEXU,
            _mgnet("mgiad", 20, 37_146, 22_973_056),
            _mgnet("mgiad", 18, 453_578, 284_561_920),
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
        )
    }
)
"""Name -> entry, dense before multigrid, small before large."""


DEFAULT_COMPARISON = ("resnet20", "mgic_resnet20", "mgiad20")
"""What `compare` trains when no models are named."""


def find(name: str) -> Entry:
    """The entry called `name`; raises `UnknownNameError` with the nearest names."""
    if name in MODELS:
        return MODELS[name]
    raise UnknownNameError(
        f"Unknown model '{name}'.{did_you_mean(name, MODELS)} (torchmg list shows all {len(MODELS)})"
    )


def select(pattern: str = "*") -> list[Entry]:
    """Entries whose name matches a shell pattern such as `mgic_*`; raises when none does."""
    matching = [entry for name, entry in MODELS.items() if fnmatchcase(name, pattern)]
    if not matching:
        raise UnknownNameError(f"No model matches '{pattern}'.{did_you_mean(pattern.strip('*'), MODELS)}")
    return matching
