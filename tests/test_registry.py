"""What holds for every registered method: a method that is added is tested by being added."""

import ast
import inspect
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from attribution import attribute, list_methods
from attribution.errors import UserError
from attribution.methods import encoder
from attribution.model import length_sorted_batches
from attribution.parameters import Choice, Flag, Name, Range
from attribution.registry import FAMILIES, Method, get_method
from attribution.results import ScoreTable, TokenScores
from attribution.workspace import Workspace
from tests.oracles import assert_close, reopened, with_training_data

METHODS = list_methods()
EXAMPLE_METHODS = list_methods("examples")
# Names of contracts.md. A method of "beyond the papers" may stand in any family.
CONTRACT = {
    "saliency": (
        "gradient_x_input gradient_sum gradient_norm integrated_gradients smoothgrad gradient_shap erasure lime"
    ),
    "similarity": "nn_euc nn_cos nn_dot sbert_euc sbert_cos sbert_dot bm25 tfidf random",
    "representer": "representer",
    "tracin": "gd gc tracin tracin_last tracin_we tracin_we_topk tracin_we_nocommon tracin_common tracin_tfidf tracinf",
    "influence": "influence influence_head relatif",
    "pairing": "saliency_influence",
    "spans": "if_plus if_plus_plus tracin_plus tracin_plus_plus",
}
DESCRIBED = {
    *("name", "title", "family", "explains", "paper", "formula", "signed", "unit", "cost"),
    *("parameters", "words", "needs", "weakness"),
}
# Float32 in the index, and three digits where it is half precision.
BATCHING = {
    "features": 1e-4,
    "masked_texts": 1e-4,
    "word_gradients": 2e-3,
    "sentence_embeddings": 1e-4,
    "factors": 1e-3,
    "curvature": 1e-3,
    "norms": 1e-3,
    "projected_gradients": 2e-3,
}


def named(method: Method) -> str:
    return method.name


def every(methods: list[Method]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=named)


def ask(space: Workspace, method: Method, **question: Any) -> Any:
    """The method's answer, with a token clicked where it explains one."""
    clicked: dict[str, Any] = {"token": 1} if method.clicked else {}
    return attribute(space, method.name, **(question or {"test": 3}), **clicked)


def values(answer: Any) -> np.ndarray:
    return answer.raw if isinstance(answer, TokenScores) else answer.scores


class TestLabel:
    """What is said of a method is complete and fits the contract."""

    @every(METHODS)
    def test_is_complete(self, method: Method) -> None:
        """Title, paper, formula, unit, cost and weakness are given; the docstring says what the score is."""
        for field in ("title", "paper", "formula", "unit", "cost", "weakness"):
            text = getattr(method, field)
            assert text.strip(), f"{method.name} has no {field}"
            assert text == text.strip() and "\n" not in text, f"{method.name}'s {field} is not one clean line"
        assert inspect.getdoc(method.documented), f"{method.name} has no docstring"
        titles = [other.title for other in METHODS]
        assert titles.count(method.title) == 1, f"another method is called '{method.title}' too"

    @every(METHODS)
    def test_parameters_are_annotated(self, method: Method) -> None:
        """Every keyword has a help text and a rule, and its default keeps the rule."""
        for name, parameter in method.parameters.items():
            what = f"{method.name}'s {name}"
            assert isinstance(parameter.spec, Range | Choice | Name | Flag), f"{what} has no rule"
            assert parameter.spec.help.endswith("."), f"{what} has no help sentence"
            assert parameter.check(parameter.default) == parameter.default, f"{what} breaks its own rule"
            assert type(parameter.check(parameter.default)) is parameter.type, f"{what}'s default has another type"

    @every(METHODS)
    def test_description_is_the_contracts(self, method: Method) -> None:
        """`methods --format json` has the keys of contracts.md, in JSON's own types."""
        described = json.loads(json.dumps(method.describe(), allow_nan=False))
        assert set(described) == DESCRIBED
        assert described["explains"] in ("tokens", "examples") and described["family"] in FAMILIES
        for name, parameter in described["parameters"].items():
            kinds = ({"default", "help", "choices"}, {"default", "help", "low", "high"})
            assert set(parameter) in kinds, f"{method.name}'s {name} is described by {', '.join(parameter)}"

    @every(METHODS)
    def test_family_is_the_contracts(self, method: Method) -> None:
        """A name that contracts.md lists stands in the family it is listed under."""
        for family, names in CONTRACT.items():
            if method.name in names.split():
                assert method.family == family, f"{method.name} is of family {method.family}, not {family}"

    @every(METHODS)
    def test_every_method_has_an_oracle(self, method: Method) -> None:
        """Some test marked with pytest.mark.oracle checks this method against an independent computation."""
        assert method.name in marked_with_oracle(), (
            f"no test checks {method.name} independently: write one and mark it @pytest.mark.oracle('{method.name}')"
        )

    def test_oracles_are_of_methods_that_exist(self) -> None:
        """A mark that names no method protects nothing."""
        strangers = marked_with_oracle() - {method.name for method in METHODS}
        assert not strangers, f"oracle marks name unknown methods: {', '.join(sorted(strangers))}"


@cache
def marked_with_oracle() -> set[str]:
    """The names in the oracle marks of test functions, read from the test files without running them."""
    found: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.oracle":
                        found |= {ast.literal_eval(argument) for argument in mark.args}
    return found


class TestAnswer:
    """The shape and the promises of an answer."""

    @every(METHODS)
    @pytest.mark.parametrize("kind", ["single", "pair"])
    def test_has_one_number_for_each(self, workspace: Workspace, pairs: Workspace, method: Method, kind: str) -> None:
        """(train,) scores with n_test ≠ n_train, or (tokens,): finite float64, not all alike."""
        space = workspace if kind == "single" else pairs
        assert len(space.train) != len(space.test)
        answer = ask(space, method)
        expected = len(space.train) if method.explains == "examples" else len(answer.query.example.tokens)
        assert isinstance(answer, ScoreTable if method.explains == "examples" else TokenScores)
        assert values(answer).shape == (expected,) and values(answer).dtype == np.float64
        assert np.isfinite(values(answer)).all() and np.ptp(values(answer)) > 0

    @every(EXAMPLE_METHODS)
    def test_gives_words_where_it_says_so(self, workspace: Workspace, method: Method) -> None:
        """words=True: a finite part for every word of a row; words=False: none."""
        scored = ask(workspace, method).scored
        assert (scored.words is not None) == method.words
        if scored.words is not None:
            for row, words in zip((0, 39), scored.words([0, 39]), strict=True):
                assert [w.text for w in words if not w.text.startswith("[")] == workspace.train.loc[row, "text"].split()
                assert np.isfinite([w.score for w in words]).all()

    @every(METHODS)
    def test_reads_the_index_it_says(self, fresh: Workspace, method: Method) -> None:
        """After a question the disk holds the kinds of index that the label names, and no other."""
        ask(fresh, method)
        manifests = (fresh.directory / "index").glob("*/manifest.json")
        assert {json.loads(path.read_text())["kind"] for path in manifests} == set(method.index)

    @every(METHODS)
    def test_is_the_same_again(self, workspace: Workspace, method: Method) -> None:
        """Asked twice, and of the workspace opened anew, the answer is the same to the last bit."""
        first = values(ask(workspace, method))
        assert np.array_equal(first, values(ask(workspace, method)))
        assert np.array_equal(first, values(ask(reopened(workspace), method)))

    @every(METHODS)
    def test_leaves_the_model_as_it_was(self, workspace: Workspace, method: Method) -> None:
        """No parameter is changed, none is left with a gradient, and no hook stays behind."""
        before = {name: p.clone() for name, p in workspace.model.named_parameters()}
        ask(workspace, method)
        for name, parameter in workspace.model.named_parameters():
            assert parameter.equal(before[name]) and not parameter.requires_grad and parameter.grad is None, name
        hooked = [n for n, m in workspace.model.named_modules() if m._forward_hooks or m._forward_pre_hooks]
        assert not hooked, f"hooks stay on {hooked}"

    @every(METHODS)
    def test_refuses_a_parameter_it_has_not(self, workspace: Workspace, method: Method) -> None:
        """An unknown parameter is one line that names the method and its parameters."""
        with pytest.raises(UserError, match=f"No parameter of {method.name} 'wingspan'"):
            attribute(workspace, method.name, test=0, wingspan=3)


TEXTS = {
    "one token": "film",
    "unknown words": "zyx qwv",
    "longest": "warm film " * 200,
    "empty after cleaning": "\u200b\ufeff",
    "special tokens": "[MASK] [UNK] [SEP]",
    "one word many times": "film " * 9,
}


@every(METHODS)
@pytest.mark.parametrize("text", TEXTS)
def test_odd_texts_give_finite_scores(workspace: Workspace, pairs: Workspace, method: Method, text: str) -> None:
    """No NaN and no error on the shortest, the longest, unknown words only, and a text of which no token is left."""
    for space in (workspace, pairs) if text in ("longest", "empty after cleaning") else (workspace,):
        question = {"text": TEXTS[text]} | ({"text_pair": TEXTS[text]} if space.is_pair else {})
        answer = ask(space, method, **question)
        assert np.isfinite(values(answer)).all(), f"{text}: {values(answer)}"
        if isinstance(answer, TokenScores):
            assert np.isfinite(answer.scores).all() and len(answer.raw) == len(answer.query.example.tokens)


@pytest.fixture(scope="module")
def odd_rows(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same model with the odd texts, and a repeated row, as training examples."""
    rows = [{"text": text, "label": label} for text in TEXTS.values() for label in workspace.labels]
    table = pd.DataFrame([*rows, rows[0]])
    return with_training_data(workspace, table, tmp_path_factory.mktemp("odd") / "odd")


@pytest.fixture(scope="module")
def embeddings() -> dict[str, np.ndarray]:
    return {}


@pytest.fixture
def embedded_once(embeddings: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence encoder reads a text once for all methods: a long one without each of its words is hundreds."""
    real = encoder.sentence_embeddings

    def embed(texts: Sequence[str], device: torch.device, progress: Callable[[int], None] = lambda done: None) -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in embeddings]
        if new:
            embeddings.update(zip(new, real(new, device, progress), strict=True))
        return np.stack([embeddings[text] for text in texts])

    monkeypatch.setattr(encoder, "sentence_embeddings", embed)


@every(EXAMPLE_METHODS)
def test_odd_training_examples_get_finite_scores(odd_rows: Workspace, method: Method, embedded_once: None) -> None:
    """The same as training examples: finite scores and words, and equal rows have equal scores."""
    table = ask(odd_rows, method)
    assert np.isfinite(table.scores).all()
    assert table.scores[-1] == pytest.approx(table.scores[0], rel=1e-5)
    if method.words:
        for words in table.words_of(table.ids.tolist()):
            assert np.isfinite([word.score for word in words]).all()


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.directory, folder, ignore=shutil.ignore_patterns("index", "results"))
    return reopened(workspace, folder)


@pytest.fixture(scope="module")
def one_by_one(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return copy_of(workspace, tmp_path_factory.mktemp("alone") / "alone")


@pytest.fixture(scope="module")
def all_at_once(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return copy_of(workspace, tmp_path_factory.mktemp("together") / "together")


@every(METHODS)
def test_batch_size_does_not_matter(
    one_by_one: Workspace, all_at_once: Workspace, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts run one at a time and all in one padded batch, for the index and for the question, score the same."""
    found = []
    for space, tokens in ((one_by_one, 1), (all_at_once, 10**9)):
        assert length_sorted_batches.__kwdefaults__
        monkeypatch.setitem(length_sorted_batches.__kwdefaults__, "tokens", tokens)
        assert len(length_sorted_batches([3, 5, 4])) == (3 if tokens == 1 else 1)
        answer = ask(space, method)
        parts = [word.score for word in answer.words(5)] if method.words else []
        found.append(np.concatenate([values(answer), parts]))
    assert_close(found[0], found[1], relative=max([1e-4, *(BATCHING[kind] for kind in method.index)]))


@pytest.fixture(scope="module")
def shuffled(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, np.ndarray]:
    order = np.random.default_rng(3).permutation(len(workspace.train))
    folder = tmp_path_factory.mktemp("shuffled") / "shuffled"
    return with_training_data(workspace, workspace.train.iloc[order], folder), order


@every(EXAMPLE_METHODS)
def test_order_of_the_training_set_does_not_matter(
    workspace: Workspace, shuffled: tuple[Workspace, np.ndarray], method: Method
) -> None:
    """A training set in another order has its scores, and its words' parts, in that order."""
    other, order = shuffled
    here, there = ask(workspace, method), ask(other, method)
    assert_close(there.scores, here.scores[order], relative=max([1e-4, *(BATCHING[kind] for kind in method.index)]))
    if method.words:
        words = zip(there.words(0), here.words(int(order[0])), strict=True)
        assert all(a.text == b.text and a.score == pytest.approx(b.score, rel=1e-2, abs=1e-4) for a, b in words)


@pytest.fixture(scope="module")
def with_copies(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, list[tuple[int, int]]]:
    """Three test examples, of which the model is least sure, added to the training set with their predicted labels."""
    predicted = workspace.predict_test()
    tests = predicted.max(axis=1).nsmallest(3).index
    copies = pd.DataFrame(
        [{"text": workspace.test.loc[test, "text"], "label": predicted.loc[test].idxmax()} for test in tests]
    )
    table = pd.concat([workspace.train, copies], ignore_index=True)
    space = with_training_data(workspace, table, tmp_path_factory.mktemp("copies") / "copies")
    return space, [(int(test), len(workspace.train) + i) for i, test in enumerate(tests)]


@every([method for method in EXAMPLE_METHODS if method.signed and not method.clicked])
def test_a_copy_of_the_question_is_a_proponent(
    with_copies: tuple[Workspace, list[tuple[int, int]]], method: Method
) -> None:
    """A test text in the training set under its predicted label scores above zero and in the first half.

    Methods without a sign say nothing about training; those that explain a clicked token explain its saliency, which
    learning the label may lower as well as raise.
    """
    space, copies = with_copies
    for test, row in copies:
        table = ask(space, method, test=test)
        rank = int(np.flatnonzero(table.order == row)[0]) + 1
        assert table.scores[row] > 0, f"the copy of test example {test} has score {table.scores[row]}"
        assert rank <= len(table.scores) // 2, f"the copy of test example {test} has rank {rank}"


@every([method for method in EXAMPLE_METHODS if method.signed and not method.clicked])
def test_the_other_label_is_an_opponent(with_copies: tuple[Workspace, list[tuple[int, int]]], method: Method) -> None:
    """Explaining the label that the copy does not have, the same copy scores below zero."""
    space, copies = with_copies
    for test, row in copies:
        other = next(label for label in space.labels if label != space.train.loc[row, "label"])
        score = ask(space, method, test=test, label=other).scores[row]
        assert score < 0, f"the copy of test example {test} has score {score} for '{other}'"


def test_an_unknown_method_is_one_line() -> None:
    """The name, the nearest name and the known ones."""
    with pytest.raises(
        UserError, match=r"No method 'trakk'\..* Known: gradient_x_input, .*saliency_influence"
    ) as caught:
        get_method("trakk")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="Did you mean 'relatif'"):
        get_method("relative")


def test_the_listing_is_in_the_order_of_families() -> None:
    """Every method once, families together; and by what they explain."""
    families = [method.family for method in METHODS]
    assert families == sorted(families, key=FAMILIES.index)
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert [*list_methods("tokens"), *EXAMPLE_METHODS] == METHODS
