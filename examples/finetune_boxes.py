"""Teach a model to find things of your classes, and save a picture that it has not learnt from with what it finds drawn in.

python examples/finetune_boxes.py MODEL train.jsonl val.jsonl OUT [STEPS]

One line of the files: {"image": "images/1.jpg", "regions": [{"box": [10, 20, 200, 180], "label": "dog"}]}
A box is [left, top, right, bottom] in pixels. COCO's format is read as it is: annotations.json@images in place of a file.
"""

import sys
from pathlib import Path

import vlfuse
from vlfuse.data.drawing import draw_boxes
from vlfuse.data.images import load_image
from vlfuse.data.readers import open_dataset
from vlfuse.recipes import detection
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import execute, read_scores

SURE = 0.3  # least score of what is drawn


def main(model: str, train: str, val: str, out: str, steps: str = "0") -> None:
    folder = execute(detection(Asked(out=out, data=train, eval_data=val, init=model, steps=int(steps))))
    scores = read_scores(out)
    print(f"AP {100 * scores['detection/AP']:.1f}, AP50 {100 * scores['detection/AP50']:.1f}")
    first = next(sample for sample in open_dataset(val) if sample.regions)
    labels = sorted({region.label for region in first.regions})
    picture = load_image(first.images[0])
    found = vlfuse.load(str(folder)).detect(picture, labels, SURE)
    draw_boxes(picture, [(thing.box, f"{thing.label} {thing.score:.2f}") for thing in found])
    picture.save(Path(out) / "found.png")
    print(f"{len(found)} things in {first.images[0]}, drawn in {Path(out) / 'found.png'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
