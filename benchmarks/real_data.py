"""Real data, from weights learnt on generated scenes and from scratch, with the spread of seeds.

    vlfuse train fiber-nano --out runs/fiber-nano
    python benchmarks/real_data.py --data DATA --weights runs/fiber-nano/model [--seeds 3] [--only nlvr1 easy-vqa]

Every run is an ordinary recipe at size nano; what has been run already is read back, so the command may be repeated.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from tables import heading, line, listed

from vlfuse.data.convert import CONVERTERS
from vlfuse.data.readers import open_dataset
from vlfuse.engine.run import Evaluation, Run
from vlfuse.metrics.caption import CiderD
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
    # The score that holds the majority answer's or guessing's, or what computes such a score from the data.
    baseline: str | Callable[[Path], float]
    steps: int
    converter: str = ""  # of the data, where the study has another name
    image_size: int = 0
    keep_aspect: bool = False
    texts: int = 1  # of each picture in a batch
    batch_size: int = 32


def same_caption(data: Path) -> float:
    """CIDEr-D where every held-out picture gets the same caption: the one of the training data that scores best."""
    learnt, held_out = (open_dataset(str(data / f"{split}.jsonl")) for split in ("train", "val"))
    references = [[caption_words(text) for text in sample.captions] for sample in held_out if sample.captions]
    captions = [caption_words(text) for sample in learnt for text in sample.captions]
    scorer = CiderD.of(references)
    by_picture = [scorer.of_one(captions, group) for group in references]
    return max(mean(scores) for scores in zip(*by_picture, strict=True))


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
}


def plan(name: str, study: Study, data: Path, out: Path, init: str, seed: int) -> Run:
    asked = Asked(
        out=str(out / f"{name}-{'weights' if init else 'scratch'}-{seed}"),
        data=str(data / "train.jsonl"),
        init=init,
        size="nano",
        steps=study.steps,
    )
    run: Run = RECIPES[study.recipe](asked)
    source = run.sources[0]
    kind = next(kind for kind in ("captions", "questions", "statements") if getattr(source, kind))
    sources = (replace(source, batch_size=study.batch_size, **{kind: study.texts}),)
    return replace(
        run,
        sources=sources,
        seed=seed,
        image_size=study.image_size or run.image_size,
        keep_aspect=study.keep_aspect,
        evaluations=(Evaluation(study.recipe, str(data / "val.jsonl")),),
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
        source = study.converter or name
        data = args.out / "data" / source
        if not (data / "train.jsonl").exists():
            key = next(key for key in CONVERTERS if key.replace("_", "-") == source)
            print(CONVERTERS[key](args.data / study.folder, data))
        results = {
            init: [scores_of(plan(name, study, data, args.out, init, seed), COMMAND) for seed in range(args.seeds)]
            for init in ("", args.weights)
        }
        for metric in study.metrics:
            plain = results[""][0][study.baseline] if isinstance(study.baseline, str) else study.baseline(data)
            cells = [listed([result[metric] for result in results[init]]) for init in ("", args.weights)]
            rows.append(line([name, metric, f"{100 * plain:.1f}", *cells]))
    print("\n".join(["", "percent; CIDEr-D times 100, as the literature gives it", "", *rows]))


if __name__ == "__main__":
    main()
