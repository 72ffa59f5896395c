"""Pictures of what runs left behind and of what models are made of: each as PNG, SVG, and the CSV behind it.

matplotlib is imported when one is drawn.
"""

from torchmg.plot.learning import curves
from torchmg.plot.levels import hierarchy
from torchmg.plot.picture import Picture, check_drawing
from torchmg.plot.points import Point, draw_tradeoff
from torchmg.plot.predictions import predictions
from torchmg.plot.printed import paper
from torchmg.plot.results import tradeoff
from torchmg.plot.scaling import draw_scaling

__all__ = [
    "Picture",
    "Point",
    "check_drawing",
    "curves",
    "draw_scaling",
    "draw_tradeoff",
    "hierarchy",
    "paper",
    "predictions",
    "tradeoff",
]
