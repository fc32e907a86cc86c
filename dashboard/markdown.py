"""Other people's text for Streamlit's markdown fields, shown as it was written."""

import re

_MARKUP = re.compile(r"[\\`*_{}\[\]()#+\-.!|$~<>:&]")
# Icons, emoji, links and arrows are made after the escapes were taken away: only a break inside them stops it.
_MADE_LATER = re.compile(r"(?<=:)(?=\S)|(?<=www)(?=\.)|(?=@)|(?<=[-<>~])(?=[-=>])", re.IGNORECASE)
_WORD_JOINER = "\u2060"


def plain(text: str) -> str:
    """Text on one line with what markdown would obey escaped; what Streamlit would replace gets invisible breaks."""
    broken = _MADE_LATER.sub(_WORD_JOINER, " ".join(text.split()))
    return _MARKUP.sub(r"\\\g<0>", broken)
