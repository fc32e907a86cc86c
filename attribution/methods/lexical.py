"""Training examples that share words with the test example: what matching words alone finds, BM25 and TF-IDF.

Words are the texts' own and not the model's tokens: runs of letters and digits in lower case, an apostrophe within them
included, ideographs one by one. Nothing is truncated. Both texts of a pair count as one.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import scipy.sparse

from attribution.errors import UserError
from attribution.index import Progress
from attribution.parameters import Range
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored, WordScore
from attribution.workspace import Workspace

WORD = r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’][^\W\u3400-\u9fff]+)*"
WORDS = re.compile(WORD)
PIECES = re.compile(rf"{WORD}|[^\w\s]+")


def lexical_words(text: str) -> list[str]:
    """The words of a text in lower case, in order, without punctuation."""
    return [word.lower() for word in WORDS.findall(text)]


@dataclass(frozen=True, kw_only=True)
class SharedWords:
    """What each word of the test example adds to each training example's score.

    names: the test example's words that some training example has; terms: (train, names), 0 where a word is not shared.
    """

    names: list[str]
    terms: Any

    @property
    def scores(self) -> np.ndarray:
        """Sums over the words: (train,)."""
        return np.asarray(self.terms.sum(axis=1), dtype=np.float64).reshape(-1)

    def words(self, workspace: Workspace, rows: Sequence[int], factors: np.ndarray | None = None) -> Any:
        """The words of some training examples; those shared carry their terms (times the row's factor).

        A word that stands several times in a row has its term in equal parts, so that a row sums to its score.
        """
        return [self._words(workspace, row, 1.0 if factors is None else float(factors[row])) for row in rows]

    def _words(self, workspace: Workspace, row: int, factor: float) -> list[WordScore]:
        part = dict(zip(self.names, self.terms[[row]].toarray()[0] * factor, strict=True))
        return _placed(_texts_of(workspace, row), part)


def _placed(texts: Sequence[str], part: Mapping[str, float]) -> list[WordScore]:
    """Every word and run of punctuation in its place, with its share of the word's part."""
    found = [(segment, match) for segment, text in enumerate(texts) for match in PIECES.finditer(text)]
    times = Counter(match.group().lower() for _, match in found)
    return [
        WordScore(
            text=match.group(),
            start=match.start(),
            end=match.end(),
            segment=segment,
            score=float(part.get(match.group().lower(), 0.0) / times[match.group().lower()]),
        )
        for segment, match in found
    ]


def _texts_of(workspace: Workspace, row: int) -> list[str]:
    example = workspace.train.iloc[row]
    return [example["text"], example["text_pair"]] if workspace.is_pair else [example["text"]]


def _documents(workspace: Workspace) -> list[str]:
    """Each training example as one text; words never reach over the line break between the two of a pair."""
    texts, pairs = workspace.texts("train")
    return texts if pairs is None else ["\n".join(both) for both in zip(texts, pairs, strict=True)]


def _counted(workspace: Workspace) -> tuple[Any, np.ndarray, Any]:
    """scikit-learn's vectorizer, its words, and their counts in every training example, by columns; made once."""
    from sklearn.feature_extraction.text import CountVectorizer

    def count() -> tuple[Any, np.ndarray, Any]:
        of_words: Any = lexical_words
        vectorizer = CountVectorizer(analyzer=of_words)
        try:
            counts = scipy.sparse.csc_array(vectorizer.fit_transform(_documents(workspace)), dtype=np.float64)
            return vectorizer, vectorizer.get_feature_names_out(), counts
        except ValueError as error:  # what scikit-learn raises where there is no word at all
            raise UserError(f"No training example of workspace '{workspace.name}' has a word to match.") from error

    return workspace.memo("word counts", count)


def shared_tfidf(query: Query) -> SharedWords:
    """The terms of the TF-IDF cosine (see `tfidf`). Cost: the columns of the test example's words."""
    from sklearn.feature_extraction.text import TfidfTransformer

    vectorizer, names, counts = _counted(query.workspace)

    def weigh() -> tuple[Any, Any]:
        transformer = TfidfTransformer()
        return transformer, scipy.sparse.csc_array(transformer.fit_transform(counts))

    transformer, matrix = query.workspace.memo("tf-idf", weigh)
    mine = transformer.transform(vectorizer.transform(["\n".join(query.example.texts)])).tocsr()
    return SharedWords(names=names[mine.indices].tolist(), terms=(matrix[:, mine.indices] * mine.data[None, :]).tocsr())


def _shared_bm25(query: Query, k1: float, b: float) -> SharedWords:
    vectorizer, names, counts = _counted(query.workspace)
    asked = vectorizer.transform(["\n".join(query.example.texts)]).tocsr()
    lengths = counts.sum(axis=1)
    found = scipy.sparse.coo_array(counts[:, asked.indices])
    rows, places = found.coords
    n = len(lengths)
    containing = np.bincount(places, minlength=len(asked.indices))
    rarity = np.log1p((n - containing + 0.5) / (containing + 0.5))
    room = k1 * (1 - b + b * lengths / lengths.mean())
    values = (asked.data * rarity)[places] * found.data * (k1 + 1) / (found.data + room[rows])
    terms = scipy.sparse.csr_array((values, (rows, places)), shape=found.shape)
    return SharedWords(names=names[asked.indices].tolist(), terms=terms)


def _scored(query: Query, shared: SharedWords) -> Scored:
    return Scored(
        scores=shared.scores,
        scorer="none",
        exact=True,
        quantity="similarity",
        words=lambda rows: shared.words(query.workspace, rows),
    )


@example_method(
    title="BM25",
    family="similarity",
    paper="lexical baseline; Robertson & Zaragoza 2009 §3",
    formula=r"\sum_{w \in x'} \mathrm{idf}_w \frac{c_{iw}(k_1 + 1)}{c_{iw} + k_1 (1 - b + b\, |x_i| / \overline{|x|})}",
    unit="BM25 score; 0 without a shared word",
    cost="the columns of the test example's words; the training set is counted once",
    weakness="Sees the words themselves only: neither their meaning, nor their order, nor the model, nor the label.",
    signed=False,
    words=True,
)
def bm25(
    query: Query,
    progress: Progress,
    *,
    k1: Annotated[float, Range(low=0, high=10, help="How slowly a repeated word stops adding; 0: at once.")] = 1.5,
    b: Annotated[float, Range(low=0, high=1, help="How much long training texts are discounted; 0: not.")] = 0.75,
) -> Scored:
    """Okapi BM25 of the training examples for the test example's words, each as often as it occurs; at least 0.

    c_iw counts word w in training example i, |x_i| its words, n_w the training examples that have w, and
    idf_w = log(1 + (n − n_w + ½)/(n_w + ½)), which is above 0 for every word. The words' terms sum to the score.
    """
    return _scored(query, _shared_bm25(query, k1, b))


@example_method(
    title="TF-IDF cosine",
    family="similarity",
    paper="lexical baseline; Salton & Buckley 1988; Yeh 2022 §5",
    formula=r"\cos(t', t_i),\quad t_{iw} = c_{iw} \left(1 + \ln \tfrac{1 + n}{1 + n_w}\right)",
    unit="cosine, 0 to 1",
    cost="the columns of the test example's words; the training set is counted once",
    weakness="Sees the words themselves only: neither their meaning, nor their order, nor the model, nor the label.",
    signed=False,
    words=True,
)
def tfidf(query: Query, progress: Progress) -> Scored:
    """Cosine of the two texts' TF-IDF vectors (scikit-learn's weights, fitted on the training set); 0 to 1.

    Words that no training example has count nowhere, not even in the test example's norm. The words' terms sum to the
    score.
    """
    return _scored(query, shared_tfidf(query))
