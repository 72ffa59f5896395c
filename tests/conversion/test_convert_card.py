"""Cards of archives say what they were given, and nothing else."""

import json
from typing import Any

from torchmg.conversion.card import Costs, model_card


def header(card: str) -> dict[str, Any]:
    """The card's YAML, whose values are JSON."""
    _, head, _ = card.split("---\n", 2)
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in head.splitlines())}


def test_a_card_has_what_is_given() -> None:
    card = model_card(
        'Net: a "converted" one',
        repo="me/net",
        license="apache-2.0",
        base="timm:resnet50",
        base_model="timm/resnet50.a1_in1k",
        what="16 convolutions became multigrid ones.",
        parameters=Costs(25_557_032, 9_149_480),
        macs=Costs(4_089_184_256, 2_139_043_840),
        input=(3, 224, 224),
        scores={"top-1 %": 76.5},
        tags=["image-classification", "torchmg"],
        notes="Trained for 3 epochs.",
    )
    assert header(card) == {
        "license": "apache-2.0",
        "library_name": "torchmg",
        "tags": ["torchmg", "multigrid", "image-classification"],
        "base_model": "timm/resnet50.a1_in1k",
    }
    for words in (
        '# Net: a "converted" one',
        "16 convolutions became multigrid ones.",
        "| parameters | 25,557,032 | 9,149,480 | 0.358 |",
        "| MACs, one sample of 3x224x224 | 4,089,184,256 | 2,139,043,840 | 0.523 |",
        "| top-1 % | 76.5 |",
        'net = torchmg.from_pretrained("me/net")',
        "The base model is `timm:resnet50`.",
        "Trained for 3 epochs.",
    ):
        assert words in card


def test_a_card_mentions_nothing_that_is_not_given() -> None:
    card = model_card("net")
    assert header(card) == {"library_name": "torchmg", "tags": ["torchmg", "multigrid"]}
    assert 'model = ...  # the network that was converted\nnet = torchmg.from_pretrained("FOLDER", model)' in card
    for words in ("license", "parameters", "MACs", "measured", "base model", "None"):
        assert words not in card
    assert "model = ...  # net.py:make" in model_card("net", base="net.py:make")
