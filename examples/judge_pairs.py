"""Judge statements about two pictures (NLVR2), or about one (NLVR).

python examples/judge_pairs.py MODEL LEFT RIGHT "both pictures show a circle" [...]
python examples/judge_pairs.py MODEL PICTURE "there are two circles" [...]
"""

import sys
from pathlib import Path

import vlfuse


def main(name: str, *arguments: str) -> None:
    pictures = [argument for argument in arguments if Path(argument).is_file()]
    statements = [argument for argument in arguments if argument not in pictures]
    for statement, answer in zip(statements, vlfuse.load(name).reason(pictures, statements), strict=True):
        print(f"{answer.text} ({answer.score:.0%}): {statement}")


if __name__ == "__main__":
    main(*sys.argv[1:])
