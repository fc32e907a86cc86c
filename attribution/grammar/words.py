"""The words of the sentence pairs: what kind of thing a noun names, and what a verb implies.

Hypernyms and implications hold without exception, because the labels of the pairs rest on them. Every verb's past is
also its participle, so that a passive needs no word of its own.
"""

from dataclasses import dataclass

PERSONS = {
    "musician": ("violinist", "pianist", "drummer", "flautist", "cellist"),
    "artisan": ("potter", "weaver", "blacksmith", "carpenter", "cobbler"),
    "medic": ("nurse", "surgeon", "midwife", "dentist", "paramedic"),
    "entertainer": ("clown", "juggler", "acrobat", "magician", "ventriloquist"),
    "scientist": ("chemist", "botanist", "geologist", "astronomer", "zoologist"),
    "athlete": ("goalkeeper", "wrestler", "gymnast", "rower", "fencer"),
    "relative": ("aunt", "uncle", "niece", "nephew", "grandmother"),
    "soldier": ("corporal", "sergeant", "archer", "musketeer", "sentry"),
    "shopkeeper": ("grocer", "florist", "fishmonger", "bookseller", "jeweller"),
}
ANIMALS = {
    "dog": ("terrier", "poodle", "spaniel", "beagle", "dachshund"),
    "cat": ("tabby", "kitten", "tomcat"),
    "horse": ("pony", "stallion", "mare", "foal"),
    "bird": ("sparrow", "robin", "crow", "goose", "heron"),
    "reptile": ("lizard", "tortoise", "python", "crocodile"),
    "ape": ("gorilla", "chimpanzee", "orangutan"),
}
THINGS = {
    "tool": ("hammer", "chisel", "spanner", "shovel", "rake"),
    "vehicle": ("bicycle", "tractor", "wagon", "scooter", "van"),
    "boat": ("canoe", "dinghy", "ferry", "kayak", "raft"),
    "garment": ("coat", "scarf", "sweater", "apron", "cloak"),
    "container": ("basket", "barrel", "bucket", "crate", "jar"),
    "instrument": ("trumpet", "banjo", "harp", "accordion", "tuba"),
}
SORTS = {"person": PERSONS, "animal": ANIMALS, "being": PERSONS | ANIMALS, "thing": THINGS}
KIND_OF = {noun: kind for kinds in SORTS.values() for kind, nouns in kinds.items() for noun in nouns}


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb's past, the past of one that it implies, and the sorts of its subject and object (None: it takes none)."""

    past: str
    implied: str
    subject: str
    object: str | None


def _verbs(subject: str, object: str | None, pairs: str) -> tuple[Verb, ...]:
    split = (pair.split(":") for pair in pairs.split())
    return tuple(Verb(past=past, implied=implied, subject=subject, object=object) for past, implied in split)


VERBS = (
    *_verbs(
        "being",
        "being",
        "chased:pursued startled:surprised watched:observed ignored:disregarded nudged:prodded rescued:saved "
        "injured:hurt annoyed:irritated calmed:soothed roused:awakened located:found charmed:delighted imitated:copied",
    ),
    *_verbs(
        "person",
        "being",
        "scolded:reprimanded praised:complimented bathed:washed weighed:measured fed:nourished teased:mocked "
        "greeted:welcomed captured:caught lifted:raised trained:taught deceived:fooled adored:loved loathed:hated",
    ),
    *_verbs(
        "person",
        "thing",
        "mended:repaired scrubbed:cleaned purchased:bought wrecked:destroyed lugged:carried assembled:built "
        "decorated:adorned examined:inspected crafted:made dragged:pulled shoved:pushed misplaced:lost rented:hired",
    ),
    *_verbs(
        "being",
        None,
        "dozed:slept trembled:shook vanished:disappeared hopped:jumped sprinted:ran wandered:roamed swayed:rocked "
        "paused:stopped perished:died stumbled:tripped shrieked:screamed limped:hobbled",
    ),
    *_verbs(
        "person",
        None,
        "sobbed:wept chuckled:laughed yodelled:sang waltzed:danced grumbled:complained grinned:smiled bragged:boasted "
        "applauded:clapped surrendered:yielded",
    ),
)
INDOORS = tuple(
    "in the kitchen,in the cellar,in the attic,in the library,in the parlour,in the corridor,in the bathroom,"
    "in the ballroom,in the pantry".split(",")
)
OUTDOORS = tuple(
    "in the meadow,in the orchard,in the forest,at the harbour,on the beach,on the hill,on the lawn,by the river,"
    "in the marsh,on the cliff".split(",")
)
ADJECTIVES = tuple("tired cheerful clumsy hungry nervous lonely polite stubborn curious sleepy brave gentle".split())
COMPARED = {
    "taller": "shorter",
    "older": "younger",
    "faster": "slower",
    "stronger": "weaker",
    "heavier": "lighter",
    "louder": "quieter",
}
SYMMETRIC = ("was married to", "sat next to", "was related to", "played chess with", "lived with", "shared a flat with")
MANNER = ("quietly", "suddenly", "slowly", "proudly", "secretly", "eagerly")
BESIDE = ("behind", "beside", "near", "opposite", "in front of")
REPORTS = ("rumour", "story", "letter", "poem", "report", "song")
MOVED = ("startled", "annoyed", "calmed", "charmed")

# What follows that is so.
FACTIVE = ("noticed", "realised", "remembered", "discovered", "regretted", "knew")
BECAUSE = ("because", "although", "while", "after", "since", "when")
SURELY = ("fortunately", "luckily", "sadly", "unsurprisingly", "strangely", "thankfully")
# What follows these may or may not be so.
NON_FACTIVE = ("hoped", "guessed", "feared", "suspected", "imagined", "claimed", "denied", "doubted")
IF = ("if", "unless", "in case", "provided that")
PERHAPS = ("perhaps", "maybe", "supposedly", "allegedly", "possibly", "presumably")
NOT_DONE = ("never", "nearly", "almost")
NOT_TRUE = ("it is not true that", "nobody believed that", "there is no proof that", "it would be a surprise if")
