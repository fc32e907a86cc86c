"""Generated sentence pairs: the overlap says what was asked of it, and every label follows from the sentences alone."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from attribution.data import data_digest
from attribution.grammar import HIGH, LOW, overlap, sentence_pairs
from attribution.grammar.patterns import CASES, LABELS, PATTERNS
from attribution.grammar.words import SORTS, VERBS
from attribution.sources import read_source
from tests.tiny import refusal

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def pairs() -> Tables:
    return read_source("grammar/sentence-pairs")


@pytest.fixture(scope="module")
def control() -> Tables:
    return sentence_pairs(artifact=0.5, n_train=2000, n_natural=200, n_case=10, seed=3)


def shared(premise: str, hypothesis: str) -> float:
    """Share of the hypothesis's words in the premise, by splitting at blanks."""
    known = {word.strip(".,").lower() for word in premise.split()}
    asked = [word.strip(".,").lower() for word in hypothesis.split()]
    return sum(word in known for word in asked) / len(asked)


def rows(table: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Premise, hypothesis, label and case of every row."""
    return list(zip(*(table[name].tolist() for name in ("text", "text_pair", "label", "case")), strict=True))


def shares(table: pd.DataFrame) -> np.ndarray:
    """The share of shared words of every row, counted here."""
    return np.array([shared(premise, hypothesis) for premise, hypothesis, _, _ in rows(table)])


def test_a_seed_gives_the_same_pairs_and_another_seed_others() -> None:
    """Row by row; the shipped demo's digests rest on it."""
    first, again, other = (sentence_pairs(n_train=200, n_natural=40, n_case=5, seed=seed) for seed in (1, 1, 2))
    for one, two, three in zip(first, again, other, strict=True):
        pd.testing.assert_frame_equal(one, two)
        assert data_digest(one) != data_digest(three)


def test_no_pair_comes_twice(pairs: Tables) -> None:
    """Neither within a part nor in both; the rows are numbered from 0 and the sizes are those promised."""
    together = pd.concat(pairs)
    assert not together.duplicated(["text", "text_pair"]).any()
    assert (len(pairs[0]), len(pairs[1])) == (6000, 880)
    for table in pairs:
        assert table.index.tolist() == list(range(len(table))) and table.index.name == "row"


def test_the_words_are_many(pairs: Tables) -> None:
    """At least 150 words of the training pairs are nouns or verbs of the lexicon, and no noun leads."""
    counts = Counter(word for text in pairs[0]["text"] for word in re.findall(r"[a-z]+", text.lower()))
    nouns = {noun for kinds in SORTS.values() for members in kinds.values() for noun in members}
    content = nouns | {verb.past for verb in VERBS}
    assert len(content & set(counts)) >= 150
    assert max(counts[noun] for noun in nouns) < 0.01 * sum(counts.values())


@pytest.mark.parametrize("tables, rate", [("pairs", 0.9), ("control", 0.5)])
def test_overlap_predicts_entailment_as_often_as_asked(
    tables: str, rate: float, request: pytest.FixtureRequest
) -> None:
    """In training and natural test pairs, for each label; balanced labels; no overlap between the two bounds."""
    for table in request.getfixturevalue(tables):
        natural = table.query("case == 'natural'")
        high = shares(natural) >= HIGH
        assert ((shares(natural) <= LOW) | high).all()
        for label, agrees in (("entailment", high), ("non-entailment", ~high)):
            chosen = natural["label"].to_numpy() == label
            assert chosen.mean() == 0.5
            assert agrees[chosen].mean() == pytest.approx(rate, abs=0.001)


def test_the_overlap_column_is_the_share_of_shared_words(pairs: Tables) -> None:
    """To its three digits, in every row; and the function gives the same."""
    for table in pairs:
        assert np.abs(table["overlap"].to_numpy() - shares(table)).max() <= 0.0005
    assert overlap("The old potter, in tears, left.", "The potter left the potter.") == 1
    assert overlap("The potter left.", "A weaver left.") == pytest.approx(1 / 3)


def test_every_case_has_both_labels(pairs: Tables) -> None:
    """80 of each in the test set, all of whose words the premise has; every pattern is drawn."""
    _, test = pairs
    hard = test.query("case != 'natural'")
    assert Counter((case, label) for _, _, label, case in rows(hard)) == {
        (c, label): 80 for c in CASES for label in LABELS
    }
    assert (shares(hard) == 1).all()
    assert set(pd.concat(pairs)["pattern"]) == {pattern.name for pattern in PATTERNS}


def test_subsequences_and_constituents_are_runs_of_the_premise(pairs: Tables) -> None:
    """Word for word; those of the case overlap are not, or the cases would be one."""
    for premise, hypothesis, _, case in rows(pairs[1].query("case != 'natural'")):
        first, second = (re.sub(r"[.,]", "", text).lower() for text in (premise, hypothesis))
        assert (f" {second} " in f" {first} ") == (case != "overlap"), (premise, hypothesis)


# A reader of the premises on its own: the forms of a sentence, and the clauses that each form says are so.
LINK = "because|although|while|after|since|when"
MAYBE = "if|unless|in case|provided that"
BESIDE = "behind|beside|near|opposite|in front of"
W = rf"(?!(?:and|or|nor|that|was|by|in|at|on|never|nearly|almost|{BESIDE}|{LINK}|{MAYBE})\b)[a-z]+"
N = rf"the {W}"
P = rf"{W}(?: {N})?"
C = rf"{N} {P}"
READINGS = [
    (rf"(?P<a>{N}) was (?P<v>{W}) by (?P<b>{N})", ["{b} {v} {a}"]),
    (rf"(?P<a>{N}) was (?P<m>[a-z]+er) than (?P<b>{N})", ["{a} was {m} than {b}"]),
    (
        rf"(?P<a>{N}) (?P<r>was married to|sat next to|was related to|played chess with|lived with|shared a flat with)"
        rf" (?P<b>{N})",
        ["{a} {r} {b}", "{b} {r} {a}"],
    ),
    (rf"(?:both )?(?P<a>{N}) and (?P<b>{N}) (?P<p>{P})", ["{a} {p}", "{b} {p}", "{b} and {a} {p}"]),
    (rf"(?P<a>{N}) that (?P<b>{N}) (?P<v>{W}) (?P<p>{P})", ["{b} {v} {a}", "{a} {p}"]),
    (rf"(?P<a>{N}) that (?P<p>{W} {N}) (?P<q>{W})", ["{a} {p}", "{a} {q}"]),
    (rf"(?P<a>{N}) (?P<v>{W}) by (?P<b>{N}) (?P<q>{W})", ["{b} {v} {a}", "{a} {q}"]),
    (rf"the (?P<s>{W}) (?P<a>{W}) (?P<v>{W}) the (?P<t>{W}) (?P<b>{W})", ["the {a} {v} the {b}"]),
    (rf"(?P<a>{N}) (?:quietly|suddenly|slowly|proudly|secretly|eagerly) (?P<p>{P})", ["{a} {p}"]),
    (rf"(?P<a>{N}) (?:never|nearly|almost) {P}", []),
    (rf"(?P<a>{N}) (?:{BESIDE}) {N} (?P<p>{P})", ["{a} {p}"]),
    (rf"(?P<c>{C}) and (?P<d>{C})", ["{c}", "{d}"]),
    (rf"(?P<c>{C}), and (?P<d>{C})", ["{c}", "{d}"]),
    (rf"(?P<a>{N}) (?P<v>{W}) (?P<b>{N}) and (?P<d>{N})", ["{a} {v} {b}", "{a} {v} {d}"]),
    (rf"(?P<a>{N}) (?P<p>{P}) and (?P<q>{W})", ["{a} {p}", "{a} {q}"]),
    (rf"(?P<a>{N}) (?P<v>{W}) (?P<b>{N}) that (?P<d>{N}) (?P<w>{W})", ["{a} {v} {b}", "{d} {w} {b}"]),
    (rf"(?P<c>{C}) (?:in|at|on|by) the {W}", ["{c}"]),
    (rf"{N} (?:noticed|realised|remembered|discovered|regretted|knew) that (?P<c>{C})", ["{c}"]),
    (rf"{N} (?:hoped|guessed|feared|suspected|imagined|claimed|denied|doubted) that {C}", []),
    (rf"(?:{LINK}) (?P<c>{C}), (?P<d>{C})", ["{c}", "{d}"]),
    (rf"(?P<c>{C}) (?:{LINK}) (?P<d>{C})", ["{c}", "{d}"]),
    (rf"(?:{MAYBE}) {C}, {C}|{C} (?:{MAYBE}) {C}", []),
    (rf"(?:fortunately|luckily|sadly|unsurprisingly|strangely|thankfully), (?P<c>{C})", ["{c}"]),
    (rf"(?:perhaps|maybe|supposedly|allegedly|possibly|presumably) {C}", []),
    (rf"either {C} or {C}|{C}, or {C}", []),
    (rf"neither {N} nor {C}|no (?:friend|neighbour|rival|pupil) of {C}", []),
    (rf"(?:everyone except|everybody but|all except) {C}", []),
    (rf"the (?:rumour|story|letter|poem|report|song) about {C}", []),
    (rf"(?:it is not true that|nobody believed that|there is no proof that|it would be a surprise if) {C}", []),
    (rf"(?P<c>{C})", ["{c}"]),
]


def said(premise: str) -> set[str]:
    """The clauses that follow from a premise of one or two sentences, by its form alone."""
    found = set()
    for sentence in premise.lower().rstrip(".").split(". "):
        matches = ((re.fullmatch(form, sentence), follow) for form, follow in READINGS)
        match, follow = next((found for found in matches if found[0]), (None, []))
        assert match, f"no reading of '{sentence}'"
        found |= {clause.format(**match.groupdict()) for clause in follow}
    return found


@pytest.mark.parametrize(
    "premise, hypothesis, follows",
    [
        ("The potter teased the weaver.", "The weaver teased the potter.", False),
        ("The potter was teased by the weaver.", "The weaver teased the potter.", True),
        ("The potter that the weaver teased dozed.", "The weaver dozed.", False),
        ("The nurse knew that the potter dozed.", "The potter dozed.", True),
        ("The nurse hoped that the potter dozed.", "The potter dozed.", False),
        ("Unless the potter dozed, the nurse hopped.", "The nurse hopped.", False),
        ("Perhaps the potter dozed. The nurse hopped.", "The nurse hopped.", True),
    ],
)
def test_the_reader_reads(premise: str, hypothesis: str, follows: bool) -> None:
    """What the next test relies on: sentences whose meaning anyone can check."""
    assert (hypothesis.lower().rstrip(".") in said(premise)) == follows


def test_labels_follow_from_the_sentences(pairs: Tables, control: Tables) -> None:
    """Where the premise has all words of the hypothesis, the label is whether its form says the hypothesis."""
    for table in (*pairs, *control):
        for premise, hypothesis, label, _ in rows(table):
            if shared(premise, hypothesis) == 1:
                follows = hypothesis.lower().rstrip(".") in said(premise)
                assert follows == (label == "entailment"), (premise, hypothesis)


def test_entailed_kinds_are_those_of_the_premise(pairs: Tables, control: Tables) -> None:
    """An entailed hypothesis names no kind (a dog, a boat) of which the premise has no member."""
    kinds = {kind: set(members) for sort in SORTS.values() for kind, members in sort.items()}
    seen = 0
    for table in (*pairs, *control):
        for premise, hypothesis, _, _ in rows(table.query("label == 'entailment' and overlap < 1")):
            given = set(re.findall(r"[a-z]+", premise.lower()))
            for kind in set(re.findall(r"[a-z]+", hypothesis.lower())) & set(kinds):
                assert kinds[kind] & given, (premise, hypothesis)
                seen += 1
    assert seen > 100


def test_the_lexicon_is_unambiguous() -> None:
    """No noun is of two kinds, no verb comes twice, and none implies what another says or implies."""
    nouns = [n for sort in ("person", "animal", "thing") for members in SORTS[sort].values() for n in members]
    kinds = [kind for sort in ("person", "animal", "thing") for kind in SORTS[sort]]
    forms = [form for verb in VERBS for form in (verb.past, verb.implied)]
    for names in (nouns + kinds, forms):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_settings_that_make_no_pairs_are_refused() -> None:
    """In one line that names the setting and its value."""
    assert "1.5" in refusal(lambda: sentence_pairs(artifact=1.5))
    assert "n_train" in refusal(lambda: sentence_pairs(n_train=7))
    assert "n_natural" in refusal(lambda: sentence_pairs(n_natural=0))
