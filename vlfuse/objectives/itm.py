"""Image-text matching with hard negatives (ALBEF, Li et al. 2021; FIBER section 3.2).

Shapes: B images, N captions, P pooled width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.mlp import init_normal
from vlfuse.ops.distributed import gather_with_grad, global_mean, rank_offset
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, ConfigError, ImageState, TextState, cat


def draw_negatives(logits: Tensor, positives: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw, for each row, one column that is no positive, in proportion to its softmax weight.

    logits, positives (bool) [N, K]; every row needs a column that is no positive. Returns [N] int64.
    Source: ALBEF section 3.2; FIBER draws in the same way. Drawn by the Gumbel trick from one table of noise, so that
    the draw of a row is the same wherever the row is computed. The noise comes from the CPU:
    one generator for every device.
    """
    noise = torch.rand(logits.shape, generator=generator).clamp_(min=1e-20).to(logits.device)
    scores = logits.detach().float() - torch.log(-torch.log(noise))
    return scores.masked_fill(positives, float("-inf")).argmax(1)


def draw_texts(owner: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """For each of N captions with its image in owner [N], `count` captions of other images: [N, count] int64.

    All others, if there are fewer in the batch; drawn without repetition.
    """
    other = owner[:, None] != owner[None, :]
    count = min(count, int(other.sum(1).min()))
    if count < 1:
        raise ConfigError("ranking needs captions of at least two images in a batch; raise batch_size")
    noise = torch.rand(other.shape, generator=generator).to(owner.device)
    return noise.masked_fill(~other, -1.0).topk(count, dim=1).indices


class ImageTextMatching(Head):
    """Tell a caption's own image from one that the contrastive similarity takes for it, and the other way round.

    Rows: (image, text) matched, (image, negative text), (negative image, text). `negatives="random"` is the published
    retrieval fine-tuning without the contrastive loss: half the captions keep their image, the others get a random one.
    `negatives="texts"`: every image ranks its caption above `false_texts` random other ones by the logit of "matched"
    alone (BridgeTower's ranking, whose score begins as that row of a trained head). With several processes negatives
    come from all of them, through their gathered states.
    """

    reads = "captions"

    def __init__(self, system: System, negatives: str = "hard", false_texts: int = 15):
        super().__init__()
        if negatives not in ("hard", "random", "texts"):
            raise ConfigError(f"itm.negatives is '{negatives}'; allowed: hard, random, texts")
        if false_texts < 1:
            raise ConfigError(f"itm.false_texts is {false_texts}; ranking needs at least 1")
        self.negatives, self.false_texts = negatives, false_texts
        self.classifier = nn.Linear(system.pooled_width, 2)
        self.apply(init_normal)

    def settings(self) -> dict[str, Any]:
        return {"negatives": self.negatives} | ({"false_texts": self.false_texts} if self.negatives == "texts" else {})

    def logits(self, system: System, image: ImageState, text: TextState) -> Tensor:
        """[N, 2] logits of "not matched" and "matched" for each pair."""
        return self.classifier(system.pooled(image, text))

    def scores(self, system: System, image: ImageState, text: TextState) -> Tensor:
        """[N] logit of "matched" for each pair; what the published retrieval ranks by."""
        return self.logits(system, image, text)[:, 1]

    def evidence(self, logits: Tensor, similarity: Tensor) -> Tensor:
        """How well pairs match, for ranking, by `logits` [..., 2] of this head and contrastive `similarity` [...].

        The head learns log p(own) - log p(drawn): the odds that a pair is a caption with its own image, against the
        pairs it was shown as negatives. Hard negatives are drawn in proportion to exp(similarity), so there log p(own)
        is the odds *plus* the similarity (but for a term that all candidates of a query share): what the similarity
        knows already, the head never had to learn. Negatives drawn evenly leave the odds alone.
        """
        odds = (logits[..., 1] - logits[..., 0]).float()
        return odds + similarity if self.negatives == "hard" else odds

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        owner = texts_of(batch, self.reads).owner
        image, text = states.image, states.text(self.reads)
        if self.negatives == "texts":
            return self.rank(system, image[owner], text, draw_texts(owner, self.false_texts, states.generator))
        if self.negatives == "hard":
            pairs, labels = self._hard(system, states, owner)
        else:
            pairs, labels = self._random(image, text, owner, states.generator)
        return self.judge(system, *pairs, labels)

    def judge(self, system: System, image: ImageState, text: TextState, labels: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy on chosen pairs; labels [N] int64, 1 where they match."""
        logits = self.logits(system, image, text).float()
        loss = global_mean(F.cross_entropy(logits, labels, reduction="sum"), len(labels))
        return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    def rank(self, system: System, image: ImageState, text: TextState, false: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy of telling text i among it and the texts in row i of false [N, F] (rows of `text`),
        for image i."""
        candidates = torch.cat([torch.arange(len(false), device=false.device)[:, None], false], dim=1)
        rows = torch.arange(len(false), device=false.device).repeat_interleave(candidates.shape[1])
        scores = self.scores(system, image[rows], text[candidates.flatten()]).view(candidates.shape).float()
        target = torch.zeros(len(false), dtype=torch.long, device=false.device)
        loss = global_mean(F.cross_entropy(scores, target, reduction="sum"), len(target))
        return {"loss": loss, "accuracy": (scores.argmax(1) == 0).float().mean()}

    def _hard(self, system: System, states: States, owner: Tensor) -> tuple[tuple[ImageState, TextState], Tensor]:
        image, text = states.image, states.text(self.reads)
        everyone_image, everyone_text = image._map(gather_with_grad), text._map(gather_with_grad)
        all_owner = gather_with_grad(owner + rank_offset(len(image)))
        with torch.no_grad():
            all_image, all_text = (
                gather_with_grad(states.image_embedding()),
                gather_with_grad(states.text_embedding(self.reads)),
            )
            logits = system.similarity(all_image, all_text)  # [all images, all texts]
            positives = torch.arange(len(all_image), device=owner.device)[:, None] == all_owner[None, :]
            if bool((all_owner == all_owner[0]).all()):
                raise ConfigError(
                    "hard negatives need captions of at least two images in a batch; raise batch_size or drop itm"
                )
            negative_image = draw_negatives(logits.T, positives.T, states.generator)
            negative_text = draw_negatives(logits[all_owner], positives[all_owner], states.generator)
        first = rank_offset(len(owner))
        local = slice(first, first + len(owner))
        own_image, own_text = image[owner], everyone_text[local]  # padded like the texts of the other processes
        images = cat(own_image, own_image, everyone_image[negative_image[local]])
        texts = cat(own_text, everyone_text[negative_text[local]], own_text)
        labels = torch.tensor([1, 0, 0], device=owner.device).repeat_interleave(len(owner))
        return (images, texts), labels

    def _random(
        self, image: ImageState, text: TextState, owner: Tensor, generator: torch.Generator | None
    ) -> tuple[tuple[ImageState, TextState], Tensor]:
        if len(image) < 2:
            raise ConfigError("random negatives need at least two images in a batch; raise batch_size")
        order = torch.randperm(len(owner), generator=generator).to(owner.device)
        labels = (order < len(owner) // 2).long()
        shift = torch.randint(1, len(image), (len(owner),), generator=generator).to(owner.device)
        shown = torch.where(labels == 1, owner, (owner + shift) % len(image))
        return (image[shown], text), labels
