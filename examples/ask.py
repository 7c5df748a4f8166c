"""Ask a model about a picture, and see how sure it is.

python examples/ask.py MODEL PICTURE "how many red circles are there?" ["is the star blue?" ...]
"""

import sys

import vlfuse


def main(name: str, picture: str, *questions: str) -> None:
    model = vlfuse.load(name)
    for question, answer in zip(questions, model.ask(picture, list(questions)), strict=True):
        others = ", ".join(f"{text} {score:.0%}" for text, score in answer.alternatives[:3])
        print(f"{question} {answer.text} ({answer.score:.0%}; otherwise {others})")


if __name__ == "__main__":
    main(*sys.argv[1:])
