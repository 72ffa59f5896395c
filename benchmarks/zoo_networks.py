"""The networks of `convert_zoo.py`: names, options that make them small without changing their kind, and inputs."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Network:
    """One network of the table.

    Attributes:
        spec: as `torchmg.models.user.build` takes it.
        input: one sample, (channels, *spatial).
        options: of the library's own function.
        batch: samples; 1 where a network only takes large ones.
    """

    spec: str
    input: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 2


def _pictures(size: int, *specs: str, **options: Any) -> list[Network]:
    return [Network(spec, (3, size, size), options) for spec in specs]


def _of(library: str, names: str) -> list[str]:
    return [f"{library}:{name}" for name in names.split()]


NETWORKS: tuple[Network, ...] = (
    *_pictures(64, "examples/unet.py:unet"),
    *_pictures(
        64,
        *_of("torchvision", "resnet18 resnet50 resnext50_32x4d alexnet squeezenet1_1"),
    ),
    *_pictures(64, "torchvision:googlenet", aux_logits=False, init_weights=False),
    *_pictures(96, "torchvision:inception_v3", aux_logits=False, init_weights=False),
    *_pictures(
        64,
        *_of("torchvision", "densenet121 regnet_x_1_6gf regnet_y_1_6gf"),
        *_of("torchvision", "efficientnet_b0 mobilenet_v2 mobilenet_v3_small"),
        *_of("torchvision", "mnasnet1_0 shufflenet_v2_x1_0 convnext_tiny swin_t swin_v2_t"),
    ),
    *_pictures(64, "torchvision:vit_b_16", image_size=64),
    *_pictures(
        64,
        *_of("timm", "convnext_tiny poolformer_s12 resnet50d seresnet50 ecaresnet26t"),
        *_of("timm", "dla34 res2net50_26w_4s repvgg_a0 cspresnet50 nfnet_l0 edgenext_small"),
    ),
    *_pictures(
        64,
        *_of("timm", "vit_small_patch16_224 deit_small_patch16_224 deit3_small_patch16_224 beit_base_patch16_224"),
        *_of("timm", "resmlp_12_224 swin_tiny_patch4_window7_224 coat_lite_tiny"),
        *_of("timm", "coatnet_nano_rw_224"),
        img_size=64,
    ),
    *_pictures(128, "timm:swinv2_tiny_window8_256", img_size=128),
    *_pictures(224, "timm:mixer_s16_224", "timm:efficientformer_l1"),
    *_pictures(
        64,
        *_of("torchvision", "fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large"),
        *_of("torchvision", "lraspp_mobilenet_v3_large"),
    ),
    *(Network(spec, (3, 4, 64, 64)) for spec in _of("torchvision", "r3d_18 mc3_18 r2plus1d_18 swin3d_t")),
    # The ones that take longest.
    *_pictures(64, *_of("timm", "resnetrs50 hrnet_w18_small efficientnet_b0")),
    *_pictures(64, "timm:maxvit_tiny_rw_224", img_size=64),
    *_pictures(64, *_of("torchvision", "mobilenet_v3_large efficientnet_v2_s")),
    *_pictures(64, *_of("torchvision", "wide_resnet50_2 vgg11_bn resnet152 densenet201 vgg16")),
    *_pictures(224, "torchvision:maxvit_t"),
    Network("torchvision:mvit_v2_s", (3, 16, 224, 224), batch=1),
)
