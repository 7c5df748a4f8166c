"""Real data, from weights learnt on generated scenes and from scratch, with the spread of seeds.

    vlfuse train fiber-nano --out runs/fiber-nano
    python benchmarks/real_data.py --data DATA --weights runs/fiber-nano/model [--seeds 3] [--only nlvr1 easy-vqa]

Every run is an ordinary recipe at size nano; what has been run already is read back, so the command may be repeated.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from tables import heading, line, listed

from vlfuse.data.convert import CONVERTERS
from vlfuse.data.readers import open_dataset
from vlfuse.engine.run import Evaluation, Run
from vlfuse.metrics.caption import CiderD
from vlfuse.metrics.detection import coco_ap
from vlfuse.metrics.words import caption_words
from vlfuse.recipes import RECIPES
from vlfuse.recipes.asked import Asked
from vlfuse.recipes.execute import scores_of
from vlfuse.recipes.nano import TRAY_SIZE

COMMAND = f"python benchmarks/{Path(__file__).name}"


@dataclass(frozen=True)
class Study:
    folder: str  # below --data
    recipe: str
    metrics: tuple[str, ...]
    # The score that holds the majority answer's or guessing's, or what computes one for each metric from the data.
    baseline: str | Callable[[str, str], tuple[float, ...]]
    steps: int
    converter: str = ""  # of the data, where the study has another name
    files: tuple[str, str] | None = None  # to learn from and to test on, where nothing is to be converted
    image_size: int = 0
    keep_aspect: bool = False
    texts: int = 1  # of each picture in a batch
    batch_size: int = 32


def same_caption(train: str, val: str) -> tuple[float]:
    """CIDEr-D where every held-out picture gets the same caption: the one of the training data that scores best."""
    learnt, held_out = open_dataset(train), open_dataset(val)
    references = [[caption_words(text) for text in sample.captions] for sample in held_out if sample.captions]
    captions = [caption_words(text) for sample in learnt for text in sample.captions]
    scorer = CiderD.of(references)
    by_picture = [scorer.of_one(captions, group) for group in references]
    return (max(mean(scores) for scores in zip(*by_picture, strict=True)),)


def same_boxes(train: str, val: str) -> tuple[float, float]:
    """AP50 and AP where every held-out picture gets the same boxes: those of the training picture that score best by AP50,
    as large as they are beside their own picture."""
    learnt, truth = (json.loads(Path(file).read_text(encoding="utf-8")) for file in (train, val))
    extents = {picture["id"]: (picture["width"], picture["height"]) for picture in learnt["images"]}
    shares: dict[int, list[tuple[int, list[float]]]] = {}
    for row in learnt["annotations"]:
        width, height = extents[row["image_id"]]
        x, y, across, down = row["bbox"]
        share = [x / width, y / height, across / width, down / height]
        shares.setdefault(row["image_id"], []).append((row["category_id"], share))

    def score(boxes: list[tuple[int, list[float]]]) -> tuple[float, float]:
        found = coco_ap(
            truth,
            [
                {
                    "image_id": picture["id"],
                    "category_id": category,
                    "bbox": [
                        part * side for part, side in zip(share, (picture["width"], picture["height"]) * 2, strict=True)
                    ],
                    "score": 1.0,
                }
                for picture in truth["images"]
                for category, share in boxes
            ],
        )
        return found["AP50"], found["AP"]

    return max(score(boxes) for boxes in shares.values())


FOUND = ("detection", ("detection/AP50", "detection/AP"))
COCO_FILES = ("annotations/instances_train.json", "annotations/instances_val.json")

STUDIES = {
    # Four times as wide as high, with objects of 10 pixels: they keep their shape, and get as many pixels as trays have.
    "nlvr1": Study("nlvr1", "nlvr", ("nlvr/accuracy",), "nlvr/majority", 200, image_size=TRAY_SIZE, keep_aspect=True),
    "easy-vqa": Study("vqa/easy_vqa", "vqa", ("vqa/accuracy",), "vqa/majority", 200, texts=4),
    "vqa-rad": Study("vqa/vqa_rad", "vqa", ("vqa/accuracy",), "vqa/majority", 200, texts=4),
    "coco": Study(
        "photos/coco_open",
        "retrieval",
        ("retrieval/itc_tr_r5", "retrieval/two_stage_tr_r5"),
        "retrieval/chance_tr_r5",
        100,
    ),
    "coco-captions": Study("photos/coco_open", "caption", ("caption/cider_d",), same_caption, 100, converter="coco"),
    "bccd": Study("photos/bccd", *FOUND, same_boxes, 100, files=COCO_FILES, image_size=96, batch_size=16),
    "aquarium": Study("photos/aquarium", *FOUND, same_boxes, 200, files=COCO_FILES, image_size=128, batch_size=16),
}


def prepared(name: str, study: Study, data: Path, out: Path) -> tuple[str, str]:
    """The files to learn from and to test on, converted where they are not there yet."""
    if study.files:
        train, val = (str(data / study.folder / file) for file in study.files)
        return train, val
    source = study.converter or name
    folder = out / "data" / source
    if not (folder / "train.jsonl").exists():
        key = next(key for key in CONVERTERS if key.replace("_", "-") == source)
        print(CONVERTERS[key](data / study.folder, folder))
    return str(folder / "train.jsonl"), str(folder / "val.jsonl")


def plan(study: Study, out: Path, train: str, val: str, init: str, seed: int) -> Run:
    asked = Asked(out=str(out), data=train, init=init, size="nano", steps=study.steps)
    run: Run = RECIPES[study.recipe](asked)
    source = run.sources[0]
    texts = {kind: study.texts for kind in ("captions", "questions", "statements") if getattr(source, kind)}
    return replace(
        run,
        sources=(replace(source, batch_size=study.batch_size, **texts),),
        seed=seed,
        image_size=study.image_size or run.image_size,
        keep_aspect=study.keep_aspect,
        evaluations=(Evaluation(study.recipe, val),),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nlvr1/, vqa/ and photos/")
    parser.add_argument("--weights", default="runs/fiber-nano/model", help="model to start from")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=STUDIES, default=list(STUDIES))
    args = parser.parse_args()
    rows = heading(["data", "score", "baseline", "from scratch", "from the weights"])
    for name in args.only:
        study = STUDIES[name]
        files = prepared(name, study, args.data, args.out)
        results = {
            init: [
                scores_of(plan(study, args.out / f"{name}-{kind}-{seed}", *files, init, seed), COMMAND)
                for seed in range(args.seeds)
            ]
            for kind, init in (("scratch", ""), ("weights", args.weights))
        }
        plain = (results[""][0][study.baseline],) if isinstance(study.baseline, str) else study.baseline(*files)
        for place, metric in enumerate(study.metrics):
            cells = [listed([result[metric] for result in results[init]]) for init in ("", args.weights)]
            rows.append(line([name, metric, f"{100 * plain[place % len(plain)]:.1f}", *cells]))
    print("\n".join(["", "percent; CIDEr-D times 100, as the literature gives it", "", *rows]))


if __name__ == "__main__":
    main()
