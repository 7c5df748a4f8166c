"""Find things by name in pictures, and save each picture with what was found drawn in.

python examples/find_things.py MODEL FOLDER OUT "red circle" star
"""

import sys
from pathlib import Path

import vlfuse
from vlfuse.data.drawing import draw_boxes
from vlfuse.data.images import load_image

SURE = 0.3  # least score


def main(name: str, folder: str, out: str, *labels: str) -> None:
    model = vlfuse.load(name)
    pictures = sorted(str(path) for kind in ("png", "jpg", "jpeg") for path in Path(folder).glob(f"**/*.{kind}"))
    Path(out).mkdir(parents=True, exist_ok=True)
    for path, found in zip(pictures, model.detect(pictures, labels, SURE), strict=True):
        picture = load_image(path)
        draw_boxes(picture, [(thing.box, f"{thing.label} {thing.score:.2f}") for thing in found])
        picture.save(Path(out) / f"{Path(path).stem}.png")
        print(f"{path}: {', '.join(thing.label for thing in found) or 'nothing'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
