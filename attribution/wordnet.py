"""Builds assets/wordnet.json.gz from WordNet 3.0: `python -m attribution.wordnet FOLDER TARGET`.

FOLDER holds WordNet's own files (Debian's package wordnet-base puts them into /usr/share/wordnet). The licence is
written beside the table. A second run gives the same bytes.
"""

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
LICENCE = "WORDNET-LICENSE"
_WORD = re.compile(r"[a-z]{2,}")

Synsets = dict[tuple[str, str], tuple[list[str], dict[str, list[str]]]]


def build_table(folder: Path) -> dict[str, Any]:
    """lemmas: {part of speech: {lemma: [count, synonyms, antonyms]}}; exceptions: {part of speech: {form: lemmas}}.

    count: how often the lemma was tagged in WordNet's corpora. Synonyms share a synset with the lemma, those of its
    more frequent senses first. A synonym or antonym is kept where it is one word of lower-case letters that was tagged
    at least once as that part of speech: this drops phrases, names and rare words. A lemma with nothing to say, neither
    count nor words, is left out.
    """
    counts, synsets = _counts(folder), _synsets(folder)
    lemmas: dict[str, dict[str, list[Any]]] = {}
    for part in FILES:
        lemmas[part] = {}
        for lemma, offsets in sorted(_senses(folder, part)):
            found = [synsets[part, offset] for offset in offsets]
            same = _kept((w for words, _ in found for w in words), lemma, part, counts)
            other = _kept((w for _, opposite in found for w in opposite.get(lemma, [])), lemma, part, counts)
            if _WORD.fullmatch(lemma) and (counts[lemma, part] or same or other):
                lemmas[part][lemma] = [counts[lemma, part], same, other]
    return {"lemmas": lemmas, "exceptions": {part: _exceptions(folder, part) for part in FILES}}


def write_table(folder: Path, target: Path) -> None:
    """Write the table of a folder of WordNet's files, and WordNet's licence beside it."""
    text = json.dumps(build_table(folder), sort_keys=True, separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    (target.parent / LICENCE).write_text(_licence(folder), encoding="utf8")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file of WordNet below its licence."""
    with path.open(encoding="latin1") as file:
        yield from (line for line in file if not line.startswith(" "))


def _counts(folder: Path) -> Counter[tuple[str, str]]:
    """How often each lemma was tagged as a part of speech, over all its senses."""
    made: Counter[tuple[str, str]] = Counter()
    for line in _lines(folder / "cntlist.rev"):
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        made[lemma, TYPES[rest[0]]] += int(count)
    return made


def _synsets(folder: Path) -> Synsets:
    """Each synset's words and, by word, the words of that it is an antonym of."""
    fields = {(part, f[0]): f for part, name in FILES.items() for f in map(str.split, _lines(folder / f"data.{name}"))}
    words = {key: [_plain(f[4 + 2 * i]) for i in range(int(f[3], 16))] for key, f in fields.items()}
    made: Synsets = {}
    for key, f in fields.items():
        at, opposite = 4 + 2 * len(words[key]), {}
        for pointer in range(int(f[at])):
            symbol, offset, kind, places = f[at + 1 + 4 * pointer : at + 5 + 4 * pointer]
            if symbol == "!":
                source, goal = int(places[:2], 16) - 1, int(places[2:], 16) - 1
                part = "a" if kind == "s" else kind
                opposite.setdefault(words[key][source].lower(), []).append(words[part, offset][goal])
        made[key] = (words[key], opposite)
    return made


def _plain(word: str) -> str:
    """A word of a synset without the mark of where an adjective may stand, such as (a)."""
    return word.partition("(")[0]


def _senses(folder: Path, part: str) -> Iterator[tuple[str, list[str]]]:
    """Every lemma of a part of speech with the offsets of its synsets, the most frequent sense first."""
    for line in _lines(folder / f"index.{FILES[part]}"):
        fields = line.split()
        yield fields[0], fields[6 + int(fields[3]) :]


def _kept(words: Iterator[str], lemma: str, part: str, counts: Counter[tuple[str, str]]) -> list[str]:
    kept = (w for w in words if w != lemma and _WORD.fullmatch(w) and counts[w, part])
    return list(dict.fromkeys(kept))


def _exceptions(folder: Path, part: str) -> dict[str, list[str]]:
    """WordNet's irregular forms of one word each, with their lemmas."""
    rows = (line.split() for line in _lines(folder / f"{FILES[part]}.exc"))
    return {form: lemmas for form, *lemmas in rows if all(map(_WORD.fullmatch, (form, *lemmas)))}


def _licence(folder: Path) -> str:
    """The licence that heads each of WordNet's data files."""
    with (folder / "data.noun").open(encoding="latin1") as file:
        head = [line for line in file if line.startswith(" ")]
    return "".join(re.sub(r"^ +\d+ ?", "", line).rstrip() + "\n" for line in head)


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), Path(sys.argv[2]))
