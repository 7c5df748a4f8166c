"""How many generated scenes a second one core makes: `python benchmarks/scenes.py [--side 96] [--seconds 2]`.

Prints one line for each kind of sample; the sprites and backgrounds are drawn before the clock starts.
"""

from __future__ import annotations

import argparse
import time

from vlfuse.data.scenes import SceneDataset

KINDS: dict[str, dict] = {
    "picture alone": {"fields": ()},
    "picture, 2 captions": {"fields": ("captions",)},
    "picture, 6 questions": {"fields": ("questions",)},
    "picture, 2 captions, 6 questions": {"fields": ("captions", "questions")},
    "everything": {},
    "pair of pictures, 2 statements": {"paired": True},
    "picture, 2 entailment statements": {"entailment": True, "fields": ("statements",)},
}


def rate(seconds: float, **options) -> float:
    """Samples per second of processor time, which other work on the machine does not change much."""
    dataset = SceneDataset(1_000_000, **options)
    for i in range(1500):
        dataset[i]
    start, made = time.process_time(), 0
    while time.process_time() - start < seconds:
        dataset[1500 + made]
        made += 1
    return made / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=96, help="pixels")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time for each kind")
    arguments = parser.parse_args()
    for name, options in KINDS.items():
        print(f"{name:35s} {rate(arguments.seconds, size=arguments.side, **options):7.0f} samples/s")


if __name__ == "__main__":
    main()
