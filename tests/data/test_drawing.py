import pytest
from PIL import Image

from vlfuse.data.drawing import LEGIBLE, LONGEST, legible


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (3, 2000), (200, 1), (1, 1)], ids=str)
def test_small_pictures_become_legible_and_no_picture_becomes_huge(size):
    box = (0.0, 0.0, float(size[0]), float(size[1]))
    picture, [(drawn, text)] = legible(Image.new("RGB", size), [(box, "all of it")])
    assert drawn == (0.0, 0.0, float(picture.width), float(picture.height)) and text == "all of it"
    assert min(picture.size) >= LEGIBLE or max(picture.size) > LONGEST // 2
    assert max(picture.size) <= max(LONGEST, *size)
