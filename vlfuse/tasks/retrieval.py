"""Image-text retrieval: contrastive, fused, and two-stage (contrastive top-k re-ranked by fusion; ALBEF section 5.1).

Re-ranking is by what both stages know together (`ImageTextMatching.evidence`);
by the fused score alone it is the published one.

Shapes: B images, N captions, E embedding width, K candidates.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlfuse.objectives.itm import ImageTextMatching
from vlfuse.systems.base import Model, States, System, texts_of
from vlfuse.types import Batch, ConfigError, ImageState, TaskError, TextState, cat


@dataclass(frozen=True)
class Gallery:
    """A set of images and captions, each encoded once. owner [N]: the image of each caption.

    The states take 4 bytes a number (base sizes: FIBER at 384 px 1.2 MB an image, 0.1 MB a caption; BridgeTower at 288
    px 7 MB and 0.4 MB) and stay where they were computed.
    """

    image: ImageState
    text: TextState
    owner: Tensor
    similarity: Tensor  # [B, N] contrastive logits

    def folds(self, number: int) -> "list[Gallery]":
        """So many galleries of as many images each, in order, with their captions; COCO's 1K protocol has five of 1,000.

        Raises ConfigError where they cannot have equally many.
        """
        images = len(self.image)
        size, found = fold_size(images, number), []
        for first in range(0, images, size):
            rows = torch.arange(first, first + size, device=self.owner.device)
            texts = ((self.owner >= first) & (self.owner < first + size)).nonzero()[:, 0]
            part = self.similarity[rows][:, texts]
            found.append(Gallery(self.image[rows], self.text[texts], self.owner[texts] - first, part))
        return found


def fold_size(images: int, folds: int) -> int:
    """Of each of equally many. Raises ConfigError where there is none."""
    if folds < 1 or images % folds:
        raise ConfigError(f"folds is {folds}; {images} images do not fall into so many equal parts")
    return images // folds


@torch.no_grad()
def encode_gallery(model: Model, batches: Iterable[Batch], device: torch.device | str = "cpu") -> Gallery:
    """Encode every image and every caption of an evaluation loader once."""
    images, texts, owners, image_embeddings, text_embeddings = [], [], [], [], []
    seen = 0
    for batch in batches:
        batch = batch.to(device)
        states = States(model.system, batch)
        images.append(states.image)
        texts.append(states.text("captions"))
        image_embeddings.append(states.image_embedding())
        text_embeddings.append(states.text_embedding("captions"))
        owners.append(texts_of(batch, "captions").owner + seen)
        seen += len(states.image)
    if not images:
        raise TaskError("retrieval needs at least one image with a caption; the data holds none")
    length = max(text.mask.shape[1] for text in texts)
    similarity = model.system.similarity(torch.cat(image_embeddings), torch.cat(text_embeddings))
    return Gallery(cat(*images), cat(*(text.with_length(length) for text in texts)), torch.cat(owners), similarity)


@torch.no_grad()
def fused_logits(
    system: System,
    matching: ImageTextMatching,
    gallery: Gallery,
    pairs: Tensor,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Logits of "not matched" and "matched" for pairs [P, 2] of (image, caption) rows: [P, 2]; progress(done, all) is
    called after every batch."""
    logits = []
    for start in range(0, len(pairs), batch_size):
        image, text = pairs[start : start + batch_size].unbind(1)
        # Captions are padded to the longest of the gallery; a batch needs only its own longest.
        texts = gallery.text[text]
        texts = texts.with_length(int(texts.mask.sum(1).max()))
        logits.append(matching.logits(system, gallery.image[image], texts).float())
        if progress:
            progress(min(start + batch_size, len(pairs)), len(pairs))
    return torch.cat(logits) if logits else torch.zeros(0, 2)


def fused_scores(
    system: System, matching: ImageTextMatching, gallery: Gallery, pairs: Tensor, batch_size: int = 256
) -> Tensor:
    """Logit of "matched" for pairs [P, 2] of (image, caption) rows: [P]; what published retrieval ranks by."""
    return fused_logits(system, matching, gallery, pairs, batch_size)[:, 1]


def fused_where(
    wanted: Tensor,
    system: System,
    matching: ImageTextMatching,
    gallery: Gallery,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """[B, N, 2] logits of "not matched" and "matched" where `wanted` [B, N] bool; elsewhere surely not matched,
    0 and minus infinity."""
    logits = gallery.similarity.new_zeros(*wanted.shape, 2, dtype=torch.float32)
    logits[..., 1] = float("-inf")
    logits[wanted] = fused_logits(system, matching, gallery, wanted.nonzero(), batch_size, progress)
    return logits


def two_stage(
    system: System,
    matching: ImageTextMatching,
    gallery: Gallery,
    candidates: int = 32,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> "Reranked":
    """Judge each query's best `candidates` by contrastive score with the fused model, every pair once.

    Raises ConfigError where `candidates` is below 1.
    """
    by_image = top(gallery.similarity, candidates)
    by_text = top(gallery.similarity.T, candidates).T
    logits = fused_where(by_image | by_text, system, matching, gallery, batch_size, progress)
    return Reranked(
        gallery.similarity, by_image, by_text, matching.evidence(logits, gallery.similarity), logits[..., 1]
    )


@dataclass(frozen=True)
class Reranked:
    """Scores [B, N] of a gallery's pairs where `by_image` or `by_text` [B, N] bool, the candidates of image and of text
    queries: `evidence` of both stages, and the logit of "matched" alone."""

    similarity: Tensor
    by_image: Tensor
    by_text: Tensor
    evidence: Tensor
    matched: Tensor

    def tables(self, published: bool = False) -> tuple[Tensor, Tensor]:
        """Two [B, N] score tables, for image queries (compare along a row) and for text queries (along a column):
        candidates ranked by the evidence (published: by the fused score alone);
        the rest keep their contrastive order below them."""
        scores = self.matched if published else self.evidence
        return lift(self.similarity, scores, self.by_image), lift(self.similarity, scores, self.by_text)


def top(similarity: Tensor, k: int) -> Tensor:
    """[R, K] bool: the k best columns of every row."""
    if k < 1:
        raise ConfigError(f"candidates is {k}; re-ranking needs at least 1")
    best = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter_(1, best, True)


def lift(similarity: Tensor, fused: Tensor, chosen: Tensor) -> Tensor:
    """Fused scores where chosen, moved above every contrastive score elsewhere."""
    floor = similarity.max() - fused[chosen].min() + 1
    return torch.where(chosen, fused + floor, similarity)
