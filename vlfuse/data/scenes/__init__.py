"""Generated scenes: pictures of simple things with captions, questions, statements and boxes."""

from vlfuse.data.scenes.dataset import SceneDataset
from vlfuse.data.scenes.questions import ANSWERS

__all__ = ["ANSWERS", "SceneDataset"]
