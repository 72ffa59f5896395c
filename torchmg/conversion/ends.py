"""A network's first and last layers, which read its input and make its answer: they stay unless asked for."""

from collections.abc import Collection, Iterable, Sequence

from torch import nn

from torchmg.conversion.module_tree import Conv, ModuleTree
from torchmg.nn.layer_shape import Dense

FEW_CHANNELS = 4
"""Up to this many input channels (grey, colour, colour and depth) a convolution reads an image, not features."""

HEADS = frozenset(
    "fc head heads classifier aux_classifier aux1 aux2 auxlogits lm_head logits score segmentation_head last_linear"
    " head_dist qa_outputs cls_score bbox_pred cls_logits mask_fcn_logits kps_score_lowres".split()
)
"""Names under which libraries keep the layers that make a network's answer."""


def stems(tree: ModuleTree, layers: Sequence[tuple[str, Dense]], inner: Collection[int]) -> frozenset[int]:
    """Identities of the layers that read the input.

    These are the first layer in registration order, unless it belongs to a block, and every convolution of at most
    `FEW_CHANNELS` channels with a kernel wider than 1 (a gate may be as narrow). Patch embeddings of transformers and
    mixers are among them. Where an `nn.Embedding` comes first, that one reads the input, and the first layer does not.

    Args:
        tree: the whole network.
        layers: (name, layer) of the layers without groups, in registration order.
        inner: identities of layers of residual blocks. Such a block keeps its width, so it is no stem.
    """
    readers = (module for module in tree.modules.values() if isinstance(module, (nn.Embedding, nn.EmbeddingBag, Dense)))
    first = [id(next(readers, None))]
    narrow = [
        id(layer)
        for _, layer in layers
        if isinstance(layer, Conv) and layer.in_channels <= FEW_CHANNELS and max(layer.kernel_size) > 1
    ]
    return frozenset(first + narrow) - set(inner)


def heads(tree: ModuleTree, layers: Sequence[tuple[str, Dense]], inner: Collection[int]) -> frozenset[int]:
    """Identities of the layers that make the answer.

    These are the last layer in registration order, the last layer in whatever has one of the names `HEADS` (outside
    of numbered containers: an `fc` of the third block is none), and what a method `get_classifier` (timm) or
    `get_output_embeddings` (transformers) returns.

    Args:
        tree: the whole network.
        layers: as in `stems`.
        inner: as in `stems`.
    """
    last = {part: id(layer) for path, layer in layers for part in _named_heads(path)}
    found = {*last.values(), *(id(layer) for _, layer in layers[-1:])}
    for module in tree.modules.values():
        for answer in _declared(module):
            found |= {id(inner) for inner in answer.modules()}
    return frozenset(found) - set(inner)


def _named_heads(path: str) -> Iterable[str]:
    """The parts of a path down to a name in `HEADS`."""
    parts = path.split(".")
    for end, part in enumerate(parts):
        if part.isdigit():
            return
        if part.lower() in HEADS:
            yield ".".join(parts[: end + 1])


def _declared(module: nn.Module) -> list[nn.Module]:
    """The heads that a module names itself."""
    found: list[nn.Module] = []
    for method in ("get_classifier", "get_output_embeddings"):
        if callable(ask := getattr(module, method, None)):
            try:
                answer = ask()
            except Exception:  # A method of this name may be anything of the user's; then it declares nothing.
                continue
            answers = answer if isinstance(answer, (tuple, list)) else [answer]
            found += [each for each in answers if isinstance(each, nn.Module)]
    return found
