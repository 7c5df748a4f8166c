"""Teach a model to describe pictures as you do, and read what it writes of pictures that it has not learnt from.

python examples/finetune_captions.py MODEL train.jsonl val.jsonl OUT [STEPS]

One line of the files: {"image": "images/1.jpg", "captions": ["a brown dog next to a laptop", "a dog at a desk"]}
"""

import sys

import vlfuse
from vlfuse.data.readers import open_dataset
from vlfuse.recipes import caption
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import execute, read_scores

SHOWN = 4


def main(model: str, train: str, val: str, out: str, steps: str = "0") -> None:
    # 0 steps: as many as suit the data. `learn="gold"` and `learn="cider"` go on from the model that this leaves.
    folder = execute(caption(Asked(out=out, data=train, eval_data=val, init=model, steps=int(steps)), learn="mle"))
    print(f"CIDEr-D on {val}: {100 * read_scores(out)['caption/cider_d']:.1f}")
    trained, held_out = vlfuse.load(str(folder)), open_dataset(val)
    for number in range(min(SHOWN, len(held_out))):
        sample = held_out[number]
        print(f"{sample.images[0]}: {trained.caption(sample.images[0]).text} (yours: {sample.captions[0]})")


if __name__ == "__main__":
    main(*sys.argv[1:])
