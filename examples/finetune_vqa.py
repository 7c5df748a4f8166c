"""Teach a model to answer questions about your own pictures.

python examples/finetune_vqa.py MODEL train.jsonl val.jsonl OUT [STEPS]

One line of the files: {"image": "images/1.jpg", "questions": [{"question": "what is it?", "answers": ["a dog"]}]}
For statements take `nlvr2`, `nlvr` or `entailment` of vlfuse.recipes in place of `vqa` throughout.
"""

import sys
from dataclasses import replace

from vlfuse.recipes import vqa
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import execute, read_scores


def main(model: str, train: str, val: str, out: str, steps: str = "300") -> None:
    run = vqa(Asked(out=out, data=train, eval_data=val, init=model, steps=int(steps)))
    run = replace(run, optim=replace(run.optim, lr=3e-4))  # a Run is data: change what you like
    folder = execute(run)
    scores = read_scores(out)
    print(f"accuracy {scores['vqa/accuracy']:.1%}; always the most frequent answer {scores['vqa/majority']:.1%}")
    print(f'use it: vlfuse predict vqa --model {folder} --image FILE --text "what is it?"')


if __name__ == "__main__":
    main(*sys.argv[1:])
