"""Captions as the words that COCO's caption metrics count: the conventions of the Penn Treebank, without Java.

The official tool runs Stanford CoreNLP 3.4.1 and drops punctuation. This follows it on captions as people write them;
rare forms (street addresses, e-mail addresses, emoticons) may break differently.
"""

import re

# Punctuation that does not count. Brackets do, under their treebank names:
# words are lower-cased before this list is asked.
DROPPED = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "--", "—": "--", "\u00a0": " "})

ABBREVIATIONS = (
    "mr|mrs|ms|dr|st|jr|sr|prof|gen|capt|sgt|rev|lt|col|vs|etc|inc|corp|ltd|co|ave|blvd|rd|mt|ft|dept|est|approx"
)
JOINED = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b|\b(gim|lem)(me)\b", re.IGNORECASE)
NEGATION = re.compile(r"(?<=\w)(n't)\b", re.IGNORECASE)
CLITIC = re.compile(r"(?<=[\w.])('(?:s|m|d|re|ve|ll))\b", re.IGNORECASE)
WORD = re.compile(
    rf"""
    (?:https?://|www\.)\S+[^\s.,;:!?)'"]            # addresses of pages
    | \.\.+ | --+                                    # points and dashes of any length
    | [?!]+
    | (?:[a-z]\.){{2,}}                              # p.m., U.S.
    | \b(?:{ABBREVIATIONS})\.
    | \d+(?:[.,:/]\d+)+(?!\w)                        # 10:30, 1,000, 3.5, 1/2
    | n't\b | '(?:s|m|d|re|ve|ll|em|n|til|tis|twas)\b | '\d\ds?\b
    | \w+(?:-\w+){{0,2}}(?:/\w+(?:-\w+){{0,2}}){{1,2}} # and/or
    | \w+(?:(?:-|'(?=\w))\w+)*                       # ice-cream, o'clock
    | [A-Z]+(?:&[A-Z]+)+
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def caption_words(text: str) -> list[str]:
    """Lower-case words of a caption: clitics split (`is n't`, `boy 's`), punctuation dropped.
    Empty where nothing is left."""
    text = text.translate(QUOTES)
    text = JOINED.sub(lambda match: " ".join(part for part in match.groups() if part), text)
    text = CLITIC.sub(r" \1", NEGATION.sub(r" \1", text))
    words = (_word(match.group().lower()) for match in WORD.finditer(text))
    return [word for word in words if word not in DROPPED]


def _word(token: str) -> str:
    if token in BRACKETS:
        return BRACKETS[token]
    if token == '"':
        return "''"  # opening or closing, it is dropped
    if re.fullmatch(r"\.\.+", token):
        return "..."
    if re.fullmatch(r"--+", token):
        return "--"
    return token.replace("/", r"\/") if not token.startswith(("http", "www.")) else token
