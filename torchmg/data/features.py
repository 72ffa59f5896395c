"""Feature maps as a data set: taken from a network, kept in one file, and given back by a model that codes them.

The MGIC paper measures its transfers on the feature maps of a pre-trained ResNet-50's first convolution (Table 1,
Fig. 3). Inputs and targets are the same tensor.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from torchmg.data.arrays import ArrayPreparation, plain_numbers
from torchmg.data.files import DEFAULT_DIR
from torchmg.errors import DataError, ShapeError, TorchmgError, UnknownNameError, UsageError, did_you_mean

FILE = Path("features") / "features.safetensors"
"""Where `load_features` looks in the data directory."""
STORED = (torch.float16, torch.float32)
"""Types of the tensors in the file; half as many bytes, or all digits."""


@dataclass(frozen=True, eq=False)
class FeatureSplit:
    """Feature maps that are to come back as they are.

    Raises:
        ShapeError: features that are not (N, C, H, W), or none.
        UsageError: features that are not float32.
    """

    inputs: Tensor
    """float32 (N, C, H, W)."""

    def __post_init__(self) -> None:
        _check_shape(self.inputs)
        if self.inputs.dtype != torch.float32:
            raise UsageError(f"Expected float32 features; got {self.inputs.dtype}. Use features.float().")

    @property
    def targets(self) -> Tensor:
        """`inputs`, the same tensor."""
        return self.inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of the samples `chosen`, int64 (B,): the same tensor twice; `rows` change nothing."""
        inputs = self.inputs[chosen]
        return inputs, inputs


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Feature maps for training and for testing.

    Raises:
        ShapeError: test features of another shape than the training features.
    """

    task: ClassVar[str] = "regress"

    train: FeatureSplit
    test: FeatureSplit
    name: str = "features"
    classes: tuple[str, ...] = ()
    """None: nothing is classified."""

    def __post_init__(self) -> None:
        _check_alike(self.train.inputs, self.test.inputs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one sample."""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many channels a model gives back: all of them."""
        return self.shape[0]

    def preparation(self, augment: str = "none") -> ArrayPreparation:
        """Nothing is done to numbers; raises `UsageError` for any augmentation but "none"."""
        return plain_numbers(self.name, augment)

    def hashes(self) -> dict[str, str]:
        """Sha256 of both splits as contiguous little-endian float32: what a record says it was trained on."""
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {"train_features": _sha256(self.train.inputs), "test_features": _sha256(self.test.inputs)}


class _Reached(Exception):  # noqa: N818
    """Ends a forward pass that has shown what was wanted."""


@torch.no_grad()
def extract_features(model: nn.Module, images: Tensor, layer: str = "stem", *, batch_size: int = 64) -> Tensor:
    """Feature maps after one layer of a network in evaluation mode, on the CPU: (N, channels, H', W').

    The network runs no further than to that layer, without gradients, and is left as it was.

    Args:
        model: any network that takes images; where its parameters are is where it runs.
        images: float (N, C, H, W), normalised as the network wants them.
        layer: dotted path of a submodule, as in `named_modules`. The stem of torchmg's networks is the first
            convolution, norm and activation, and in ImageNet's ResNets the pooling behind them; the features without
            pooling are those of `stem.act`, of torchvision's `relu`.
        batch_size: images at a time; more need more memory.

    Raises:
        UnknownNameError: no such layer; the message names the nearest.
        UsageError: a batch size below 1, or a network that does not use the layer.
        ShapeError: images of another shape or type, or a layer that gives no feature maps.
    """
    layers = dict(model.named_modules())
    if not layer or layer not in layers:
        raise UnknownNameError(f"The network has no layer '{layer}'.{did_you_mean(layer, filter(None, layers))}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"batch_size must be a whole number, at least 1; got {batch_size!r}.")
    if images.dim() != 4 or not images.numel() or not images.is_floating_point():
        raise ShapeError(f"Expected images (N, C, H, W) in floating point; got {tuple(images.shape)} {images.dtype}.")
    device = next((p.device for p in model.parameters()), images.device)
    modes = {module: module.training for module in model.modules()}
    found: list[Any] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found.append(output)
        raise _Reached

    hook = layers[layer].register_forward_hook(keep)
    try:
        model.eval()
        return torch.cat([_features(model, batch.to(device), found, layer) for batch in images.split(batch_size)])
    finally:
        hook.remove()
        for module, mode in modes.items():
            module.training = mode


def _features(model: nn.Module, batch: Tensor, found: list[Any], layer: str) -> Tensor:
    try:
        model(batch)
    except _Reached:
        pass
    except TorchmgError:
        raise
    except Exception as error:
        raise ShapeError(f"The network does not run on images {tuple(batch.shape)}: {error}") from error
    if not found:
        raise UsageError(f"The network does not use its layer '{layer}' on these images; name another one.")
    features = found.pop()
    if not isinstance(features, Tensor) or features.dim() != 4 or len(features) != len(batch):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ShapeError(f"The layer '{layer}' gives {got}, not feature maps (N, C, H, W); name another one.")
    return features.cpu()


def save_features(path: str | Path, train: Tensor, test: Tensor) -> Path:
    """Write feature maps for `load_features`, with their digests; an earlier file is replaced at once or not at all.

    Args:
        path: the file; `load_features(data_dir)` reads `data_dir / FILE`.
        train: float16 or float32 (N, C, H, W).
        test: of as many channels and of the same resolution.

    Returns:
        The path.

    Raises:
        ShapeError: no feature maps, or two kinds of them.
        UsageError: another type, values that are not finite, or a file that cannot be written.
    """
    path = Path(path).expanduser()
    tensors = {"train": train.detach().cpu().contiguous(), "test": test.detach().cpu().contiguous()}
    for name, tensor in tensors.items():
        _check_shape(tensor)
        if tensor.dtype not in STORED:
            raise UsageError(f"Features are stored in float16 or float32; {name} is {tensor.dtype}.")
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"{name} holds values that are not finite; float16 ends at 65504.")
    _check_alike(train, test)
    digests = {name: _sha256(tensor.float()) for name, tensor in tensors.items()}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, unfinished, digests)
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error}") from error
    return path


def load_features(data_dir: str | Path | None = None) -> FeatureSet:
    """The feature maps that `save_features` wrote to `data_dir / FILE`, whole in memory, as float32.

    Args:
        data_dir: `./data` when None.

    Raises:
        DataError: the file is missing, damaged, or holds anything but finite feature maps of one shape.
    """
    path = (Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser() / FILE).absolute()
    if not path.is_file():  # opening a pipe would wait for somebody to write into it
        what = "is not a regular file" if os.path.lexists(path) else "does not exist"
        raise DataError(
            f"Features: {path} {what}. Take feature maps from a network with extract_features and write them there "
            "with save_features (torchmg.data.features), or name the folder that holds features with --data-dir."
        )
    try:
        with safe_open(str(path), "pt") as file:
            digests = file.metadata() or {}
            train, test = (_read(path, file, name, digests) for name in ("train", "test"))
    except (SafetensorError, OSError) as error:
        raise _damaged(path, f"is damaged or no safetensors file ({error})") from error
    try:
        return FeatureSet(train, test)
    except ShapeError as error:
        raise _damaged(path, f"holds two kinds of features: {error}") from error


def _read(path: Path, file: Any, name: str, digests: dict[str, str]) -> FeatureSplit:
    if name not in file.keys():  # noqa: SIM118 (not a dictionary)
        raise _damaged(path, f"has no tensor '{name}', only {', '.join(sorted(file.keys())) or 'nothing'}")
    stored: Tensor = file.get_tensor(name)
    if stored.dtype not in STORED:
        raise _damaged(path, f"holds {name} as {stored.dtype}, not as float16 or float32")
    # a copy: what is read belongs to the file, which somebody may cut short
    features = stored.to(torch.float32, copy=True)
    try:
        split = FeatureSplit(features)
    except ShapeError as error:
        raise _damaged(path, f"holds no feature maps as {name}: {error}") from error
    if not bool(features.isfinite().all()):
        raise _damaged(path, f"holds values in {name} that are not finite")
    if digests.get(name, "") not in ("", _sha256(features)):
        raise _damaged(path, f"is damaged: {name} is not what its sha256 says")
    return split


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"Features: {path} {what}. Move it away and write it again with save_features.")


def _check_shape(features: Tensor) -> None:
    if features.dim() != 4 or not features.numel():
        raise ShapeError(f"Expected features (N, C, H, W), at least one; got {tuple(features.shape)}.")


def _check_alike(train: Tensor, test: Tensor) -> None:
    ours, other = tuple(train.shape[1:]), tuple(test.shape[1:])
    if ours != other:
        raise ShapeError(f"Training features are (C, H, W) = {ours}, test features {other}; they must agree.")


def _sha256(features: Tensor) -> str:
    return hashlib.sha256(features.cpu().contiguous().numpy().astype("<f4", copy=False).data).hexdigest()
