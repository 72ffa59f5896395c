"""Arguments that name and change a model, shared by the commands that build one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from torchmg.models.options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


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

    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ModelOptions)

    def given(self) -> dict[str, Any]:
        """Only the options that were set."""
        return super().given() | self.options.given()
