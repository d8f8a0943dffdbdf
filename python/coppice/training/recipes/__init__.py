"""One command each: `python -m coppice.train RECIPE MODEL_DIR DATA_DIR -o OUT_DIR` (docs/training.md)."""

from .base import Outputs, Recipe
from .images import Images
from .retrieval import Retrieval
from .squad import Squad
from .text import Text

RECIPES = {"squad": Squad, "images": Images, "text": Text, "retrieval": Retrieval}

__all__ = ["RECIPES", "Images", "Outputs", "Recipe", "Retrieval", "Squad", "Text"]
