"""A user's `file.py:factory`, and everything that can be wrong with it."""

from pathlib import Path

import pytest
from helpers import write
from torch import nn

import torchmg
from torchmg.errors import TorchmgError, UnknownNameError, UsageError
from torchmg.models.user import build

GOOD = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Settings:
    width: int = 8

def make_net(width: int = Settings().width, num_classes: int = 10):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.LazyLinear(num_classes))

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 4)

def _hidden():
    return nn.Identity()

not_a_factory = 3
"""


def test_a_factory_is_called_with_the_options(tmp_path: Path) -> None:
    file = write(tmp_path / "my_net.py", GOOD)
    assert build(f"{file}:make_net")[0].out_channels == 8
    assert build(f"{file}:make_net", width=5)[0].out_channels == 5
    assert isinstance(build(f"{file}:Net"), nn.Linear)


def test_a_name_without_a_file_is_of_the_catalogue() -> None:
    model = build("mgic_resnet20", num_classes=3, width=0.5)
    assert model.head.out_features == 3
    with pytest.raises(UnknownNameError, match="Unknown model 'mgic_resnet21'"):
        build("mgic_resnet21")


def test_a_users_model_is_counted(tmp_path: Path) -> None:
    file = write(
        tmp_path / "net.py",
        "from torch import nn\nimport torchmg\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), torchmg.nn.MGICBlock(32))\n",
    )
    counted = torchmg.count(build(f"{file}:net"), (3, 6, 6))
    block = torchmg.Hierarchy(32).costs()
    assert counted.parameters == 3 * 32 * 9 + sum(cost.total.parameters for cost in block)
    assert counted.macs == 16 * (3 * 32 * 9 + sum(cost.total.weights for cost in block))
    assert {label for label, *_ in counted.by("role")} == {"other", "relax", "coarsest", "restrict", "prolong"}


@pytest.mark.parametrize(
    ("text", "factory", "error", "words"),
    [
        (GOOD, "make_nett", UnknownNameError, ["no callable 'make_nett'", "Did you mean make_net"]),
        (GOOD, "not_a_factory", UnknownNameError, ["no callable 'not_a_factory'"]),
        (GOOD, "", UnknownNameError, ["no callable ''"]),
        ("", "net", UnknownNameError, ["no callable 'net'"]),
        ("def net():\n    raise KeyError('deep')", "net", UsageError, ["net() in", "failed", "KeyError", "deep"]),
        ("def net(width):\n    return None", "net", UsageError, ["net() in", "TypeError", "width"]),
        ("def net():\n    return 42", "net", UsageError, ["net() in", "returned int", "torch.nn.Module"]),
        ("from torch import nn\ndef net():\n    return nn.ReLU", "net", UsageError, ["returned type"]),
        ("def net(:\n", "net", UsageError, ["cannot be run", "SyntaxError", "line 1"]),
        ("import no_such_package_at_all", "net", UsageError, ["cannot be run", "no_such_package_at_all"]),
        ("1 / 0", "net", UsageError, ["cannot be run", "ZeroDivisionError"]),
        (
            "import torchmg\ndef net():\n    return torchmg.create('resnet21')",
            "net",
            TorchmgError,
            ["Unknown model 'resnet21'"],
        ),
    ],
)
def test_bad_files_and_factories(
    tmp_path: Path, text: str, factory: str, error: type[Exception], words: list[str]
) -> None:
    file = write(tmp_path / "my_net.py", text)
    with pytest.raises(error) as caught:
        build(f"{file}:{factory}")
    assert "my_net.py" in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(f"{tmp_path}/absent.py:net")
    assert "no file" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "file.py:factory" in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError, match="no file"):
        build(f"{tmp_path}/folder.py:net")


def test_an_unknown_option_of_a_factory_is_explained(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", GOOD)
    with pytest.raises(UsageError, match=r"make_net\(\) in .*net\.py failed: TypeError: .*depth"):
        build(f"{file}:make_net", depth=3)
