"""The tokenizer of generated scenes: byte-level BPE, lower-casing, with one token for each word of their language.

`python -m vlfuse.data.scenes.vocabulary` makes `vlfuse/data/assets/scenes-tokenizer.json` again, byte for byte.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vlfuse.data.scenes.dataset import SceneDataset

TOKENIZER = Path(__file__).parent.parent / "assets" / "scenes-tokenizer.json"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, as in RoBERTa; <mask> is the last id, as there
SIZE = 1000
OFTEN = 1000  # occurrences below which a word might be built from pieces

# Words that people use of simple pictures and the generator does not.
MORE_WORDS = """
about above across all almost also an and another any anything around as at attached base be behind being below beneath
beside between big bigger biggest block blocks both bottom box boxes but by can circles close closely color colored
colors colour coloured colours column contain contained containing contains corner corners crosses cyan dark different
directly do does each edge edges eight eighth either else equal even every exactly except far few fewer fifth first five
four fourth from gray grey greater group half has have having height here hexagon high higher how if images in inside
into is isn't it items its just kind kinds larger largest last least left less light line list located long lower many
medium middle more most multiple near nearest nearly neither next nine no none nor not number objects odd of off on once
one ones only opposite or orange order other others out over pair part pink picture placed point position positions
present rectangles right roof row same second see seven seventh shade shape shaped shapes shown side sides similar since
single six sixth sizes smaller smallest so some square squares stack stacked stands stars such taller tallest ten than
that the their them then there these they thing things third this those three through times to together too top total
touch touches touching toward tower towers triangles two under up upper wall was ways were what when where which while
white who whose wide width with within without would yellow yes zero 0 1 2 3 4 5 6 7 8 9 10 ' s t ll
photo photograph man woman person people dog cat car ball table food water street tree sky building
"""


def build(samples: int = 1500) -> Tokenizer:
    """Train the tokenizer on `samples` generated samples of each kind and MORE_WORDS; the same each time."""
    words: Counter[str] = Counter()
    for paired, entailment in ((False, False), (True, False), (False, True)):
        dataset = SceneDataset(samples, statements=6, size=64, paired=paired, entailment=entailment)
        for i in range(samples):
            sample = dataset[i]
            texts = [*sample.captions, *(q.question for q in sample.questions), *(s.text for s in sample.statements)]
            texts += [x.text for x in sample.expressions]
            texts += [answer for q in sample.questions for answer in q.answers]
            words.update(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text))
    words.update(MORE_WORDS.split())
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - 1,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Equal numbers, so that merges depend on which words there are and not on how often the generator says them.
    tokenizer.train_from_iterator((word for word in sorted(words) for _ in range(OFTEN)), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    start, end = (tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", start), ("</s>", end)]
            ),
        ]
    )
    return tokenizer


if __name__ == "__main__":
    TOKENIZER.parent.mkdir(exist_ok=True)
    build().save(str(TOKENIZER))
    print(f"{TOKENIZER}: {build().get_vocab_size()} tokens")
