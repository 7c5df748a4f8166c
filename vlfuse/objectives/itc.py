"""Image-text contrastive learning (CLIP, Radford et al. 2021; FIBER section 3.2).

Shapes: B images, N captions (each of one image), E embedding width, K candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.ops.distributed import gather_with_grad, global_mean, rank_offset
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch


class FeatureQueue(nn.Module):
    """The last `size` embedding pairs of all processes, as further negatives (FIBER's 4096-entry queue,
    without its raw images).

    Entries are unit vectors; those not yet written are never scored.
    """

    image: Tensor
    text: Tensor
    written: Tensor

    def __init__(self, size: int, width: int):
        super().__init__()
        self.size = size
        self.register_buffer("image", torch.zeros(size, width))
        self.register_buffer("text", torch.zeros(size, width))
        # Pairs ever written; the pointer is this modulo size.
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    @property
    def filled(self) -> int:
        return min(self.size, int(self.written))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor) -> None:
        """Write the pairs [B, E] in order, over the oldest ones."""
        slots = (int(self.written) + torch.arange(len(image), device=image.device)) % self.size
        keep = slice(-self.size, None)
        self.image[slots[keep]] = image[keep].to(self.image.dtype)
        self.text[slots[keep]] = text[keep].to(self.text.dtype)
        self.written += len(image)


def contrastive_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Cross-entropy of each row against its positives, spread evenly; per row.

    logits [B, K]; positives [B, K] bool, at least one True in every row. Returns [B].
    """
    target = positives.to(logits.dtype)
    return -(target * logits.log_softmax(1)).sum(1) / target.sum(1)


class ImageTextContrastive(Head):
    """Every image against every caption of the whole batch (all processes), and both against the queue if there is one.

    Gradient flows through both sides of the batch; queue entries are constants. A caption of the same image is a
    positive, never a negative.
    """

    reads = "captions"

    def __init__(self, system: System, queue: int = 0):
        super().__init__()
        self.queue = FeatureQueue(queue, system.embed_width) if queue else None

    def settings(self) -> dict[str, int]:
        return {"queue": self.queue.size} if self.queue else {}

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():  # the published bounds; a divisor below 0.001 would overflow in half precision
            system.temperature.clamp_(0.001, 1.0)
        owner = texts_of(batch, self.reads).owner
        image, text = states.image_embedding(), states.text_embedding(self.reads)
        first = rank_offset(len(image))
        all_image, all_text = gather_with_grad(image), gather_with_grad(text)
        all_owner = gather_with_grad(owner + first)
        rows = torch.arange(len(all_image), device=owner.device)
        image_positives = rows[first : first + len(image), None] == all_owner[None, :]
        text_positives = (owner + first)[:, None] == rows[None, :]
        image_to_text = system.similarity(image, self._with_queue(all_text, "text"))
        text_to_image = system.similarity(self._with_queue(all_image, "image"), text).T
        image_positives = F.pad(image_positives, (0, image_to_text.shape[1] - len(all_text)))
        text_positives = F.pad(text_positives, (0, text_to_image.shape[1] - len(all_image)))
        asked = image_positives.any(1)  # an image without caption asks nothing
        image_loss = contrastive_loss(image_to_text[asked], image_positives[asked])
        text_loss = contrastive_loss(text_to_image, text_positives)
        loss = (global_mean(image_loss.sum(), asked.sum()) + global_mean(text_loss.sum(), len(text_loss))) / 2
        if self.queue is not None and self.training:
            self.queue.push(all_image[all_owner].detach(), all_text.detach())
        hits = text_to_image.argmax(1) == text_positives.float().argmax(1)
        return {"loss": loss, "accuracy": hits.float().mean(), "temperature": system.temperature.detach().clone()}

    def _with_queue(self, batch: Tensor, side: str) -> Tensor:
        if self.queue is None:
            return batch
        entries = getattr(self.queue, side)[: self.queue.filled]
        return torch.cat([batch, entries.to(batch.dtype)])
