"""The regular and irregular forms of English words: from a form to its lemmas, and from a lemma to a form.

From a form: WordNet's own morphology, its exception lists first and then its endings ("morphy"). To a form: the
exception lists the other way round, then the rules of spelling. Parts of speech are WordNet's n, v, a and r.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

Form = Literal[
    "base", "plural", "third", "past", "participle", "past or participle", "ing", "comparative", "superlative"
]
Irregular = Mapping[str, Mapping[str, list[str]]]

# WordNet's detachment rules: an ending, what stands in its place in the lemma, and the form that it marks.
ENDINGS: dict[str, tuple[tuple[str, str, Form], ...]] = {
    "n": (
        ("s", "", "plural"),
        ("ses", "s", "plural"),
        ("xes", "x", "plural"),
        ("zes", "z", "plural"),
        ("ches", "ch", "plural"),
        ("shes", "sh", "plural"),
        ("men", "man", "plural"),
        ("ies", "y", "plural"),
    ),
    "v": (
        ("s", "", "third"),
        ("ies", "y", "third"),
        ("es", "e", "third"),
        ("es", "", "third"),
        ("ed", "e", "past or participle"),
        ("ed", "", "past or participle"),
        ("ing", "e", "ing"),
        ("ing", "", "ing"),
    ),
    "a": (
        ("er", "", "comparative"),
        ("est", "", "superlative"),
        ("er", "e", "comparative"),
        ("est", "e", "superlative"),
    ),
    "r": (),
}
UNCHANGED = frozenset(
    "bet bid burst cast cost cut hit hurt let put quit read rid set shed shut slit split spread thrust upset "
    "broadcast forecast".split()
)
# Past and participle of the verbs of which WordNet's list has one form alone.
HALF_LISTED = {"beat": ("beat", "beaten"), "come": ("came", "come"), "run": ("ran", "run")}
SUPPLETIVE = {"good": ("better", "best"), "well": ("better", "best"), "bad": ("worse", "worst")}
PLURALS = frozenset("children feet teeth mice geese oxen lice media criteria phenomena".split())
_SYLLABLE = re.compile(r"[aeiouy]+")
_DOUBLED = re.compile(r"[^aeiouy]*[aeiou][bdfgklmnprtvz]")


def lemmas_of(word: str, part: str, irregular: Irregular) -> Iterator[tuple[str, Form]]:
    """What a word in lower case may be a form of, as one part of speech: the lemma and the form, itself first.

    Not every lemma is a word.
    """
    yield word, "base"
    for lemma in irregular[part].get(word, []):
        yield lemma, _irregular_form(word, lemma, part, irregular)
    for ending, instead, form in ENDINGS[part]:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            yield word.removesuffix(ending) + instead, form


def inflect(lemma: str, part: str, form: Form, irregular: Irregular) -> str | None:
    """A form of a lemma; None where there is none that is sure.

    "past or participle" is for a word that may be either: None for a lemma whose two differ. Long adjectives and
    adverbs take more and most.
    """
    if form == "base":
        return lemma
    if part == "n":
        return _plural(lemma, irregular["n"])
    if part == "v":
        return _verb(lemma, form, irregular["v"])
    return _compared(lemma, part, form, irregular[part])


def _listed(lemma: str, irregular: Mapping[str, list[str]]) -> list[str]:
    """The irregular forms of a lemma. Cost: one pass over the list."""
    return [form for form, lemmas in irregular.items() if lemma in lemmas and form != lemma]


def _irregular_form(word: str, lemma: str, part: str, irregular: Irregular) -> Form:
    if part == "n":
        return "plural"
    if part != "v":
        return "superlative" if word.endswith("st") else "comparative"
    if word.endswith("ing"):
        return "ing"
    past, participle = _pasts(lemma, irregular["v"])
    if past == participle == word:
        return "past or participle"
    return "past" if word == past else "participle" if word == participle else "third"


def _plural(lemma: str, irregular: Mapping[str, list[str]]) -> str:
    for form in _listed(lemma, irregular):
        if form in PLURALS or form.endswith(("ves", "men", "oes")) or (lemma.endswith("sis") and form.endswith("ses")):
            return form
    return _with_s(lemma)


def _with_s(lemma: str, *, after_o: str = "s") -> str:
    if lemma.endswith(("s", "x", "z", "ch", "sh")):
        return lemma + "es"
    if re.search(r"[^aeiou]y$", lemma):
        return lemma[:-1] + "ies"
    return lemma + after_o if re.search(r"[^aeiou]o$", lemma) else lemma + "s"


def _verb(lemma: str, form: Form, irregular: Mapping[str, list[str]]) -> str | None:
    if form == "third":
        return {"be": "is", "have": "has"}.get(lemma) or _with_s(lemma, after_o="es")
    if form == "ing":
        listed = [found for found in _listed(lemma, irregular) if found.endswith("ing")]
        return listed[0] if listed else _stem(lemma, "ing") + "ing"
    past, participle = _pasts(lemma, irregular)
    if form == "past or participle":
        return past if past == participle else None
    return past if form == "past" else participle


def _pasts(lemma: str, irregular: Mapping[str, list[str]]) -> tuple[str, str]:
    """The past and the participle of a verb."""
    if lemma in UNCHANGED:
        return lemma, lemma
    for end, (past, participle) in HALF_LISTED.items():
        if lemma.endswith(end) and lemma.removesuffix(end) in ("", "be", "over", "out"):
            return lemma.removesuffix(end) + past, lemma.removesuffix(end) + participle
    listed = [form for form in _listed(lemma, irregular) if not form.endswith(("ing", "s"))]
    regular = [form for form in listed if form.endswith("ed")]
    if regular or not listed:
        made = regular[0] if regular else _stem(lemma, "ed") + "ed"
        return made, made
    if len(listed) == 1 and listed[0] in (lemma + "n", lemma.removesuffix("e") + "en"):
        return _stem(lemma, "ed") + "ed", listed[0]
    participles = [form for form in listed if _is_participle(form, listed)]
    pasts = [form for form in listed if form not in participles]
    # For three forms, such as sank, sunk and sunken, or bore, born and borne, the shorter and later is today's.
    participle = min(participles, key=len) if participles else pasts[-1]
    return (pasts[-1] if pasts else participle), participle


def _is_participle(form: str, listed: list[str]) -> bool:
    """Whether one of a verb's irregular forms is its participle: drunk beside drank, or taken, done, torn."""
    if len(listed) == 1:
        return False
    by_vowel = {one for one in listed if "u" in one and one.replace("u", "a") in listed}
    if by_vowel:
        return form in by_vowel or form.endswith("ken")
    return form.endswith(("n", "ne"))


def _stem(lemma: str, ending: str) -> str:
    """A verb as it stands before -ed or -ing."""
    if ending == "ing" and re.fullmatch(r"[^aeiou]{1,2}ie", lemma):
        return lemma[:-2] + "y"
    if ending == "ed" and re.search(r"[^aeiou]y$", lemma):
        return lemma[:-1] + "i"
    if lemma.endswith("e") and (ending == "ed" or not lemma.endswith(("ee", "oe", "ye"))):
        return lemma[:-1]
    return lemma + lemma[-1] if _DOUBLED.fullmatch(lemma) else lemma


def _compared(lemma: str, part: str, form: Form, irregular: Mapping[str, list[str]]) -> str:
    place = 0 if form == "comparative" else 1
    if lemma in SUPPLETIVE:
        return SUPPLETIVE[lemma][place]
    ending, before = (("er", "more"), ("est", "most"))[place]
    listed = [found for found in _listed(lemma, irregular) if found.endswith(ending)]
    if listed:
        return listed[0]
    spoken = lemma.removesuffix("e")
    if part == "r" or len(_SYLLABLE.findall(spoken)) > 1 or lemma.endswith(("ed", "ing")):
        return f"{before} {lemma}"
    return (spoken + spoken[-1] if _DOUBLED.fullmatch(lemma) else spoken) + ending
