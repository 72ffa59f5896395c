"""Numbers of networks motivated by differential equations, as data: Ruthotto and Haber's, and IMEXnet's. No torch.

Ruthotto and Haber, "Deep Neural Networks Motivated by Partial Differential Equations", J. Math. Imaging Vis. 2020,
arXiv 1804.04272: three networks on three data sets, a table here for each set (the numbers of the paper's tables are
not known to us). Their weights and accuracies are remembered [R], not read again; the weights also follow from the
widths in the authors' public drivers [D] (lowcost spec 3.3), and our models have them to the last one.

IMEXnet (Haber, Lensink, Treister, Ruthotto, 2019, arXiv 1903.02639): its tables were not found. The two numbers here
are what its released script counts as weights of convolutions [D from F] (lowcost spec 2.8).
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from torchmg.models.options import ModelOptions, PDEPreset
from torchmg.paper.rows import Accuracy, Network, PaperTable, Printed, Row

DRIVERS: Mapping[str, Any] = MappingProxyType(
    {
        "batch_size": 32,
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "schedule": "step",
        "gamma": 2 / 3,
        "decay": "weights",
        "weight_decay": 2e-4,
        "time_smoothness": 2e-4,
        "limit": 1.0,
    }
)
"""What the drivers for CIFAR have in common (lowcost spec 3.2 [F])."""

REMEMBERED = (
    "Nothing here was read in the paper. Accuracies are remembered: take them as indications. The weights are "
    "remembered too, and follow from the widths in the authors' public drivers."
)
COUNTED = (
    "No table of the paper was found. These are the weights of convolutions by the rule of the released script, worked "
    "out by us. It leaves out norms and classifier, and 9 x 256 weights of diffusion: as many as the "
    "last of nine steps has."
)


def _weights(count: int) -> Printed:
    """A number of weights known to the last one."""
    return Printed(f"{count:,}", 1)


def _table(
    data: PDEPreset, title: str, epochs: int, every: int, rows: Mapping[str, tuple[int, str]], **training: Any
) -> PaperTable:
    """`rows`: model -> weights, test accuracy; `every`: epochs from one fall of the rate to the next, from 40 on."""
    preset = None if data == "cifar10" else data
    return PaperTable(
        f"pde-{data}",
        "PDE, Ruthotto and Haber",
        title,
        tuple(
            Row(
                model.replace("_", " "),
                _weights(count),
                Network(model, data, ModelOptions(preset=preset)),
                Accuracy(Decimal(test)),
            )
            for model, (count, test) in rows.items()
        ),
        MappingProxyType({**DRIVERS, "epochs": epochs, "milestones": tuple(range(40, epochs, every)), **training}),
        REMEMBERED,
    )


CIFAR10 = _table(
    "cifar10",
    "Three networks on CIFAR-10",
    180,
    10,
    {"parabolic": (502_570, "88.5"), "hamiltonian": (264_106, "89.3"), "second_order": (502_570, "89.2")},
)
CIFAR100 = _table(
    "cifar100",
    "Three networks on CIFAR-100",
    340,
    20,
    {"parabolic": (652_484, "64.8"), "hamiltonian": (362_180, "64.9"), "second_order": (652_484, "65.4")},
)
STL10 = _table(
    "stl10",
    "Three networks on STL-10",
    180,
    10,
    {"parabolic": (618_554, "77.0"), "hamiltonian": (324_794, "78.3"), "second_order": (618_554, "74.3")},
    weight_decay=4e-4,
    time_smoothness=1e-4,
)

IMEXNET = PaperTable(
    "imexnet-code",
    "IMEXnet, released code",
    "Weights of the convolutions, pictures of one channel",
    tuple(
        Row(
            label,
            _weights(count),
            Network(model, "qtips", ModelOptions(released=True)),
            terms=("left out by the rule of the released code",),
        )
        for label, count, model in (
            ("ResNet, the baseline", 2_691_648, "imexnet_explicit"),
            ("IMEXnet", 2_701_440, "imexnet"),
        )
    ),
    MappingProxyType({"epochs": 100, "batch_size": 8, "lr": 1e-3, "momentum": 0.0}),
    COUNTED,
)

TABLES = (CIFAR10, CIFAR100, STL10, IMEXNET)
