"""FIBER's contrastive arithmetic exactly as published, to reproduce its numbers; no training recipe uses it.

`ImageTextContrastive` and `draw_negatives` do the same work soundly. What is particular here: every queue entry is
scored, even the noise it starts with; the gradient flows through the query side alone;
copies of a pair in the queue are negatives.

Shapes: B pairs, E embedding width, Q queue entries, K = B + Q candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.objectives.itc import FeatureQueue


def published_contrastive_loss(
    image: Tensor, text: Tensor, queue: FeatureQueue, temperature: nn.Parameter
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and the logits [B, K] of images against texts and of texts against images.

    image, text: unit embeddings [B, E] of pairs, row i of one belonging to row i of the other. Candidates are the batch
    and then the whole queue. The temperature is first clamped in place to [0.001, 1]. The queue is left as it is:
    `push` to it afterwards. Source: FIBER's published code, measured on its recordings; the idea is ALBEF's (section
    3.2) without the momentum encoder.
    """
    with torch.no_grad():
        temperature.clamp_(0.001, 1.0)
    image_to_text = image @ torch.cat([text.detach(), queue.text]).T / temperature
    text_to_image = text @ torch.cat([image.detach(), queue.image]).T / temperature
    own = torch.arange(len(image), device=image.device)
    loss = (F.cross_entropy(image_to_text, own) + F.cross_entropy(text_to_image, own)) / 2
    return loss, image_to_text, text_to_image


def published_negative_weights(logits: Tensor, queue: FeatureQueue) -> Tensor:
    """[B, B + filled] weights for `torch.multinomial` to draw one negative for each row of logits [B, K].

    The softmax covers the batch and the written queue entries only. The tiny floor lets even a batch of one draw
    something: itself. Source: ALBEF section 3.2, with FIBER's queue among the candidates.
    """
    weights = logits.detach()[:, : len(logits) + queue.filled].softmax(1)
    return weights.fill_diagonal_(0) + 1e-9
