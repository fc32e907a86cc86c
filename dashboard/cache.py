"""The one place that keeps results between runs. What is kept is shared by all sessions, so it is never changed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from attribution.artifacts import Feature, feature_values, list_features
from attribution.artifacts.heldout import has_pattern, own_features
from attribution.errors import UserError
from attribution.index import Part, parts
from attribution.neighbours import nearest_examples
from attribution.pairs import WordPairs, pairs_parts, word_pairs
from attribution.perturbing import (
    Replacement,
    Search,
    copy_scores,
    own_replacement,
    search_replacements,
    synonyms_and_antonyms_of,
    synonyms_of,
)
from attribution.query import Query, make_query, with_tokens
from attribution.registry import required_parts, run_method, standard_parts
from attribution.report import report as report_of
from attribution.results import ScoreTable, SpanScore, TokenScores, WordScore
from attribution.scoring import FIDELITY
from attribution.span_scores import important_spans
from attribution.spans import Finder, Span
from attribution.words import Copies
from attribution.workspace import Workspace
from dashboard import background, workspaces
from dashboard.artifact_charts import influence_scatter
from dashboard.artifacts import Artifact, artifact_of, slice_columns
from dashboard.errors import PATTERN, Slice, parts_of, quarters
from dashboard.method_settings import Settings
from dashboard.state import Selection
from dashboard.turns import TURNS, Rank

T = TypeVar("T")
# Answers that are kept. One that read the index holds v at full rank: 30 MB a saved state for two blocks of MiniLM.
ANSWERS = 32
_AHEAD = ThreadPoolExecutor(ANSWERS, "begun")


def workspace() -> Workspace:
    """The workspace that this session looks at; UserError where one of its files is gone or damaged."""
    return workspaces.current()


@workspaces.keep_by_workspace()
def test_table() -> pd.DataFrame:
    """The test examples with their prediction: text, [text_pair], label, predicted, confidence, margin, wrong.

    confidence is the predicted label's probability, margin its lead over the true label's (0 where they agree).
    Mispredictions come first, the most confident before the others.
    """
    opened = workspace()
    probabilities = opened.predict_test()
    table = opened.test.copy()
    table["predicted"] = probabilities.idxmax(axis=1)
    table["confidence"] = probabilities.max(axis=1)
    true = [probabilities.at[row, label] for row, label in table["label"].items()]
    table["margin"] = table["confidence"] - true
    table["wrong"] = table["predicted"] != table["label"]
    return table.sort_values(["wrong", "confidence"], ascending=False, kind="stable")


@workspaces.keep_by_workspace()
def _slice_values() -> dict[str, np.ndarray]:
    """By title what the test examples can be sliced by: a value in words each, (test,); two values at least."""
    table = test_table()
    named = {title[:1].upper() + title[1:]: table[name].astype(str) for name, title in slice_columns(table).items()}
    ranges = {title: quarters(values) for title, values in own_features(table).items()}
    found = {title: np.asarray(values, dtype=object) for title, values in (named | ranges).items()}
    return {title: values for title, values in found.items() if len(set(values)) > 1}


def slice_kinds() -> list[str]:
    """What the test examples can be sliced by; the last is a pattern of one's own."""
    return [*_slice_values(), PATTERN]


@workspaces.keep_by_workspace(max_entries=32)
def slices(kind: str, pattern: str) -> dict[str, Slice]:
    """The parts that a kind of slice makes of the test examples; UserError for a pattern that is wrong or too slow."""
    if kind != PATTERN:
        return parts_of(test_table(), _slice_values()[kind])
    return parts_of(test_table(), np.where(has_pattern(test_table(), pattern) > 0, "with it", "without it"))


@workspaces.keep_by_workspace(max_entries=256)
def query(
    test: int | None,
    text: str | None,
    text_pair: str | None,
    label: str,
    token: tuple[int, ...],
    against: str | None = None,
) -> Query:
    """The question that a selection asks, encoded and classified; about tokens, it is the text's with these tokens.

    Its margin is over the label `against`, unless that is the explained one itself.
    """
    if token:
        return with_tokens(query(test, text, text_pair, label, (), against), token)
    made = make_query(workspace(), test=test, text=text, text_pair=text_pair, label=label)
    if against is None or against == made.label_name:
        return made
    return replace(made, against=workspace().labels.index(against))


def warm_up() -> None:
    """Load what the first page shows, and open what is computed already, before anybody waits for it."""
    try:
        first = int(test_table().index[0])
        asked = query(first, None, None, "predicted", ())
        result(asked, "gradient_x_input")
        if not missing_parts("relatif"):
            reranked(result(asked, "relatif"), ())
    except UserError:
        return  # the page meets it again and shows it


def query_of(selection: Selection, *, token: tuple[int, ...] = ()) -> Query:
    """The query of a selection; about its prediction, or about clicked tokens."""
    own, against = selection.own_text, selection.against or None
    if own is not None:
        return query(None, own[0], own[1], selection.label, token, against)
    return query(selection.test, None, None, selection.label, token, against)


@workspaces.keep_results()
def _answered() -> dict[tuple, dict[tuple[str, Settings], None]]:
    return {}


def answered(asked: Query) -> list[tuple[str, Settings]]:
    """The methods that scored training examples for this question before, with their settings."""
    return list(_answered().get(key_of_query(asked), {}))


@workspaces.keep_results(max_entries=ANSWERS)
def _result(_query: Query, key: tuple, method: str, settings: Settings) -> ScoreTable | TokenScores:
    return TURNS.run(Rank.FIRST, lambda: run_method(_query, method, dict(settings), rerank=False))


def result(asked: Query, method: str, settings: Settings = ()) -> Any:
    """A method's answer to a query: TokenScores, or a ScoreTable, that of an index before its top is reranked."""
    found, key = _result(asked, key_of_query(asked), method, settings), key_of_query(asked)
    if isinstance(found, ScoreTable):
        known = _answered().get(key) or _kept(_answered(), key, {})
        known[method, settings] = None
    return found


def begin(asked: Query, method: str, settings: Settings = ()) -> None:
    """Have an answer made for whoever asks for it next by `result`, which raises what goes wrong."""
    _AHEAD.submit(_result, asked, key_of_query(asked), method, settings)


@workspaces.keep_results()
def _exact_tops() -> dict[tuple, ScoreTable]:
    return {}


def known_reranked(table: ScoreTable, settings: Settings) -> ScoreTable | None:
    """The answer with its top rows scored exactly, if that was done before or is not needed."""
    return table if table.scored.rerank is None else _exact_tops().get(key_of(table, settings))


def reranked(table: ScoreTable, settings: Settings) -> ScoreTable:
    """As `known_reranked`, done where it is not known yet."""
    found = known_reranked(table, settings)
    if found is None:
        top = TURNS.run(Rank.REFINING, table.reranked)
        found = _kept(_exact_tops(), key_of(table, settings), top, most=ANSWERS)
    return found


def exact_key(table: ScoreTable, settings: Settings) -> tuple:
    """The key under which the background work is found that scores every training example of an answer exactly."""
    return ("exactly", *key_of(table, settings))


def exact(table: ScoreTable, settings: Settings) -> ScoreTable | None:
    """The answer with every score exact, if that was asked for and is done."""
    found = background.find(exact_key(table, settings))
    return None if found is None else found.result


def _kept(store: dict[tuple, T], key: tuple, value: T, *, most: int = 512) -> T:
    """The value, in a store that lets go of its oldest ones where it would hold more than `most`."""
    for oldest in list(store)[: max(0, len(store) + 1 - most)]:
        store.pop(oldest, None)
    store[key] = value
    return value


@workspaces.keep_results()
def _word_store() -> dict[tuple, dict[int, list[WordScore]]]:
    return {}


def known_words(table: ScoreTable, settings: Settings, ids: tuple[int, ...]) -> dict[int, list[WordScore]] | None:
    """The words of some training examples by id, if they were asked for before; {} for a method that does not say."""
    if table.scored.words is None or not ids:
        return {}
    return _word_store().get((key_of(table, settings), table.scored.exact, ids))


def words(table: ScoreTable, settings: Settings, ids: tuple[int, ...]) -> dict[int, list[WordScore]]:
    """As `known_words`, computed where they are not known yet: about a forward pass a word."""
    found = known_words(table, settings, ids)
    if found is None:
        key = (key_of(table, settings), table.scored.exact, ids)
        parts = TURNS.run(Rank.REFINING, lambda: table.words_of(ids))
        found = _kept(_word_store(), key, dict(zip(ids, parts, strict=True)))
    return found


@workspaces.keep_results(max_entries=128)
def _pairs(_query: Query, key: tuple, train_id: int, groups: tuple[tuple[int, ...], ...], settings: Settings) -> Any:
    return word_pairs(_query, train_id, dict(settings), groups=groups)


def pairs(asked: Query, train_id: int, groups: Sequence[tuple[int, ...]], settings: Settings) -> WordPairs:
    """How much each word of a training example raised each group of test tokens."""
    return _pairs(asked, key_of_query(asked), train_id, tuple(groups), settings)


def start_pairs(
    asked: Query, train_id: int, groups: Sequence[tuple[int, ...]], settings: Settings
) -> background.Work[WordPairs]:
    """Begin what `pairs` does in the background, for texts so long that somebody may want to stop it."""
    return background.start(
        pairs_key(asked, train_id, groups, settings),
        lambda progress: word_pairs(asked, train_id, dict(settings), groups=groups, progress=progress),
    )


def pairs_key(asked: Query, train_id: int, groups: Sequence[tuple[int, ...]], settings: Settings) -> tuple:
    """The key under which the work of `start_pairs` is found."""
    return ("pairs", *key_of_query(asked), train_id, tuple(groups), settings)


def lacks_pairs(settings: Settings) -> bool:
    """Whether something has to be computed from the training set before `pairs`."""
    return not all(part.is_built(workspace()) for part in pairs_parts(workspace(), dict(settings)))


@workspaces.keep_results(max_entries=16)
def _report(_query: Query, key: tuple, method: str, settings: Settings, train_id: int | None) -> str:
    return report_of(_query, method, dict(settings), train_id=train_id)


def report(table: ScoreTable, settings: Settings, train_id: int | None = None) -> str:
    """An answer as a page that stands alone, word by word with a training example or with the first proponent."""
    return _report(table.query, key_of_query(table.query), table.method, settings, train_id)


def spans(table: ScoreTable, settings: Settings, ids: tuple[int, ...]) -> dict[int, list[SpanScore]]:
    """The scored spans of some training examples by id, which an answer of spans has already."""
    return dict(zip(ids, table.spans_of(ids), strict=True))


@workspaces.keep_results(max_entries=64)
def _important(_query: Query, key: tuple, finder: str) -> list[tuple[Span, float]]:
    return important_spans(_query, Finder(name=finder))


def important(asked: Query, finder: str) -> list[tuple[Span, float]]:
    """The spans of the test text with their importance, the most important first; UserError where they are none."""
    return _important(asked, key_of_query(asked), finder)


@workspaces.keep_results(max_entries=16)
def _copy_scores(_query: Query, key: tuple) -> Copies:
    return copy_scores(_query, _query.saliency("gradient_x_input") if _query.tokens else _query.quantity())


@workspaces.keep_results(max_entries=128)
def _search(_query: Query, key: tuple, train_id: int, raises: bool, antonyms: bool) -> Search:
    lexicon = synonyms_and_antonyms_of if antonyms else synonyms_of
    return search_replacements(_query, _copy_scores(_query, key), [train_id], raises=raises, lexicon=lexicon)[0]


def replacements(asked: Query, train_id: int, *, raises: bool, antonyms: bool) -> Search:
    """The words of a training example whose change raises or lowers what is asked, the best first."""
    return _search(asked, key_of_query(asked), train_id, raises, antonyms)


@workspaces.keep_results(max_entries=128)
def _own_replacement(_query: Query, key: tuple, train_id: int, place: tuple[int, int], other: str) -> Replacement:
    segment, start = place
    return own_replacement(_query, _copy_scores(_query, key), train_id, segment=segment, start=start, other=other)


def own_word(asked: Query, train_id: int, place: tuple[int, int], other: str) -> Replacement:
    """A word of the user's own at a place (text, character) of a training example; UserError where it cannot be."""
    return _own_replacement(asked, key_of_query(asked), train_id, place, other)


@workspaces.keep_by_workspace(max_entries=128)
def places(train_id: int) -> dict[tuple[int, int], str]:
    """The words of a training example that the model reads, by text (0, or 1 of a pair) and first character."""
    row = workspace().train.loc[train_id]
    example = workspace().classifier.example(row["text"], row["text_pair"] if workspace().is_pair else None)
    return {(word.segment, word.start): word.text for word in example.words if not word.special}


def key_of(table: ScoreTable, settings: Settings) -> tuple:
    """What tells one answer from another."""
    return (*key_of_query(table.query), table.method, settings)


def key_of_query(asked: Query) -> tuple:
    """What tells one question from another."""
    at = workspaces.key_of(asked.workspace)
    return (at, asked.test, asked.example.text, asked.example.text_pair, asked.label, asked.against, asked.tokens)


def missing_parts(method: str, settings: Settings = ()) -> list[Part]:
    """What has to be computed from the training set before this method can answer.

    An answer is kept once it is made, so one that reads the standard index waits for its measured fidelity too.
    """
    wanted, standard = required_parts(workspace(), method, dict(settings)), standard_parts(workspace())
    if any(part.kind == "factors" for part in wanted) and set(wanted) <= set(standard):
        wanted = [*wanted, *(part for part in standard if part.kind == FIDELITY)]
    return [part for part in wanted if not part.is_built(workspace())]


def are_standard(missing: list[Part]) -> bool:
    """Whether all of these are among what the first answers read, which is computed unasked."""
    return set(missing) <= set(standard_parts(workspace()))


def kinds(missing: Sequence[Part]) -> str:
    """What these parts hold, in words: "features and word gradients"."""
    return " and ".join(dict.fromkeys(part.kind.replace("_", " ") for part in missing))


def neighbours(train_id: int) -> list[tuple[int, float]]:
    """The nearest training examples of one, with the cosine; none while the features are not computed."""
    (part,) = parts(workspace(), "features")
    return nearest_examples(workspace(), train_id) if part.is_built(workspace()) else []


@workspaces.keep_by_workspace()
def features() -> dict[str, Feature]:
    """The features of the training examples that this workspace has, by name; the usual one first."""
    return {feature.name: feature for feature in list_features(workspace())}


@workspaces.keep_results(max_entries=64)
def _feature_values(_query: Query, key: tuple, feature: str, pattern: str | None) -> np.ndarray:
    return feature_values(workspace(), feature, query=_query, pattern=pattern)


def values_of(asked: Query, feature: str, pattern: str) -> np.ndarray:
    """A feature of every training example, (train,); one that compares with the test text is that query's own."""
    needs = features()[feature].needs
    key = key_of_query(asked) if "query" in needs else workspaces.current_key()
    return _feature_values(asked, key, feature, pattern if "pattern" in needs else None)


@workspaces.keep_results(max_entries=64)
def _artifact(_table: ScoreTable, _values: np.ndarray, key: tuple) -> Artifact:
    return artifact_of(_table, _values)


def artifact(table: ScoreTable, settings: Settings, feature: str, pattern: str) -> Artifact:
    """The points of an answer against a feature and the curve through them; UserError where there is no curve."""
    values = values_of(table.query, feature, pattern)
    return _artifact(table, values, _artifact_key(table, settings, feature, pattern))


@workspaces.keep_results(max_entries=16)
def _scatter(_found: Artifact, key: tuple, feature: str, dark: bool) -> go.Figure:
    title = features()[feature].title
    return influence_scatter(_found.points, _found.fit, names=workspace().labels, feature=title, dark=dark)


def scatter(table: ScoreTable, settings: Settings, feature: str, pattern: str, *, dark: bool) -> go.Figure:
    """The figure of `artifact`."""
    found, key = artifact(table, settings, feature, pattern), _artifact_key(table, settings, feature, pattern)
    return _scatter(found, key, feature, dark)


def _artifact_key(table: ScoreTable, settings: Settings, feature: str, pattern: str) -> tuple:
    used = pattern if "pattern" in features()[feature].needs else ""
    return (*key_of(table, settings), table.scored.exact, feature, used)
