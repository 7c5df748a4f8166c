"""`vlfuse predict TASK`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

import vlfuse
from vlfuse.commands import regions
from vlfuse.predict import Predictor
from vlfuse.types import Answer, Caption, TaskError


def run(
    task: Positional[Literal["vqa", "caption", "reason", "entailment", "match", "embed", "detect", "ground", "refer"]],
    model: str = "fiber-nano",
    image: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    how: Literal["two-stage", "fused", "contrastive"] = "two-stage",
    beam: int = 5,
    samples: int = 0,
    threshold: float = 0.3,
    draw: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Use a model on pictures and texts.

    caption describes every picture, going on from every text if some are given; vqa and entailment put every text to
    every picture; reason judges every text about one picture, or about two together; match scores every picture with
    every text; embed prints unit vectors of pictures and texts; detect finds what the texts name, ground what the
    phrases of every text name, refer the one thing that a text means.

    Args:
        task: What to do.
        model: A name, a folder or a hub id; by default the one that comes with the package, which knows generated scenes only.
        image: Pictures: paths or URLs.
        text: Questions, statements, captions, names of classes or expressions.
        how: How match scores: contrastive, fused, or the best of the first re-ranked by the second.
        beam: Captions kept while searching for the best; 1 is greedy.
        samples: Captions to draw at random instead of searching.
        threshold: Least score of a box, from 0 to 1, of detect and ground.
        draw: Of detect, ground and refer: a file for one picture with its boxes, a folder for several.
        device: auto, cpu, cuda.
        json: Print JSON, one object a line.
    """
    if task == "embed" and not (image or text):
        raise TaskError("embed needs --image FILE or --text TEXT")
    if task == "caption" and not image:
        raise TaskError("caption needs --image FILE; --text TEXT gives the words it begins with")
    if task not in ("embed", "caption") and not (image and text):
        raise TaskError(f"{task} needs --image FILE and --text TEXT; several of each may follow")
    if draw and task not in regions.TASKS:
        raise TaskError(f"{task} finds no boxes to draw; {', '.join(regions.TASKS)} do")
    if task in regions.TASKS:
        rows = regions.look(vlfuse.load(model, device), task, image, text, threshold)
        for row in rows:
            print(dumps(row) if json else regions.line(row))
        for name in regions.draw(rows, image, draw) if draw else ():
            print(f"wrote {name}", file=sys.stderr)
        return
    for row in predict(vlfuse.load(model, device), task, list(image), list(text), how, beam, samples):
        print(dumps(row) if json else line(row))


def predict(
    model: Predictor,
    task: str,
    images: list[str],
    texts: list[str],
    how: str = "two-stage",
    beam: int = 5,
    samples: int = 0,
) -> list[dict[str, Any]]:
    """One object for each answer, pair or vector."""
    if task == "reason":
        answers = model.reason(images, texts)
        return [answered({"image": images, "text": text}, a) for text, a in zip(texts, answers, strict=True)]
    if task == "caption":
        return [
            described(image, prompt, caption)
            for prompt in texts or [""]
            for image, caption in zip(images, model.caption(images, prompt, beam=beam, samples=samples), strict=True)
        ]
    if task == "match":
        scores = model.match(images, texts, how).tolist()
        return [
            {"image": image, "text": text, "score": round(score, 4)}
            for image, row in zip(images, scores, strict=True)
            for text, score in zip(texts, row, strict=True)
        ]
    if task == "embed":
        vectors = model.embed_image(images).tolist() if images else []
        written = model.embed_text(texts).tolist() if texts else []
        return [{"image": i, "vector": v} for i, v in zip(images, vectors, strict=True)] + [
            {"text": t, "vector": v} for t, v in zip(texts, written, strict=True)
        ]
    ask = model.ask if task == "vqa" else model.entails
    return [
        answered({"image": image, "text": text}, answer)
        for image in images
        for text, answer in zip(texts, ask(image, texts), strict=True)
    ]


def answered(about: dict[str, Any], answer: Answer) -> dict[str, Any]:
    return {**about, "answer": answer.text, "score": round(answer.score, 4), "alternatives": dict(answer.alternatives)}


def described(image: str, prompt: str, caption: Caption) -> dict[str, Any]:
    others = [{"caption": text, "score": round(score, 4)} for text, score in caption.alternatives]
    about = {"image": image, **({"prompt": prompt} if prompt else {})}
    return {**about, "caption": caption.text, "score": round(caption.score, 4), "alternatives": others}


def dumps(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def line(row: dict[str, Any]) -> str:
    """The row for people."""
    if "vector" in row:
        return f"{row.get('image') or row['text']}: {' '.join(f'{x:.4f}' for x in row['vector'])}"
    pictures = row["image"] if isinstance(row["image"], str) else " + ".join(row["image"])
    if "caption" in row:
        return f"{pictures}: {row['caption']}"
    if "answer" in row:
        return f"{pictures}: {row['text']} -> {row['answer']} ({100 * row['score']:.0f} %)"
    return f"{row['score']:9.3f}  {pictures}: {row['text']}"


def main(arguments: Sequence[str]) -> None:
    tyro.cli(run, prog="vlfuse predict", args=arguments)
