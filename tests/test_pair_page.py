"""Word by word on Explain: asked for before it is computed, and drawn with every word in its place."""

import pytest

from attribution import attribute
from attribution.pairs import WordPairs, word_pairs
from attribution.workspace import Workspace
from dashboard import cache, present
from tests.apps import OpenApp, said


def drawn(workspace: Workspace, *, subwords: bool, text: str, clicked: tuple[int, ...] = ()) -> WordPairs:
    scores = attribute(
        workspace, "gradient_x_input", text=text, text_pair="a cold, song" if workspace.is_pair else None
    )
    groups = present.pair_groups(scores, clicked=clicked, subwords=subwords)
    return word_pairs(scores.query, 7, {"scope": "head"}, groups=groups)


@pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)
@pytest.mark.parametrize("subwords", [False, True])
def test_both_sides_read_as_their_texts(indexed: Workspace, subwords: bool) -> None:
    """The words in order, with a space where the text has one, give each text back; subwords give its pieces."""
    found = drawn(indexed, subwords=subwords, text="the film , unwarmly warm.")
    for words, texts in zip(present.pair_words(found), (found.query.example.texts, found.example.texts), strict=True):
        for segment, text in enumerate(texts):
            own = [word for word in words if word["segment"] == segment]
            read = "".join(" " * word["space_before"] + word["text"] for word in own)
            assert read.split() == text.split(), "words and their spaces are those of the text"
    assert len(found.groups) == len(found.scores) and not any(word["special"] for word in present.pair_words(found)[0])


def test_a_special_token_is_a_row_where_it_is_clicked(indexed: Workspace) -> None:
    """[CLS] stands first, is marked as special and is the row that is lit."""
    found = drawn(indexed, subwords=False, text="warm film", clicked=(0,))
    rows, _ = present.pair_words(found)
    assert [word["text"] for word in rows] == ["[CLS]", "warm", "film"] and rows[0]["special"]
    assert present.pair_row(found, (0,)) == 0 and present.pair_row(found, (2,)) == 2
    assert present.pair_row(found, ()) is None


def test_it_is_asked_for(indexed: Workspace, open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """An opened row alone computes nothing; the link with a drawing does, for the words of the text, once."""
    asked: list[tuple] = []
    real = cache.word_pairs
    monkeypatch.setattr(cache, "word_pairs", lambda *given, **named: asked.append(given) or real(*given, **named))
    app = open_app(indexed.directory, test="3", row="7")
    assert "Word by word with training example 7" in said(app.markdown) and not asked
    app.query_params["pairs"] = "links"
    app.run()
    assert [given[1] for given in asked] == [7] and "words · exact over last:2" in said(app.caption)
    app.run()
    assert len(asked) == 1 and not app.exception
