"""Sort pictures into classes that you name, without training: each goes to the words that fit it best.

python examples/zero_shot.py MODEL FOLDER "a red circle" "a blue star" "a cross"
"""

import sys
from pathlib import Path

import vlfuse


def main(name: str, folder: str, *classes: str) -> None:
    model = vlfuse.load(name)
    pictures = sorted(str(path) for kind in ("png", "jpg", "jpeg") for path in Path(folder).glob(f"**/*.{kind}"))
    scores = model.match(pictures, list(classes))  # [pictures, classes]; higher fits better
    for path, row in zip(pictures, scores, strict=True):
        print(f"{path}: {classes[int(row.argmax())]} ({row.softmax(0).max():.0%})")


if __name__ == "__main__":
    main(*sys.argv[1:])
