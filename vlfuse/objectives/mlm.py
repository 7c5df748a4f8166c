"""Masked language modelling given the image (FIBER section 3.2; BERT, Devlin et al. 2019).

Shapes: N texts, T tokens, E width, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vlfuse.layers.linear import Linear
from vlfuse.layers.mlp import init_normal
from vlfuse.ops.distributed import global_mean
from vlfuse.systems.base import Head, States, System, texts_of
from vlfuse.types import Batch, DataError, Tokens


class WordHead(Head):
    """A head that scores every word of the vocabulary. The decoder is not tied to the embeddings.

    norm_eps: 1e-12 as published; Hugging Face's BridgeTower has 1e-5.
    """

    reads = "captions"

    def __init__(self, system: System, norm_eps: float = 1e-12):
        super().__init__()
        self.dense = Linear(system.text_width, system.text_width)
        self.norm = nn.LayerNorm(system.text_width, eps=norm_eps)
        self.decoder = Linear(system.text_width, system.vocab_size)
        self.apply(init_normal)

    def settings(self) -> dict[str, float]:
        return {"norm_eps": self.norm.eps}

    def logits(self, text: Tensor) -> Tensor:
        """[..., E] fused text -> [..., V]."""
        return self.decoder(self.norm(F.gelu(self.dense(text))))


class MaskedLanguageModeling(WordHead):
    """Predict the masked tokens of a caption from the rest of it and the image."""

    needs = ("masks",)

    def forward(self, system: System, states: States, batch: Batch) -> dict[str, Tensor]:
        captions = texts_of(batch, self.reads)
        if captions.masked_ids is None or captions.mask_labels is None:
            raise DataError("the batch has no masked captions; collate with a mask probability above 0")
        masked = system.encode_text(Tokens(captions.masked_ids, captions.tokens.mask))
        fused = system.fuse(states.image[captions.owner], masked)
        # Only asked positions reach the vocabulary: at 15 % masking the largest matrix product shrinks sevenfold.
        asked = captions.mask_labels >= 0
        logits, labels = self.logits(fused.text[asked]), captions.mask_labels[asked]
        loss = global_mean(F.cross_entropy(logits.float(), labels, reduction="sum"), asked.sum())
        accuracy = (logits.argmax(-1) == labels).sum() / asked.sum().clamp(min=1)
        return {"loss": loss, "accuracy": accuracy.detach()}
