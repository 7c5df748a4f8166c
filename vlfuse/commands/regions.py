"""`vlfuse predict detect|ground|refer`: boxes as rows and as drawings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vlfuse.data.drawing import draw_boxes, legible
from vlfuse.data.images import load_image
from vlfuse.predict import Predictor
from vlfuse.types import Box, ConfigError, Detection, Grounding

TASKS = ("detect", "ground", "refer")


def look(
    model: Predictor, task: str, images: Sequence[str], texts: Sequence[str], threshold: float
) -> list[dict[str, Any]]:
    """One object for each picture and box (detect), phrase (ground) or expression (refer)."""
    if task == "detect":
        found = model.detect(images, texts, threshold)
        return [_detected(image, one) for image, own in zip(images, found, strict=True) for one in own]
    if task == "refer":
        return [_detected(image, one) for image in images for one in model.refer(image, texts)]
    return [
        _grounded(image, caption, one)
        for caption in texts
        for image, own in zip(images, model.ground(images, caption, threshold=threshold), strict=True)
        for one in own
    ]


def _detected(image: str, found: Detection) -> dict[str, Any]:
    return {"image": image, "label": found.label, "score": round(found.score, 4), "box": _rounded(found.box)}


def _grounded(image: str, caption: str, found: Grounding) -> dict[str, Any]:
    boxes = {"boxes": [_rounded(box) for box in found.boxes], "scores": [round(score, 4) for score in found.scores]}
    return {"image": image, "caption": caption, "phrase": found.phrase, "span": list(found.span), **boxes}


def _rounded(box: Box) -> list[float]:
    return [round(value, 1) for value in box]


def line(row: dict[str, Any]) -> str:
    """The row for people."""
    if "phrase" not in row:
        return f"{row['score']:6.2f}  {row['image']}: {row['label']} at {_corners(row['box'])}"
    places = [f"{_corners(box)} ({score:.2f})" for box, score in zip(row["boxes"], row["scores"], strict=True)]
    return f"{row['image']}: {row['phrase']} -> {', '.join(places) or 'not seen'}"


def _corners(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"


def draw(rows: Sequence[dict[str, Any]], images: Sequence[str], out: Path) -> list[Path]:
    """Write the pictures with their boxes, small ones enlarged: one to the file `out`, several into the folder `out`,
    under their own names."""
    single = len(images) == 1
    if single and out.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(f"--draw is {out}; for one picture it is a file such as out.png")
    names = [out] if single else [out / f"{number:03d}-{Path(image).stem}.png" for number, image in enumerate(images)]
    for image, name in zip(images, names, strict=True):
        picture, boxes, numbers = load_image(image), [], []
        own = [row for row in rows if row["image"] == image]
        labels = list(dict.fromkeys(row.get("label", row.get("phrase")) for row in own))
        for row in own:
            label = row.get("label", row.get("phrase"))
            found = zip(row.get("boxes", [row.get("box")]), row.get("scores", [row.get("score")]), strict=True)
            for box, score in found:
                boxes.append((box, f"{label} {score:.2f}"))
                numbers.append(labels.index(label))
        picture, boxes = legible(picture, boxes)
        draw_boxes(picture, boxes, numbers)
        name.parent.mkdir(parents=True, exist_ok=True)
        picture.save(name)
    return names
