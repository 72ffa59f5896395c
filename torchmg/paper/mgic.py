"""The tables of Eliasof, Ephrath, Ruthotto, Treister, "MGIC", SIAM J. Sci. Comput. 2023, as data. No torch.

Rows of other papers' networks, for which torchmg has no builder, are left out, but for the dense baselines of what it
has. Where the configuration in the text does not give the printed parameters, ours is the preset that comes nearest,
and the row says so. MACs are what the paper calls FLOPs.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from torchmg.hierarchy import Hierarchy
from torchmg.models.options import ModelOptions, Preset
from torchmg.paper.rows import Accuracy, Network, PaperTable, Printed, Row

CIFAR: Mapping[str, Any] = MappingProxyType({"momentum": 0.9, "weight_decay": 1e-4})
"""What is known of the training: batch sizes, rates and epochs are not available to us."""


def _millions(text: str) -> Printed:
    """`0.53M`, `91M`, `1.6G`: one in the last printed digit."""
    decimals = len(text.rstrip("MG").partition(".")[2])
    return Printed(text, 10 ** ({"M": 6, "G": 9}[text[-1]] - decimals))


def _transfers(group_size: int, printed: str, unit: int, mse: str) -> Row:
    ours = Hierarchy(64, group_size=group_size, coarsest=8)
    return Row(f"s_g={group_size}", Printed(printed, unit), ours, note=f"Mean squared error as printed: {mse}.")


def _resnet56(
    coarsest: int, group_size: int, parameters: str, macs: str, preset: Preset, ours_coarsest: int | None, **more: Any
) -> Row:
    options = ModelOptions(preset=preset, group_size=group_size, coarsest=ours_coarsest)
    network = Network("mgic_resnet56", "cifar10", options)
    label = f"MGIC-ResNet-56, s_c={coarsest}, s_g={group_size}"
    return Row(label, _millions(parameters), network, macs=_millions(macs), **more)


def _resnet50(group_size: int, parameters: str, macs: str, top1: str, preset: Preset, note: str) -> Row:
    options = ModelOptions(preset=preset, group_size=group_size, coarsest=64)
    ours, accuracy = Network("mgic_resnet50", "imagenet", options), Accuracy(Decimal(top1))
    label = f"MGIC-ResNet-50, s_c=64, s_g={group_size}"
    return Row(label, _millions(parameters), ours, accuracy, _millions(macs), note=note)


def _published(label: str, parameters: str, macs: str | None = None, top1: str | None = None, **more: Any) -> Row:
    accuracy = None if top1 is None else Accuracy(Decimal(top1))
    return Row(label, _millions(parameters), None, accuracy, None if macs is None else _millions(macs), **more)


CODE = "With the stop and group rules of the authors' published code (--preset reference_code)."
FITTED = "With at least one coarsening in every block (--preset table5), rules that were chosen to fit this table."
MACS = (
    "No configuration known to us, nor the authors' published code, has both the printed parameters and MACs of MGIC."
)
TWO_LEVEL = "Printed with s_c=16; a single coarsening in every block (--preset two_level) comes nearest."

_MGIC = _resnet56(16, 8, "0.41M", "60M", "two_level", None, accuracy=Accuracy(Decimal("94.2")), departs=TWO_LEVEL)

TABLE_1 = PaperTable(
    "mgic-1",
    "MGIC, Table 1",
    "Transfers alone: 64 channels coded in 8 and back",
    (
        _transfers(32, "3,300", 100, "0.011"),
        _transfers(16, "1,800", 100, "0.013"),
        _transfers(8, "900", 10, "0.017"),
        _transfers(4, "450", 10, "0.024"),
    ),
    note="Sums over the widths 64, 32, 16 of width x min(s_g, width).",
)

TABLE_3 = PaperTable(
    "mgic-3",
    "MGIC, Table 3",
    "ResNet-56 on CIFAR-10",
    (
        Row(
            "ResNet-56",
            _millions("0.85M"),
            Network("resnet56", "cifar10"),
            Accuracy(Decimal("93.0")),
            _millions("125M"),
        ),
        _MGIC,
    ),
    CIFAR,
    note=MACS,
)

TABLE_5 = PaperTable(
    "mgic-5",
    "MGIC, Table 5",
    "MGIC-ResNet-50 on ImageNet",
    (
        Row("ResNet-50", _millions("25.6M"), Network("resnet50", "imagenet"), None, _millions("4.1G")),
        _resnet50(
            16,
            *("6.2M", "1.0G", "74.3", "table5"),
            note=f"{FITTED} The text gives 6.24M, which rounds to the printed number too, the authors' code 5.96M.",
        ),
        _resnet50(
            32, *("9.4M", "1.6G", "75.8", "reference_code"), note=f"{CODE} --preset table5 gives 9.20M, the text 9.15M."
        ),
        _resnet50(
            64, *("15.1M", "2.5G", "77.9", "table5"), note=f"{FITTED} The text gives 14.96M, the authors' code 16.30M."
        ),
    ),
    note=f"{MACS} Each row stands beside the preset whose parameters come nearest, and names what the others give; no "
    "preset has all three rows, --preset table5 all within 2.2 %, and their MACs within 8 % "
    "when the transfers' are left out (1.04G, 1.47G, 2.33G). Sizes are measured on the middle of the bottlenecks, "
    "and the order of s_g is inferred from the parameters. The accuracy of the dense ResNet-50 is not available to us.",
)

TABLE_7 = PaperTable(
    "mgic-7",
    "MGIC, Table 7",
    "MGIC-MobileNetV3 on ImageNet",
    (
        _published("MGIC-MobileNetV3 0.6x", "2.3M", "48M", "67.0", note="45M MACs as printed without h-swish."),
        _published("MGIC-MobileNetV3 1.0x", "5.2M", "145M", "74.8", note="138M MACs as printed without h-swish."),
        _published("MGIC-MobileNetV3 1.2x", "7.1M", "233M", "76.1", note="217M MACs as printed without h-swish."),
    ),
)

TABLE_8 = PaperTable(
    "mgic-8",
    "MGIC, Table 8",
    "not available",
    (),
    note="The printed values of this table are not available to us.",
)

TABLE_9 = PaperTable(
    "mgic-9",
    "MGIC, Table 9",
    "Segmentation of Cityscapes",
    (
        _published("MobileNetV3-Small", "0.47M", "2.90G"),
        _published("MGIC-MobileNetV3-Small", "0.48M", "2.73G"),
        _published("MobileNetV3-Large", "1.51M", "9.74G"),
        _published("MGIC-MobileNetV3-Large, the larger", "1.67M", "9.62G"),
        _published("MGIC-MobileNetV3-Large, the smaller", "1.32M", "8.87G"),
    ),
    note="The printed accuracies and the sizes s_c, s_g are not available to us.",
)

TABLE_12 = PaperTable(
    "mgic-12",
    "MGIC, Table 12",
    "MGIC-ResNet-56 on CIFAR-10: width of full coupling and group size",
    (
        _resnet56(64, 16, "0.53M", "91M", "reference_code", 64, note=CODE),
        _resnet56(32, 16, "0.50M", "76M", "reference_code", 32, note=CODE),
        _resnet56(
            16,
            16,
            "0.47M",
            "65M",
            "paper",
            None,
            note="Printed twice with different counts; the rules of the text come nearest to this one, but do not "
            "give the other rows of its sweep.",
        ),
        _resnet56(16, 32, "0.79M", "100M", "two_level", None, departs=TWO_LEVEL),
        _resnet56(16, 16, "0.53M", "85M", "reference_code", 16, note=f"The second row of these sizes. {CODE}"),
        replace(_MGIC, repeats="mgic-3"),
        _resnet56(16, 4, "0.29M", "45M", "two_level", None, departs=TWO_LEVEL),
    ),
    CIFAR,
    note=f"{MACS} The four pairs at s_c=16, s_g=32 to 4 are not the rounded counts of one network: "
    "published parameters grow evenly from s_g=8 to 32 while published MACs level off. Other accuracies are not "
    "available to us.",
)

TABLE_13 = PaperTable(
    "mgic-13",
    "MGIC, Table 13",
    "MGIC-MobileNetV3 on ImageNet: width of full coupling and group size",
    tuple(
        _published(f"MGIC-MobileNetV3, s_c={coarsest}, s_g={group_size}", parameters)
        for coarsest, group_size, parameters in (
            (64, 2, "4.2M"),
            (64, 4, "4.2M"),
            (64, 8, "4.3M"),
            (64, 16, "4.5M"),
            (64, 32, "4.8M"),
            (64, 64, "5.2M"),
            (2, 2, "4.2M"),
            (4, 4, "4.2M"),
            (8, 8, "4.3M"),
            (16, 16, "4.5M"),
            (32, 32, "4.9M"),
        )
    ),
    note="The printed accuracies and MACs are not available to us.",
)

TABLES = (TABLE_1, TABLE_3, TABLE_5, TABLE_7, TABLE_8, TABLE_9, TABLE_12, TABLE_13)
