"""Text to token ids and back, for RoBERTa, BERT and this package's own vocabulary, on the `tokenizers` library.

Shapes: N texts, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from vlfuse.types import ConfigError, Tokens

ASSETS = Path(__file__).parent / "assets"
SHIPPED = {"scenes": "scenes-tokenizer.json"}
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json")

# What the two families call the same five things: start, end, padding, mask, unknown.
SPECIALS = (("<s>", "</s>", "<pad>", "<mask>", "<unk>"), ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"))


@dataclass(frozen=True)
class Encoded:
    """tokens; special [N, T] bool, True at start, end, padding, mask and unknown; offsets [N, T, 2] int64, the
    characters [start, end) of each token (0, 0 for added ones); truncated [N] bool,
    True where the end of the text was cut off."""

    tokens: Tokens
    special: torch.Tensor
    offsets: torch.Tensor
    truncated: torch.Tensor


class Tokenizer:
    """One text becomes: start, its tokens, end; then padding."""

    def __init__(self, backend: tokenizers.Tokenizer):
        backend.no_truncation()  # a stored file may carry settings of its own
        backend.no_padding()
        self.backend = backend
        for names in SPECIALS:
            ids = [backend.token_to_id(name) for name in names]
            known = [i for i in ids if i is not None]
            if len(known) == len(names):
                self.bos_id, self.eos_id, self.pad_id, self.mask_id, self.unk_id = known
                break
        else:
            raise ConfigError(
                f"the tokenizer lacks special tokens; it needs all of {' '.join(SPECIALS[0])}, or all of {' '.join(SPECIALS[1])}"
            )
        self.vocab_size = backend.get_vocab_size()
        self.special_ids = np.array([self.bos_id, self.eos_id, self.pad_id, self.mask_id, self.unk_id])

    @classmethod
    def load(cls, name: str | Path) -> Tokenizer:
        """name: "scenes" (shipped), a folder, or a hub id.

        The folder or repository holds `tokenizer.json`, or RoBERTa's `vocab.json` and `merges.txt`, or BERT's
        `vocab.txt`. Raises ConfigError when it does not, or cannot be reached.
        """
        if str(name) in SHIPPED:
            return cls(tokenizers.Tokenizer.from_file(str(ASSETS / SHIPPED[str(name)])))
        folder = Path(name)
        if not folder.is_dir():
            folder = _download(str(name))
        if (folder / "tokenizer.json").is_file():
            return cls(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return cls(_roberta(folder))
        if (folder / "vocab.txt").is_file():
            return cls(_bert(folder))
        raise ConfigError(
            f"{name} holds no tokenizer: expected tokenizer.json, or vocab.json with merges.txt, or vocab.txt"
        )

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json`, which `load` reads."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.backend.save(str(Path(folder) / "tokenizer.json"))

    def encode(self, texts: Sequence[str], max_length: int, pad_to_max: bool = False) -> Tokens:
        """Tokens of N texts, cut after `max_length` (start and end included) and padded to the longest,
        or to `max_length`."""
        return self.tokens(self.ids(texts, max_length), max_length if pad_to_max else 0)

    def encode_fully(self, texts: Sequence[str], max_length: int, pad_to_max: bool = False) -> Encoded:
        """`encode`, with all that is known of each token."""
        encodings = self.backend.encode_batch(list(texts))
        tokens = self.tokens([self._cut(e.ids, max_length) for e in encodings], max_length if pad_to_max else 0)
        offsets = torch.zeros(*tokens.ids.shape, 2, dtype=torch.long)
        for row, encoding in enumerate(encodings):
            places = self._cut(encoding.offsets, max_length)
            offsets[row, : len(places)] = torch.tensor(places)
        special = torch.from_numpy(self.special(tokens.ids.numpy()))
        return Encoded(tokens, special, offsets, torch.tensor([len(e.ids) > max_length for e in encodings]))

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text, start and end included, cut after `max_length`, not padded."""
        return [self._cut(e.ids, max_length) for e in self.backend.encode_batch_fast(list(texts))]

    def special(self, ids: np.ndarray) -> np.ndarray:
        return np.isin(ids, self.special_ids)

    def pad(self, rows: Sequence[Any], value: int, length: int = 0) -> torch.Tensor:
        """Rows of unequal length -> [N, T] int64, filled with `value` to the longest row, or to `length`."""
        width = max([length, *(len(row) for row in rows)])
        out = np.full((len(rows), width), value, dtype=np.int64)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(out)

    def decode(self, ids: torch.Tensor | Sequence[int], skip_special: bool = True) -> str:
        """The text of one row of ids."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def tokens(self, rows: Sequence[Sequence[int]], length: int = 0) -> Tokens:
        """Rows of ids, padded to the longest row, or to `length`."""
        ids = self.pad(rows, self.pad_id, length)
        lengths = torch.tensor([len(row) for row in rows])
        return Tokens(ids, torch.arange(ids.shape[1])[None, :] < lengths[:, None])

    def _cut(self, row: list[Any], max_length: int) -> list[Any]:
        """Cutting keeps the end token, as every encoder was trained with it."""
        return row if len(row) <= max_length else [*row[: max_length - 1], row[-1]]


def _download(name: str) -> Path:
    mend = f'use "scenes", a folder with {", ".join(FILES[:4])}, or a hub id such as "roberta-base"'
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"'{name}' is neither a folder nor a hub repository that can be reached ({error}); {mend}"
        ) from error


def _roberta(folder: Path) -> tokenizers.Tokenizer:
    """Byte-level BPE, cased, no blank put before the first word."""
    names = SPECIALS[0]
    backend = tokenizers.Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    # The blank before <mask> belongs to it, so that "a <mask>" and "a dog" break alike.
    backend.add_special_tokens([AddedToken(name, lstrip=name == "<mask>", normalized=False) for name in names])
    backend.post_processor = _frame(backend, names)  # type: ignore[assignment]
    return backend


def _bert(folder: Path) -> tokenizers.Tokenizer:
    """WordPiece. Letter case as `tokenizer_config.json` says; without it, as the vocabulary looks."""
    names = SPECIALS[1]
    vocabulary = models.WordPiece.read_file(str(folder / "vocab.txt"))
    settings = folder / "tokenizer_config.json"
    lower = not any(word[:1].isupper() for word in vocabulary)
    if settings.is_file():
        lower = json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", lower)
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)  # type: ignore[assignment]
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    backend.decoder = decoders.WordPiece()  # type: ignore[assignment]
    backend.add_special_tokens(list(names))
    backend.post_processor = _frame(backend, names)  # type: ignore[assignment]
    return backend


def _frame(backend: tokenizers.Tokenizer, names: tuple[str, ...]) -> processors.TemplateProcessing:
    ends = [(name, backend.token_to_id(name)) for name in names[:2]]
    return processors.TemplateProcessing(single=f"{names[0]} $A {names[1]}", special_tokens=ends)
