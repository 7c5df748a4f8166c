"""Search a folder of pictures by words: embed every picture once, find candidates by similarity, rank the best by fusion.

python examples/search_folder.py MODEL FOLDER "a large red circle above a star"
"""

import sys
from pathlib import Path

import torch

import vlfuse

CANDIDATES, SHOWN = 32, 5


def main(name: str, folder: str, query: str) -> None:
    model = vlfuse.load(name)
    pictures = sorted(str(path) for kind in ("png", "jpg", "jpeg") for path in Path(folder).glob(f"**/*.{kind}"))
    # [pictures, width], unit vectors; torch.save them, and searching needs no more pictures.
    index = model.embed_image(pictures)
    similarity = index @ model.embed_text(query)
    candidates = similarity.topk(min(CANDIDATES, len(pictures))).indices.tolist()
    fused = model.match([pictures[i] for i in candidates], query, how="fused")[:, 0]
    for place in torch.argsort(fused, descending=True)[:SHOWN].tolist():
        print(f"{fused[place]:7.2f}  {pictures[candidates[place]]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
