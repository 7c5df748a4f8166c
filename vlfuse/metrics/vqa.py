"""VQA accuracy with the official normalisation of answers (Antol et al. 2015, evaluation of VQA v2.0).

The clean-up here is for scoring; label lists for training are made with a slightly different one,
see `vlfuse.data.answers`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from vlfuse.metrics.accuracy import group_means, require_pairs

ANNOTATORS = 10
AGREEMENT = 3  # other annotators that must give an answer for it to be wholly right
MOST_PERIODS = 32  # the official code removes no more

SYMBOLS = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0"} | {word: str(value) for value, word in enumerate(NUMBERS)}

# Words that are mended when written with any one apostrophe missing.
CONTRACTED = """
'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're what's what've when's where'd where's
where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've
y'all'll you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word for word in CONTRACTED.split() for at, letter in enumerate(word) if letter == "'"
} | {"somebody'd": "somebodyd"}  # the one the official table turns the other way; "lets" and "shes" it does not know


def vqa_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
    """The accuracy of every prediction in [0, 1] against the answers people gave to its question."""
    require_pairs(predictions, answers)
    return [vqa_score(prediction, given) for prediction, given in zip(predictions, answers, strict=True)]


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """Mean over annotators of min(1, how many of the others gave the prediction / 3).

    With ten annotators this is the official figure, which normalises only where they do not all agree to the letter.
    With another number of them, which that figure is not defined for, answers are always normalised and the counts
    scaled to ten and rounded down, so that the answer of a single annotator is wholly right.
    """
    given = [tidy(answer) for answer in answers]
    prediction = tidy(prediction)
    if len(given) != ANNOTATORS or len(set(given)) > 1:
        given, prediction = [normalise(answer) for answer in given], normalise(prediction)
    same = given.count(prediction) * ANNOTATORS // max(len(given), 1)
    for_agreeing, for_others = min(1.0, max(same - 1, 0) / AGREEMENT), min(1.0, same / AGREEMENT)
    return (same * for_agreeing + (ANNOTATORS - same) * for_others) / ANNOTATORS


def vqa_percent(scores: Sequence[float], groups: Sequence[str] | None = None) -> dict[str, float]:
    """Percentages as the official tool prints them, to two decimals: {"overall", and the mean of each group (a question
    or answer type)}."""
    means = {"overall": sum(scores) / len(scores)} if scores else {}
    if groups is not None:
        means |= group_means(scores, groups)
    return {name: round(100 * mean, 2) for name, mean in means.items()}


def tidy(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=2**16)
def normalise(answer: str) -> str:
    """Both steps of the official clean-up; answers that mean the same word become one string."""
    return plain_words(without_punctuation(tidy(answer)))


def without_punctuation(text: str) -> str:
    """First step. A symbol beside a blank anywhere in the text is deleted, any other becomes a blank; where the text
    has a number such as 10,000 all are deleted. Then periods go, but for those before a digit."""
    glued = re.search(r"\d,\d", text) is not None
    cleaned = text
    for symbol in SYMBOLS:
        beside_blank = f"{symbol} " in text or f" {symbol}" in text
        cleaned = cleaned.replace(symbol, "" if glued or beside_blank else " ")
    return re.sub(r"\.(?!\d)", "", cleaned, count=MOST_PERIODS)


def plain_words(text: str) -> str:
    """Second step: lower case, digits for number words, no articles, apostrophes where they belong."""
    words = (DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
