"""Synonyms and antonyms in a word's own form, and the table that they are read from."""

import gzip
import json
from pathlib import Path

import pytest

from attribution.inflection import Form, inflect, lemmas_of
from attribution.lexicon import antonyms, reading, synonyms, wordnet
from attribution.shipped import shipped
from attribution.wordnet import build_table, write_table
from tests.tiny import refusal

HEAD = "  1 A licence of one line.\n"
MINI = {
    # offset, file, type, words, each with its lexical number, then pointers: symbol offset type places
    "data.adj": "00000001 00 a 03 warm 0 Lukewarm 0 tepid(p) 0 001 ! 00000002 a 0101 | of heat\n"
    "00000002 00 a 02 cold 0 ice_cold 0 002 ! 00000001 a 0101 ! 00000001 a 0203 | of no heat\n"
    "00000003 00 s 02 warm 0 friendly 0 000 | of people\n",
    "index.adj": "warm a 2 1 ! 2 1 00000003 00000001\ntepid a 1 0 1 0 00000001\ncold a 1 1 ! 1 1 00000002\n",
    "data.noun": "00000009 00 n 02 mouse 0 rodent 0 000 | small\n",
    "index.noun": "mouse n 1 0 1 0 00000009\n",
    "noun.exc": "mice mouse\nmen-at-arms man-at-arms\n",
    "cntlist.rev": "warm%3:00:00:: 2 4\nwarm%5:00:01:hot:00 1 3\ncold%3:00:00:: 1 5\ntepid%3:00:00:: 1 1\n"
    "friendly%5:00:00:warm:00 1 2\nlukewarm%3:00:00:: 1 1\n",
}
FILES = [*(f"{k}.{p}" for k in ("data", "index") for p in ("noun", "verb", "adj", "adv")), "cntlist.rev"]
FILES += [f"{part}.exc" for part in ("noun", "verb", "adj", "adv")]


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A WordNet of five words in the files' own format."""
    for name in FILES:
        head = "" if name.endswith((".exc", ".rev")) else HEAD
        (tmp_path / name).write_text(head + MINI.get(name, ""), encoding="latin1")
    return tmp_path


def test_the_table_holds_what_the_files_say(mini: Path) -> None:
    """Counts sum over senses, the frequent sense leads, names and untagged words are out, antonyms are a word's own."""
    table = build_table(mini)
    assert table["lemmas"]["a"] == {
        "warm": [7, ["friendly", "tepid"], ["cold"]],
        "tepid": [1, ["warm"], []],
        "cold": [5, [], ["warm"]],
    }
    assert table["lemmas"]["n"] == {}, "'mouse' has no count and no synonym with one"
    assert table["exceptions"]["n"] == {"mice": ["mouse"]}, "one word each"


def test_the_same_files_make_the_same_bytes_and_the_licence(mini: Path, tmp_path: Path) -> None:
    """No time and no order of a set gets into the table; WordNet's licence stands beside it."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_table(mini, tmp_path / name / "table.json.gz")
        made.append((tmp_path / name / "table.json.gz").read_bytes())
    assert made[0] == made[1]
    assert json.loads(gzip.decompress(made[0])) == build_table(mini)
    assert (tmp_path / "one" / "WORDNET-LICENSE").read_text() == "A licence of one line.\n"


def test_the_shipped_table_has_its_licence() -> None:
    """What ships is WordNet's, under WordNet's licence, and as large as the README says."""
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in shipped("WORDNET-LICENSE").read_text()
    lemmas = wordnet()["lemmas"].values()
    assert sum(bool(entry[1]) for part in lemmas for entry in part.values()) == 24_244
    assert sum(bool(entry[2]) for part in lemmas for entry in part.values()) == 2_983


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("films", "movies"),
        ("stories", "tales"),
        ("children", "kids"),
        ("loved", "enjoyed"),
        ("enjoys", "loves"),
        ("stopping", "halting"),
        ("wrote", "composed"),
        ("took", "brought"),
        ("funniest", "oddest"),
        ("funnier", "more amusing"),
        ("quickly", "rapidly"),
        ("Terrible", "Awful"),
        ("TERRIBLE", "AWFUL"),
    ],
)
def test_a_synonym_has_the_form_and_the_capitals_of_the_word(word: str, other: str) -> None:
    """Plural for plural, past for past, comparative for comparative."""
    assert other in synonyms(word)


@pytest.mark.parametrize(("word", "other"), [("best", "worst"), ("loved", "hated"), ("slowly", "quickly")])
def test_an_antonym_is_the_opposite_and_no_synonym(word: str, other: str) -> None:
    """Repair may turn a word round; an attack may not."""
    assert other in antonyms(word)
    assert other not in synonyms(word)


def test_words_that_mean_nothing_alone_have_no_synonyms() -> None:
    """Stop words, words that are not in the table, and marks are left as they are."""
    for word in ("the", "was", "not", "zzyzx", "...", "3rd", "a"):
        assert synonyms(word) == antonyms(word) == [], word


def test_a_part_of_speech_can_be_asked_for() -> None:
    """'story' as a noun is a tale; the likeliest reading of 'plans' is the verb, and the noun can be asked for."""
    assert reading("plans", "noun") != reading("plans", "verb")
    assert "programs" in synonyms("plans", "noun")
    assert "Known: noun, verb, adjective, adverb" in refusal(lambda: synonyms("plans", "pronoun"))  # pyright: ignore


def test_no_word_is_replaced_by_itself_or_by_two_forms() -> None:
    """A form that is past and participle is replaced by verbs of which both are one form: 'paid' never by 'gave'."""
    assert "give" in synonyms("pay")
    assert not {"gave", "given"} & set(synonyms("paid"))
    for word in ("loved", "stopped", "seen", "films"):
        assert word not in synonyms(word)
        assert len(set(synonyms(word))) == len(synonyms(word))


def test_a_form_leads_back_to_its_lemma() -> None:
    """WordNet's morphology undoes the inflector for nearly every lemma of the table; its own rules are the judge."""
    irregular, missed, made = wordnet()["exceptions"], [], 0
    forms: dict[str, tuple[Form, ...]] = {"n": ("plural",), "v": ("third", "past", "participle", "ing"), "a": ()}
    for part, wanted in forms.items():
        for lemma in list(wordnet()["lemmas"][part])[::5]:
            for form in wanted if lemma not in ("be", "have", "do") else ():
                word = inflect(lemma, part, form, irregular)
                made += 1
                if word is None or lemma not in {found for found, _ in lemmas_of(word, part, irregular)}:
                    missed.append((lemma, form, word))
    assert made > 7000
    assert len(missed) < 0.005 * made, missed[:20]


@pytest.mark.parametrize(
    ("lemma", "past", "participle"),
    [
        ("see", "saw", "seen"),
        ("begin", "began", "begun"),
        ("sink", "sank", "sunk"),
        ("show", "showed", "shown"),
        ("beat", "beat", "beaten"),
        ("become", "became", "become"),
        ("cut", "cut", "cut"),
        ("think", "thought", "thought"),
        ("plan", "planned", "planned"),
        ("enter", "entered", "entered"),
        ("carry", "carried", "carried"),
        ("die", "died", "died"),
    ],
)
def test_past_and_participle_are_told_apart(lemma: str, past: str, participle: str) -> None:
    """WordNet's list does not say which is which; a form that could be either is only given where both are one."""
    irregular = wordnet()["exceptions"]
    assert inflect(lemma, "v", "past", irregular) == past
    assert inflect(lemma, "v", "participle", irregular) == participle
    assert inflect(lemma, "v", "past or participle", irregular) == (past if past == participle else None)
