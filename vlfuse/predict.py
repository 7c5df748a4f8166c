"""Using a trained model: questions, statements, matching and embeddings for pictures of any kind.

Shapes: B images, N texts, E embedding width.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlfuse.data.collate import join_pictures
from vlfuse.data.images import load_image
from vlfuse.data.phrases import noun_phrases, phrase_spans
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import EvalTransform
from vlfuse.objectives.grounding import Grounding as GroundingHead
from vlfuse.objectives.itm import ImageTextMatching
from vlfuse.predict_regions import FEW, Eye, check_threshold
from vlfuse.systems.base import Model, System
from vlfuse.tasks.captioning import Captioning
from vlfuse.tasks.regions import GROUND, REFER
from vlfuse.tasks.retrieval import Gallery, fused_where, lift, top
from vlfuse.types import (
    Answer,
    Batch,
    Caption,
    Detection,
    Grounding,
    Images,
    ImageSource,
    ImageState,
    Span,
    TaskError,
    Texts,
    TextState,
    cat,
)

T = TypeVar("T")
Picture: TypeAlias = ImageSource | Tensor
CHUNK = 32  # images or texts encoded at once


class Predictor:
    """A model, its tokenizer and its image preprocessing, asked in the user's own words.

    Images: a path or URL, encoded bytes, a PIL picture, an [H, W, 3] uint8 array, or a [3, H, W] tensor with values in
    [0, 1]; one, or a list for a batch. Every method returns one result for one image and a list for a list.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        transform: EvalTransform,
        max_text: int,
        device: torch.device | str = "auto",
        name: str = "model",
    ):
        """device: "auto" takes a GPU where there is one. name: of the model, for error messages."""
        self.device = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(self.device)
        self.tokenizer, self.transform, self.max_text, self.name = tokenizer, transform, max_text, name

    # --- answers ---------------------------------------------------------------------------------------------

    @overload
    def ask(self, image: Picture, question: str) -> Answer: ...
    @overload
    def ask(self, image: Picture | Sequence[Picture], question: str | Sequence[str]) -> list[Answer]: ...
    def ask(self, image: Picture | Sequence[Picture], question: str | Sequence[str]) -> Answer | list[Answer]:
        """Answer a question about a picture: one and one, one picture and many questions (it is encoded once),
        or lists of equal length."""
        images, questions, single = _aligned(image, question)
        return _unwrap(self._judge("vqa", images, questions, pictures=1), single)

    @overload
    def reason(self, images: Picture | Sequence[Picture], statement: str) -> Answer: ...
    @overload
    def reason(self, images: Picture | Sequence[Picture], statement: Sequence[str]) -> list[Answer]: ...
    def reason(self, images: Picture | Sequence[Picture], statement: str | Sequence[str]) -> Answer | list[Answer]:
        """Is the statement true of this picture (head `nlvr`) or of this pair of pictures (head `nlvr2`)? "true"
        or "false"."""
        pictures: list[Picture] = _as_list(images)
        if len(pictures) not in (1, 2):
            raise TaskError(f"reason reads one picture or a pair, not {len(pictures)}")
        statements = [statement] if isinstance(statement, str) else list(statement)
        answers = self._judge("nlvr" if len(pictures) == 1 else "nlvr2", pictures, statements, len(pictures))
        return answers[0] if isinstance(statement, str) else answers

    @overload
    def entails(self, image: Picture, text: str) -> Answer: ...
    @overload
    def entails(self, image: Picture | Sequence[Picture], text: str | Sequence[str]) -> list[Answer]: ...
    def entails(self, image: Picture | Sequence[Picture], text: str | Sequence[str]) -> Answer | list[Answer]:
        """Does the picture entail the text, contradict it, or leave it open (neutral)?"""
        images, texts, single = _aligned(image, text)
        return _unwrap(self._judge("entailment", images, texts, pictures=1), single)

    @overload
    def caption(
        self,
        images: Picture,
        prompt: str = "",
        *,
        beam: int = 5,
        samples: int = 0,
        temperature: float = 1.0,
        top: int = 0,
    ) -> Caption: ...
    @overload
    def caption(
        self,
        images: Sequence[Picture],
        prompt: str = "",
        *,
        beam: int = 5,
        samples: int = 0,
        temperature: float = 1.0,
        top: int = 0,
    ) -> list[Caption]: ...
    @torch.no_grad()
    def caption(
        self,
        images: Picture | Sequence[Picture],
        prompt: str = "",
        *,
        beam: int = 5,
        samples: int = 0,
        temperature: float = 1.0,
        top: int = 0,
    ) -> Caption | list[Caption]:
        """Describe pictures, in words that go on from `prompt` if one is given.

        beam: captions kept while searching for the best; 1 is greedy. samples: draw so many captions instead, at
        `temperature`, each word from the `top` likeliest (0: from all).
        What is found beside the best is in `alternatives`.
        """
        self._require_head("caption")
        head: Captioning = self.model.head("caption")  # type: ignore[assignment]
        search = head.decoding.published and not samples
        decoding = replace(
            head.decoding, beam=beam, samples=samples, temperature=temperature, top=top, published=search
        )
        words = self.tokenizer.ids([prompt.rstrip()], sys.maxsize)[0][1:-1] if prompt else []
        if len(words) >= decoding.max_tokens:
            raise TaskError(
                f"the prompt has {len(words)} tokens; this model writes {decoding.max_tokens} in all: shorten it"
            )
        decoding = replace(decoding, max_tokens=decoding.max_tokens - len(words))
        pictures, captions = _as_list(images), []
        for start in range(0, len(pictures), CHUNK):
            states = self.system.encode_image(self.images(pictures[start : start + CHUNK]))
            written = head.write(self.system, head.writer.remember(self.system, states), decoding, words)
            captions += [Caption(a.text, a.score, a.alternatives) for a in head.answers(written, prompt.strip())]
        return captions if _is_list(images) else captions[0]

    # --- regions -----------------------------------------------------------------------------------------------

    @overload
    def detect(
        self, images: Picture, labels: str | Sequence[str], threshold: float | Mapping[str, float] = 0.3, *, rest: float = 0.3,
        most: int = 100, overlap: float = 0.6,
    ) -> list[Detection]: ...  # fmt: skip
    @overload
    def detect(
        self, images: Sequence[Picture], labels: str | Sequence[str], threshold: float | Mapping[str, float] = 0.3, *,
        rest: float = 0.3, most: int = 100, overlap: float = 0.6,
    ) -> list[list[Detection]]: ...  # fmt: skip
    @torch.no_grad()
    def detect(
        self,
        images: Picture | Sequence[Picture],
        labels: str | Sequence[str],
        threshold: float | Mapping[str, float] = 0.3,
        *,
        rest: float = 0.3,
        most: int = 100,
        overlap: float = 0.6,
    ) -> list[Detection] | list[list[Detection]]:
        """Find things of any classes, best first. Pictures may differ in size; each is encoded once,
        however many classes there are.

        labels: names of classes, which come back as they are written. threshold: the least score, of all classes or of
        those it names (the others then have `rest`). most: of a picture. overlap: of two boxes of one class that
        overlap by more, the worse goes.
        """
        names: list[str] = _as_list(labels)
        found = self._eye().detect(self._opened(images), names, threshold, rest, most, overlap)
        return found if _is_list(images) else found[0]

    @overload
    def ground(
        self, images: Picture, caption: str, phrases: Sequence[str | Span] = (), *, threshold: float = 0.3
    ) -> list[Grounding]: ...
    @overload
    def ground(
        self, images: Sequence[Picture], caption: str, phrases: Sequence[str | Span] = (), *, threshold: float = 0.3
    ) -> list[list[Grounding]]: ...
    @torch.no_grad()
    def ground(
        self,
        images: Picture | Sequence[Picture],
        caption: str,
        phrases: Sequence[str | Span] = (),
        *,
        threshold: float = 0.3,
    ) -> list[Grounding] | list[list[Grounding]]:
        """Find what the phrases of a caption name.

        phrases: words of the caption, or characters [start, end) of it; without any, those that `vlfuse.data.phrases`
        takes for phrases. A phrase that is not in the picture has no boxes.
        """
        if not caption.strip():
            raise TaskError("the caption is blank; write what is to be found")
        spans = phrase_spans(caption, phrases) if phrases else noun_phrases(caption)
        check_threshold(threshold)
        keep = replace(GROUND, threshold=threshold**2 * (1 - FEW), most=GROUND.most * len(spans))
        found = self._eye().ground(self._opened(images), caption, spans, threshold, keep)
        return found if _is_list(images) else found[0]

    @overload
    def refer(self, images: Picture, expression: str) -> Detection: ...
    @overload
    def refer(self, images: Picture, expression: Sequence[str]) -> list[Detection]: ...
    @overload
    def refer(self, images: Sequence[Picture], expression: str | Sequence[str]) -> list[Detection]: ...
    @torch.no_grad()
    def refer(
        self, images: Picture | Sequence[Picture], expression: str | Sequence[str]
    ) -> Detection | list[Detection]:
        """The one thing that an expression means: one picture and one expression, one picture and many expressions (it
        is encoded once), or lists of equal length. Its score says how sure the model is."""
        pictures, texts, single = _aligned(images, expression)
        if not texts or not all(text.strip() for text in texts):
            raise TaskError("an expression is blank; write what is meant, such as 'the dog on the left'")
        eye = self._eye()
        if len(pictures) == 1:
            found = eye.refer(self._opened(pictures), texts, REFER)[0]
        else:
            pairs = zip(pictures, texts, strict=True)
            found = [eye.refer(self._opened([picture]), [text], REFER)[0][0] for picture, text in pairs]
        return found[0] if single else found

    def _opened(self, images: Picture | Sequence[Picture]) -> list[Image.Image]:
        """Upright RGB pictures. Raises TaskError where there is none."""
        pictures: list[Picture] = _as_list(images)
        if not pictures:
            raise TaskError("no picture was given; give at least one")
        return [load_image(_from_tensor(source)) for source in pictures]

    def _eye(self) -> Eye:
        self._require_head("grounding")
        head: GroundingHead = self.model.head("grounding")  # type: ignore[assignment]
        given = self.transform
        return Eye(self.system, head, self.tokenizer, self.max_text, given.size, given.mean, given.std, self.device)

    # --- matching --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def match(
        self,
        images: Picture | Sequence[Picture],
        texts: str | Sequence[str],
        how: str = "two-stage",
        candidates: int = 32,
    ) -> Tensor:
        """Scores [images, texts], higher is better; compare them along a row.

        how: "contrastive" (cosine similarity over temperature), "fused" (matching logit of every pair) or "two-stage"
        (the best `candidates` texts of each image by contrastive score are re-ranked by both scores together).
        """
        if how not in ("contrastive", "fused", "two-stage"):
            raise TaskError(f"how is '{how}'; allowed: contrastive, fused, two-stage")
        pictures, sentences = _as_list(images), _as_list(texts)
        image, text = self._image_states(pictures), self._text_states(sentences)
        similarity = self.system.similarity(self.system.project_image(image), self.system.project_text(text))
        if how == "contrastive":
            return similarity.cpu()
        gallery = Gallery(image, text, torch.zeros(len(sentences), dtype=torch.long), similarity)
        chosen = top(similarity, candidates if how == "two-stage" else len(sentences))
        logits = fused_where(chosen, self.system, self._matching(), gallery)
        if how == "fused":
            return logits[..., 1].cpu()
        return lift(similarity, self._matching().evidence(logits, similarity), chosen).cpu()

    @torch.no_grad()
    def embed_image(self, images: Picture | Sequence[Picture]) -> Tensor:
        """Unit vectors [B, E] ([E] for one image) of the contrastive space."""
        pictures = _as_list(images)
        vectors = [
            self.system.project_image(self._image_states(pictures[i : i + CHUNK]))
            for i in range(0, len(pictures), CHUNK)
        ]
        return torch.cat(vectors).cpu() if _is_list(images) else vectors[0][0].cpu()

    @torch.no_grad()
    def embed_text(self, texts: str | Sequence[str]) -> Tensor:
        """Unit vectors [N, E] ([E] for one text) of the contrastive space."""
        sentences = _as_list(texts)
        vectors = [
            self.system.project_text(self._text_states(sentences[i : i + CHUNK]))
            for i in range(0, len(sentences), CHUNK)
        ]
        return torch.cat(vectors).cpu() if not isinstance(texts, str) else vectors[0][0].cpu()

    # --- from the user's things to tensors ---------------------------------------------------------------------

    def images(self, sources: Sequence[Picture]) -> Images:
        """Open and preprocess pictures: Images on the model's device. Raises TaskError where there is none."""
        no_boxes, no_chance = torch.zeros(0, 4), np.random.default_rng(0)
        pixels = [self.transform(picture, no_boxes, no_chance)[0] for picture in self._opened(sources)]
        return join_pictures(pixels).to(self.device)

    @property
    def system(self) -> System:
        return self.model.system

    def _image_states(self, sources: Sequence[Picture]) -> ImageState:
        images = self.images(sources)
        return cat(*(self.system.encode_image(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)))

    def _text_states(self, texts: Sequence[str]) -> TextState:
        if not texts:
            raise TaskError("no text was given; give at least one")
        tokens = self.tokenizer.encode(list(texts), self.max_text).to(self.device)
        return cat(*(self.system.encode_text(tokens[i : i + CHUNK]) for i in range(0, len(tokens), CHUNK)))

    def _judge(self, head: str, images: list[Picture], texts: list[str], pictures: int) -> list[Answer]:
        """Answers of a head that reads one text row with `pictures` image rows;
        one set of pictures may serve every text."""
        self._require_head(head)
        field = self.model.head(head).reads
        answers: list[Answer] = []
        shared = len(images) == pictures and len(texts) > 1
        for start in range(0, len(texts), CHUNK):
            rows = texts[start : start + CHUNK]
            shown = images if shared else images[start * pictures : (start + CHUNK) * pictures]
            owner = torch.zeros(len(rows), dtype=torch.long) if shared else torch.arange(len(rows))
            if pictures > 1:
                owner = owner[:, None] * pictures + torch.arange(pictures)
            asked = Texts(self.tokenizer.encode(list(rows), self.max_text).to(self.device), owner.to(self.device))
            batch = Batch(
                self.images(shown),
                questions=asked if field == "questions" else None,
                statements=asked if field == "statements" else None,
            )
            answers += self.model.decode(batch, head)
        return answers

    def _require_head(self, head: str) -> None:
        if head not in self.model.heads:
            have = ", ".join(self.model.heads) or "none"
            raise TaskError(
                f"{self.name} has no head '{head}' (it has: {have}); `vlfuse models` lists models and their heads, "
                f"`vlfuse train {head}` trains one"
            )

    def _matching(self) -> ImageTextMatching:
        if "itm" not in self.model.heads:
            raise TaskError(f'{self.name} has no matching head; use how="contrastive", or train one with itm')
        return self.model.head("itm")  # type: ignore[return-value]


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _as_list(value: T | Sequence[T]) -> list[T]:
    return list(value) if _is_list(value) else [value]  # type: ignore[arg-type,list-item]


def _aligned(image: Picture | Sequence[Picture], text: str | Sequence[str]) -> tuple[list[Picture], list[str], bool]:
    """Lists of equal length, or one image for many texts; and whether the caller gave one of each."""
    images, texts = _as_list(image), _as_list(text)
    if len(texts) == 1 and len(images) > 1:
        texts = texts * len(images)
    if len(images) not in (1, len(texts)):
        raise TaskError(f"{len(images)} images and {len(texts)} texts; give one image, one text, or as many of each")
    return images, texts, not _is_list(image) and isinstance(text, str)


def _unwrap(answers: list[Answer], single: bool) -> Answer | list[Answer]:
    return answers[0] if single else answers


def _from_tensor(source: Picture) -> ImageSource:
    """A [3, H, W] tensor in [0, 1] becomes an [H, W, 3] uint8 array; anything else is passed on."""
    if isinstance(source, Tensor):
        if source.ndim != 3 or source.shape[0] != 3:
            raise TaskError(f"an image tensor must be [3, H, W] with values in [0, 1], not {list(source.shape)}")
        return (source.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return source
