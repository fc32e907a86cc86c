"""The ways to make a premise and a hypothesis of which the grammar alone says whether the first entails the second.

A pattern is a function with its label above it. Those of the cases overlap, subsequence and constituent have every word
of the hypothesis in the premise, and follow the three heuristics of McCoy et al. 2019 (HANS, §2) with sentences and
words of our own: the words in any order; a run of them; a whole clause. Each case holds both labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from attribution.grammar.clauses import Clause, Draw
from attribution.grammar.words import (
    ADJECTIVES,
    BECAUSE,
    BESIDE,
    COMPARED,
    FACTIVE,
    IF,
    INDOORS,
    MANNER,
    MOVED,
    NON_FACTIVE,
    NOT_DONE,
    NOT_TRUE,
    OUTDOORS,
    PERHAPS,
    REPORTS,
    SURELY,
    SYMMETRIC,
)

ENTAILMENT, NON_ENTAILMENT = LABELS = ("entailment", "non-entailment")
CASES = ("overlap", "subsequence", "constituent")
Texts = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How to draw one form of pair.

    `high`: whether the hypothesis takes most of its words from the premise. `weight`: how often it is drawn against
    the others of its label and overlap.
    """

    name: str
    case: str
    label: str
    high: bool
    weight: int
    make: Callable[[Draw], Texts]


PATTERNS: list[Pattern] = []


def pattern(
    case: str, label: str, *, high: bool = True, weight: int = 1
) -> Callable[[Callable[[Draw], Texts]], Callable[[Draw], Texts]]:
    """Register a function from draws to lower-case premise and hypothesis under its own name."""

    def register(make: Callable[[Draw], Texts]) -> Callable[[Draw], Texts]:
        name = make.__name__.replace("_", " ")
        PATTERNS.append(Pattern(name=name, case=case, label=label, high=high, weight=weight, make=make))
        return make

    return register


@pattern("overlap", ENTAILMENT)
def passive_made_active(draw: Draw) -> Texts:
    clause = draw.mutual()
    return clause.passive, clause.active


@pattern("overlap", ENTAILMENT)
def symmetric_relation(draw: Draw) -> Texts:
    first, second, relation = draw.noun("person"), draw.noun("person"), draw.choice(SYMMETRIC)
    return f"the {first} {relation} the {second}", f"the {second} {relation} the {first}"


@pattern("overlap", ENTAILMENT)
def conjuncts_in_another_order(draw: Draw) -> Texts:
    clause = draw.clause()
    other = draw.noun(clause.verb.subject)
    return (
        f"the {clause.subject} and the {other} {clause.predicate}",
        f"the {other} and the {clause.subject} {clause.predicate}",
    )


@pattern("overlap", ENTAILMENT)
def what_a_relative_clause_says(draw: Draw) -> Texts:
    clause, then = draw.mutual(), draw.verb(subject=("being",))
    return f"the {clause.object} that the {clause.subject} {clause.verb.past} {then.past}", clause.active


@pattern("overlap", ENTAILMENT)
def adjective_left_out(draw: Draw) -> Texts:
    clause = draw.mutual()
    first, second = draw.fresh(ADJECTIVES), draw.fresh(ADJECTIVES)
    return f"the {first} {clause.subject} {clause.verb.past} the {second} {clause.object}", clause.active


@pattern("overlap", ENTAILMENT)
def adverb_left_out(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"the {clause.subject} {draw.choice(MANNER)} {clause.predicate}", clause.active


@pattern("overlap", ENTAILMENT)
def first_of_two_subjects(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"both the {clause.subject} and the {draw.noun(clause.verb.subject)} {clause.predicate}", clause.active


@pattern("overlap", NON_ENTAILMENT)
def roles_swapped(draw: Draw) -> Texts:
    clause = draw.mutual()
    return clause.active, clause.reversed.active


@pattern("overlap", NON_ENTAILMENT)
def passive_read_as_active(draw: Draw) -> Texts:
    clause = draw.mutual()
    return clause.passive, clause.reversed.active


@pattern("overlap", NON_ENTAILMENT)
def comparison_swapped(draw: Draw) -> Texts:
    first, second, more = draw.noun("being"), draw.noun("being"), draw.choice(tuple(COMPARED))
    return f"the {first} was {more} than the {second}", f"the {second} was {more} than the {first}"


@pattern("overlap", NON_ENTAILMENT)
def deeds_exchanged(draw: Draw) -> Texts:
    first, second = draw.mutual(("being",)), draw.mutual(("being",))
    mixed = Clause(subject=second.subject, verb=first.verb, object=first.object)
    return f"the {first.subject} {first.predicate} and {second.active}", mixed.active


@pattern("overlap", NON_ENTAILMENT)
def deed_of_the_described(draw: Draw) -> Texts:
    said, then, third = draw.mutual(), draw.verb(subject=("being",), object=("being",)), draw.noun("being")
    rest = f"{said.verb.past} {then.past} the {third}"
    return f"the {said.object} that the {said.subject} {rest}", f"the {said.subject} {then.past} the {third}"


@pattern("overlap", NON_ENTAILMENT)
def adjectives_exchanged(draw: Draw) -> Texts:
    clause = draw.mutual()
    first, second = draw.fresh(ADJECTIVES), draw.fresh(ADJECTIVES)
    middle = clause.verb.past
    return (
        f"the {first} {clause.subject} {middle} the {second} {clause.object}",
        f"the {second} {clause.subject} {middle} the {first} {clause.object}",
    )


@pattern("overlap", NON_ENTAILMENT)
def not_done(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"the {clause.subject} {draw.choice(NOT_DONE)} {clause.predicate}", clause.active


@pattern("subsequence", ENTAILMENT)
def second_of_two_subjects(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"both the {draw.noun(clause.verb.subject)} and {clause.active}", clause.active


@pattern("subsequence", ENTAILMENT)
def place_left_out(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"{clause.active} {draw.choice(INDOORS + OUTDOORS)}", clause.active


@pattern("subsequence", ENTAILMENT)
def first_of_two_objects(draw: Draw) -> Texts:
    clause = draw.deed()
    return f"{clause.active} and the {draw.noun(str(clause.verb.object))}", clause.active


@pattern("subsequence", ENTAILMENT)
def first_of_two_deeds(draw: Draw) -> Texts:
    clause, then = draw.clause(), draw.verb(subject=("being",))
    return f"{clause.active} and {then.past}", clause.active


@pattern("subsequence", ENTAILMENT)
def relative_clause_left_out(draw: Draw) -> Texts:
    clause, said = draw.mutual(), draw.mutual()
    return f"{clause.active} that the {said.subject} {said.verb.past}", clause.active


@pattern("subsequence", NON_ENTAILMENT)
def beside_the_subject(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"the {draw.noun(clause.verb.subject)} {draw.choice(BESIDE)} {clause.active}", clause.active


@pattern("subsequence", NON_ENTAILMENT)
def within_a_relative_clause(draw: Draw) -> Texts:
    said, then = draw.mutual(), draw.verb(subject=("being",))
    return f"the {said.subject} that {said.predicate} {then.past}", f"the {said.object} {then.past}"


@pattern("subsequence", NON_ENTAILMENT)
def neither_nor(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"neither the {draw.noun(clause.verb.subject)} nor {clause.active}", clause.active


@pattern("subsequence", NON_ENTAILMENT)
def no_friend(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"no {draw.choice(('friend', 'neighbour', 'rival', 'pupil'))} of {clause.active}", clause.active


@pattern("subsequence", NON_ENTAILMENT)
def report_about(draw: Draw) -> Texts:
    clause = f"the {draw.noun('being')} {draw.choice(MOVED)} the {draw.noun('being')}"
    return f"the {draw.choice(REPORTS)} about {clause}", clause


@pattern("subsequence", NON_ENTAILMENT)
def all_but(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"{draw.choice(('everyone except', 'everybody but', 'all except'))} {clause.active}", clause.active


@pattern("subsequence", NON_ENTAILMENT)
def agent_of_a_participle(draw: Draw) -> Texts:
    said, then = draw.mutual(), draw.verb(subject=("being",))
    return f"the {said.object} {said.verb.past} by the {said.subject} {then.past}", f"the {said.subject} {then.past}"


@pattern("constituent", ENTAILMENT)
def known_to_be_so(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"the {draw.noun('person')} {draw.choice(FACTIVE)} that {clause.active}", clause.active


@pattern("constituent", ENTAILMENT)
def both_clauses_hold(draw: Draw) -> Texts:
    clause, other, link = draw.clause(), draw.clause(), draw.choice(BECAUSE)
    premise = draw.choice((f"{link} {clause.active}, {other.active}", f"{clause.active} {link} {other.active}"))
    return premise, draw.choice((clause, other)).active


@pattern("constituent", ENTAILMENT)
def surely(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"{draw.choice(SURELY)}, {clause.active}", clause.active


@pattern("constituent", ENTAILMENT)
def one_of_two_clauses(draw: Draw) -> Texts:
    clause, other = draw.clause(), draw.clause()
    return f"{clause.active}, and {other.active}", draw.choice((clause, other)).active


@pattern("constituent", ENTAILMENT, weight=2)
def sentence_after_a_doubtful_one(draw: Draw) -> Texts:
    """The words that cast doubt on one sentence do not touch the next, so that they alone give no label away."""
    premise, _ = draw.choice(DOUBTFUL)(draw)
    clause = draw.clause()
    return f"{premise}. {clause.active}", clause.active


@pattern("constituent", NON_ENTAILMENT)
def thought_to_be_so(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"the {draw.noun('person')} {draw.choice(NON_FACTIVE)} that {clause.active}", clause.active


@pattern("constituent", NON_ENTAILMENT)
def conditional(draw: Draw) -> Texts:
    clause, other, link = draw.clause(), draw.clause(), draw.choice(IF)
    premise = draw.choice((f"{link} {clause.active}, {other.active}", f"{other.active} {link} {clause.active}"))
    return premise, clause.active


@pattern("constituent", NON_ENTAILMENT)
def one_or_the_other(draw: Draw) -> Texts:
    clause, other = draw.clause(), draw.clause()
    premise = draw.choice((f"either {clause.active} or {other.active}", f"{clause.active}, or {other.active}"))
    return premise, draw.choice((clause, other)).active


@pattern("constituent", NON_ENTAILMENT)
def perhaps(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"{draw.choice(PERHAPS)} {clause.active}", clause.active


@pattern("constituent", NON_ENTAILMENT)
def not_true(draw: Draw) -> Texts:
    clause = draw.clause()
    return f"{draw.choice(NOT_TRUE)} {clause.active}", clause.active


DOUBTFUL = (
    not_done,
    neither_nor,
    no_friend,
    all_but,
    thought_to_be_so,
    conditional,
    one_or_the_other,
    perhaps,
    not_true,
)
