"""Pairs beyond the three heuristics: hypotheses in other words, with a word changed, or about something else.

Most come as twins, one of either label from the same words, so that no word alone gives a label away.
"""

from collections.abc import Callable

from attribution.grammar.clauses import Clause, Draw, a, kind_of
from attribution.grammar.patterns import ENTAILMENT, LABELS, NON_ENTAILMENT, PATTERNS, Texts, pattern
from attribution.grammar.words import COMPARED, INDOORS, OUTDOORS, PERSONS

NATURAL = "natural"


def twins(*, high: bool = False, weight: int = 1) -> Callable[[Callable[[Draw, bool], Texts]], None]:
    """Register one function as two patterns; its second argument says whether the hypothesis is to follow."""

    def register(make: Callable[[Draw, bool], Texts]) -> None:
        for label in LABELS:

            def one(draw: Draw, holds: bool = label == ENTAILMENT) -> Texts:
                return make(draw, holds)

            one.__name__ = make.__name__
            pattern(NATURAL, label, high=high, weight=weight)(one)

    return register


@twins(high=True)
def made_passive(draw: Draw, holds: bool) -> Texts:
    clause = draw.mutual()
    return clause.active, (clause if holds else clause.reversed).passive


@twins(high=True)
def kind_in_place_of_one(draw: Draw, holds: bool) -> Texts:
    clause = draw.mutual()
    kind = kind_of(clause.subject) if holds else draw.kind("being")
    return clause.active, f"the {kind} {clause.predicate}"


@pattern(NATURAL, ENTAILMENT)
def somebody(draw: Draw) -> Texts:
    clause = draw.deed()
    someone = "somebody" if kind_of(clause.subject) in PERSONS else "some animal"
    return clause.active, f"{someone} {clause.predicate}"


@pattern(NATURAL, NON_ENTAILMENT)
def another_deed(draw: Draw) -> Texts:
    clause = draw.mutual()
    verb = draw.verb(subject=(clause.verb.subject,), object=("being",))
    return clause.active, Clause(subject=clause.subject, verb=verb, object=clause.object).active


@twins(weight=2)
def in_other_words(draw: Draw, holds: bool) -> Texts:
    """Kinds and an implied verb; else one of the three belongs to something that was not said."""
    clause, place = draw.mutual(), draw.choice(INDOORS + OUTDOORS)
    subject, verb, object = kind_of(clause.subject), clause.verb.implied, kind_of(clause.object)
    wrong = None if holds else draw.choice(("subject", "verb", "object", "roles"))
    if wrong == "subject":
        subject = draw.kind("being")
    elif wrong == "object":
        object = draw.kind("being")
    elif wrong == "verb":
        verb = draw.verb(subject=(clause.verb.subject,), object=("being",)).implied
    elif wrong == "roles":
        subject, object = object, subject
    forms = (f"{a(subject)} {verb} {a(object)}", f"{a(object)} was {verb} by {a(subject)}")
    return f"{clause.active} {place}", draw.choice(forms)


@twins()
def whereabouts(draw: Draw, holds: bool) -> Texts:
    clause, inside = draw.doing(), draw.choice((True, False))
    where = "indoors" if inside == holds else "outdoors"
    return (
        f"{clause.active} {draw.choice(INDOORS if inside else OUTDOORS)}",
        f"{a(kind_of(clause.subject))} was {where}",
    )


@twins()
def implied_deed(draw: Draw, holds: bool) -> Texts:
    clause, place = draw.doing(), draw.choice(INDOORS + OUTDOORS)
    verb = clause.verb if holds else draw.verb(subject=(clause.verb.subject,))
    return f"{clause.active} {place}", f"the {kind_of(clause.subject)} {verb.implied}"


@twins()
def sale(draw: Draw, holds: bool) -> Texts:
    seller, buyer, thing = draw.noun("person"), draw.noun("person"), draw.noun("thing")
    first, second = (buyer, seller) if holds else (seller, buyer)
    bought = draw.choice(("something", a(kind_of(thing))))
    return f"the {seller} sold a {thing} to the {buyer}", f"the {first} bought {bought} from the {second}"


@twins()
def comparison_in_kinds(draw: Draw, holds: bool) -> Texts:
    first, second, more = draw.noun("being"), draw.noun("being"), draw.choice(tuple(COMPARED))
    less, more_than = (second, first) if holds else (first, second)
    return (
        f"the {first} was {more} than the {second}",
        f"{a(kind_of(less))} was {COMPARED[more]} than {a(kind_of(more_than))}",
    )


@twins()
def how_many(draw: Draw, holds: bool) -> Texts:
    clause = draw.doing()
    other = draw.noun(clause.verb.subject)
    said = draw.choice(("at least two of them", "more than one of them")) if holds else "none of them"
    return f"the {clause.subject} and the {other} {clause.predicate}", f"{said} {clause.verb.implied}"


@twins()
def thing_done(draw: Draw, holds: bool) -> Texts:
    verb = draw.verb(object=("thing",))
    subject, thing = draw.noun("person"), draw.noun("thing")
    kind = kind_of(thing) if holds else draw.kind("thing")
    return f"the {subject} {verb.past} the {thing}", f"{a(kind)} was {verb.implied} by {a(kind_of(subject))}"


@pattern(NATURAL, NON_ENTAILMENT, high=False)
def one_in_place_of_a_kind(draw: Draw) -> Texts:
    clause = draw.mutual()
    premise = f"{a(kind_of(clause.subject))} {clause.verb.implied} {a(kind_of(clause.object))}"
    return premise, clause.active


@pattern(NATURAL, NON_ENTAILMENT, high=False, weight=8)
def about_somebody_else(draw: Draw) -> Texts:
    """The hypothesis speaks of someone whom the premise never mentions."""
    others = [found for found in PATTERNS if found.high and found.label == ENTAILMENT]
    return draw.choice(others).make(draw)[0], draw.clause().active


@pattern(NATURAL, NON_ENTAILMENT, high=False, weight=8)
def another_deed_of_the_same(draw: Draw) -> Texts:
    """The hypothesis has the same subject, a deed that was not told and perhaps a place."""
    clause, other = draw.clause(), draw.deed()
    verb, object = other.verb, other.object
    subject = clause.subject
    if verb.subject == "person" and clause.verb.subject == "being":
        verb = draw.verb(subject=("being",))
        object = None
    first, second = draw.fresh(INDOORS + OUTDOORS), draw.fresh(INDOORS + OUTDOORS)
    told = Clause(subject=subject, verb=verb, object=object)
    return f"{clause.active} {first}", f"{told.active} {second}"
