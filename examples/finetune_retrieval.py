"""Teach a model to find your pictures by your words; prints how often the right one came first, before and after.

python examples/finetune_retrieval.py MODEL train.jsonl val.jsonl OUT [STEPS]

One line of the files: {"image": "images/1.jpg", "captions": ["a brown dog next to a laptop", "a dog at a desk"]}
"""

import sys

from vlfuse.checkpoints.hub import load_model
from vlfuse.recipes import retrieval
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import execute, score

RECALL = "itc_ir_r1"  # at 1, pictures by captions, ranked by similarity


def main(model: str, train: str, val: str, out: str, steps: str = "0") -> None:
    before = score(load_model(model), "retrieval", val)
    folder = execute(retrieval(Asked(out=out, data=train, init=model, steps=int(steps)), by="both"))
    after = score(load_model(folder), "retrieval", val)
    print(
        f"right picture first: before {before[RECALL]:.1%}, after {after[RECALL]:.1%}, by chance {after['chance_ir_r1']:.1%}"
    )
    print(f'use it: python examples/search_folder.py {folder} FOLDER "a brown dog"')


if __name__ == "__main__":
    main(*sys.argv[1:])
