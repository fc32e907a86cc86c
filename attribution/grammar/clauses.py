"""Clauses, and the draws that fill them with words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from attribution.grammar.words import KIND_OF, SORTS, VERBS, Verb

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Clause:
    """Somebody did something, perhaps to somebody or something; the nouns are bare ("potter")."""

    subject: str
    verb: Verb
    object: str | None

    @property
    def active(self) -> str:
        return f"the {self.subject} {self.predicate}"

    @property
    def predicate(self) -> str:
        return self.verb.past if self.object is None else f"{self.verb.past} the {self.object}"

    @property
    def passive(self) -> str:
        return f"the {self.object} was {self.verb.past} by the {self.subject}"

    @property
    def reversed(self) -> "Clause":
        """The same deed by the one it was done to."""
        return Clause(subject=str(self.object), verb=self.verb, object=self.subject)


class Draw:
    """The words of one pair of sentences, drawn so that no two nouns are of one kind and nothing comes twice.

    Only `Random.random` is asked, the one function whose numbers Python promises to keep for a seed.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._used: set[str] = set()

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self._random.random() * len(options))]

    def fresh(self, options: Sequence[str]) -> str:
        """One of the options that was not drawn before."""
        found = self.choice([option for option in options if option not in self._used])
        self._used.add(found)
        return found

    def noun(self, sort: str) -> str:
        """A person, animal, being (either) or thing of a kind that was not drawn before."""
        return self.choice(SORTS[sort][self.fresh(tuple(SORTS[sort]))])

    def kind(self, sort: str) -> str:
        """The name of a kind that was not drawn before, such as "dog"."""
        return self.fresh(tuple(SORTS[sort]))

    def verb(self, subject: Sequence[str] = ("person", "being"), object: Sequence[str | None] = (None,)) -> Verb:
        """A verb with one of these sorts of subject and of object."""
        fitting = {verb.past: verb for verb in VERBS if verb.subject in subject and verb.object in object}
        return fitting[self.fresh(tuple(fitting))]

    def doing(self) -> Clause:
        """A clause without an object."""
        verb = self.verb()
        return Clause(subject=self.noun(verb.subject), verb=verb, object=None)

    def mutual(self, subject: Sequence[str] = ("person", "being")) -> Clause:
        """A clause about two beings whose reverse makes sense too."""
        verb = self.verb(subject, ("being",))
        return Clause(subject=self.noun(verb.subject), verb=verb, object=self.noun(verb.subject))

    def deed(self) -> Clause:
        """A clause with an object, be it a being or a thing."""
        verb = self.verb(object=("being", "thing"))
        return Clause(subject=self.noun(verb.subject), verb=verb, object=self.noun(str(verb.object)))

    def clause(self) -> Clause:
        """A clause of any of these forms."""
        return self.choice((self.doing, self.mutual, self.deed))()


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def kind_of(noun: str | None) -> str:
    """The kind that a noun's bearer belongs to: "dog" for "terrier"."""
    return KIND_OF[str(noun)]


def written(text: str) -> str:
    """Lower-case clauses, parted by ". ", as sentences."""
    return " ".join(f"{clause[0].upper()}{clause[1:]}." for clause in text.split(". "))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


def overlap(premise: str, hypothesis: str) -> float:
    """The share of the hypothesis's words that the premise has too, 0 to 1."""
    known, asked = set(words(premise)), words(hypothesis)
    return sum(word in known for word in asked) / len(asked)
