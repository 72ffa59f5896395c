"""Arguments that name and change a model, shared by the commands that build one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from torchmg.models.options import ModelOptions

if TYPE_CHECKING:
    from torch import nn

    from torchmg.models.shipped import Shipped


@dataclass(frozen=True)
class NamedModel:
    """A model by name, with the sizes that every model has."""

    model: Annotated[str, tyro.conf.Positional]
    """A name that `torchmg list` shows, timm:NAME, torchvision:NAME, path/to/file.py:factory, or archive:FOLDER of a
    saved network."""
    num_classes: int | None = None
    """Classes of the head (default: the model's own)."""
    in_channels: int | None = None
    """Channels of the images (default: the model's own)."""

    def given(self) -> dict[str, Any]:
        """Only what was set, as keyword arguments for whatever builds the model."""
        sizes = {"num_classes": self.num_classes, "in_channels": self.in_channels}
        return {key: value for key, value in sizes.items() if value is not None}

    def check_name(self) -> None:
        """Reject an unknown name of the catalogue before torch is imported."""
        from torchmg.models.catalog import find
        from torchmg.models.libraries import is_outside

        if not is_outside(self.model):
            find(self.model)

    def default_input(self, model: "nn.Module") -> tuple[int, ...]:
        """Shape of one sample of the built model: what it or the catalogue says, with the channels asked for."""
        from torchmg.conversion.archive import read_about
        from torchmg.models.libraries import ARCHIVE, INPUT, library_of
        from torchmg.models.outside import input_of

        spec, channels = self.model, self.in_channels
        if spec.startswith(ARCHIVE):
            about = read_about(spec.removeprefix(ARCHIVE))
            spec, channels = about.base or "", about.options.get("in_channels")
        shape = input_of(model, spec) or (INPUT if library_of(spec) else (3, 32, 32))
        return (channels or shape[0], *shape[1:])


@dataclass(frozen=True)
class ModelArguments(NamedModel):
    """A model."""

    weights: str | None = None
    """Trained weights instead of random ones: of a model of the catalogue the name of some that ship with torchmg
    (torchmg list) or a safetensors file; of torchvision's a name such as DEFAULT."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)

    def given(self) -> dict[str, Any]:
        """Only the options that were set."""
        weights = {} if self.weights is None else {"weights": self.weights}
        return super().given() | weights | self.options.given()

    def shipped(self) -> "Shipped | None":
        """The weights that ship with torchmg, where these are asked for; raises as `torchmg.models.shipped.find`."""
        from torchmg.models.catalog import MODELS
        from torchmg.models.shipped import ENDING, find

        if self.weights is None or self.model not in MODELS or self.weights.endswith(ENDING):
            return None
        return find(self.model, self.weights)

    def beside(self, other: str) -> NamedModel:
        """Another model, of the same classes and channels."""
        weights = self.shipped()
        own = weights.options if weights else {}
        classes, channels = own.get("num_classes", self.num_classes), own.get("in_channels", self.in_channels)
        return NamedModel(other, classes, channels)

    def check_name(self) -> None:
        """Reject an unknown name, of the model or of weights, before torch is imported."""
        super().check_name()
        self.shipped()

    def default_input(self, model: "nn.Module") -> tuple[int, ...]:
        """Shape of one sample of the built model: that which its weights were trained on, or as for `NamedModel`."""
        weights = self.shipped()
        return weights.input if weights else super().default_input(model)
