"""The recipes that are papers' settings."""

import pytest

import torchmg
from torchmg.errors import UsageError
from torchmg.train.recipe import recipe
from torchmg.train.schedule import learning_rate


def test_the_mgiad_papers_settings() -> None:
    for data in ("cifar10", "cifar100", "fashion_mnist"):
        made = recipe(f"mgiad_{data}_mgiad18")
        assert (made.data, made.model, made.epochs, made.batch_size) == (data, "mgiad18", 400, 128)
        assert (made.lr, made.momentum, made.weight_decay) == (0.05, 0.9, 1e-4)
    assert recipe("mgiad_cifar10").augment == "autoaugment"
    rates = [learning_rate(recipe("mgiad_fashion_mnist"), epoch, 1) for epoch in (0, 24, 25, 49, 50, 399)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.05 * 0.1**15])


def test_the_settings_of_ruthotto_and_haber() -> None:
    falls = {"cifar10": 14, "cifar100": 15, "stl10": 14}
    for data, times in falls.items():
        made = recipe(f"pde_{data}_hamiltonian")
        assert (made.batch_size, made.momentum, made.nesterov, made.limit) == (32, 0.9, False, 1.0)
        rates = [learning_rate(made, epoch, 1) for epoch in (0, 39, 40, made.epochs - 1)]
        assert rates == pytest.approx([0.05, 0.05, 0.05 / 1.5, 0.05 / 1.5**times])
    assert [recipe(f"pde_{data}").epochs for data in falls] == [180, 340, 180]
    with pytest.raises(UsageError, match="Use cifar100_resnet20"):
        recipe("pde_cifar100_resnet20")
    parameters = {"cifar10": 502_570, "cifar100": 652_484, "stl10": 618_554}
    for data, number in parameters.items():
        made = recipe(f"pde_{data}")
        classes = 100 if data == "cifar100" else 10
        model = torchmg.create(made.model, num_classes=classes, **made.options.given())
        assert sum(p.numel() for p in model.parameters()) == number
    assert [recipe(f"pde_{data}").weight_decay for data in falls] == [2e-4, 2e-4, 4e-4]
    assert [recipe(f"pde_{data}").time_smoothness for data in falls] == [2e-4, 2e-4, 1e-4]
