"""Answers: order, ranks, z-scores and ids of score tables, whatever the scores are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution import attribute, create_workspace
from attribution.errors import UserError
from attribution.query import make_query
from attribution.results import Scored, ScoreTable, TokenScores
from attribution.workspace import Workspace
from tests.tiny import tiny_bert


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose train file has a blank text in row 1 and a missing label in row 4."""
    folder = tmp_path_factory.mktemp("gappy")
    rows = [
        "a warm film,positive",
        ",negative",
        "a dull film,negative",
        "the cold plot,negative",
        "the cast,",
        "x,positive",
    ]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "test.csv").write_text("text,label\n\ufeff,positive\n   ,negative\na stale song,negative\n")
    made, notices = create_workspace(
        folder / "workspace", model=tiny_bert(folder / "model"), train=folder / "train.csv", test=folder / "test.csv"
    )
    assert notices, "the unusable rows are not named"
    return made


def table_of(workspace: Workspace, scores: np.ndarray) -> ScoreTable:
    scored = Scored(scores=scores, scorer="head", exact=True, quantity="log_probability")
    query = make_query(workspace, test=0)
    return ScoreTable(query=query, method="made_up", parameters={}, scored=scored, seconds=0.0)


@pytest.fixture
def drawn(workspace: Workspace) -> ScoreTable:
    return table_of(workspace, np.random.default_rng(0).normal(loc=3, size=len(workspace.train)))


def test_proponents_fall_and_opponents_rise(drawn: ScoreTable) -> None:
    """Proponents are the largest scores, largest first; opponents the smallest, smallest first; ranks from 1."""
    order = sorted(drawn.scores)
    proponents, opponents = drawn.frame(5), drawn.frame(5, opponents=True)
    assert proponents["score"].tolist() == order[::-1][:5]
    assert opponents["score"].tolist() == order[:5]
    for frame in (proponents, opponents):
        assert frame["rank"].tolist() == [1, 2, 3, 4, 5]


def test_rows_of_some_ids_are_those_of_the_whole_list(drawn: ScoreTable) -> None:
    """Asked for by id, a row is the one that the list of all has, in the order asked for, its rank by falling score."""
    whole, wanted = drawn.frame(0).set_index("train_id", drop=False), [17, 3, 39]
    pd.testing.assert_frame_equal(drawn.rows(wanted), whole.loc[wanted].reset_index(drop=True))
    with pytest.raises(UserError, match=r"No training example 40: ids go from 0 to 39\."):
        drawn.rows([40])


def test_top_0_is_everything_by_falling_score(drawn: ScoreTable) -> None:
    """top=0, and any top beyond the end, gives each training example once."""
    for top in (0, 40, 1000):
        frame = drawn.frame(top)
        assert sorted(frame["train_id"]) == list(range(40))
        assert frame["score"].is_monotonic_decreasing


def test_rows_carry_what_they_are_of(drawn: ScoreTable) -> None:
    """The text, label, score and z of a row are those of its train id."""
    for row in drawn.frame(0).to_dict("records"):
        source = drawn.query.workspace.train.loc[row["train_id"]]
        assert (row["text"], row["label"]) == (source["text"], source["label"])
        assert row["score"] == drawn.scores[row["train_id"]] and row["z"] == drawn.z[row["train_id"]]


def test_z_is_in_standard_deviations(drawn: ScoreTable) -> None:
    """z has mean 0 and deviation 1 and is a rising line of the score; it is 0 where all scores are equal."""
    assert drawn.z.mean() == pytest.approx(0, abs=1e-12) and drawn.z.std() == pytest.approx(1)
    assert np.corrcoef(drawn.z, drawn.scores)[0, 1] == pytest.approx(1)
    for count in (7, 10, 40, 100):
        equal = table_of(drawn.query.workspace, np.full(count, 0.7))
        assert not equal.z.any(), f"{count} equal scores have z {equal.z[:3]}"


def test_equal_scores_stand_by_rising_id(workspace: Workspace) -> None:
    """The order of ties does not depend on anything but the file."""
    scores = np.repeat([1.0, 2.0], 20)
    assert table_of(workspace, scores).order.tolist() == [*range(20, 40), *range(20)]


def test_ids_are_row_numbers_of_the_file(gappy: Workspace) -> None:
    """Where rows were left out, the ids of the others are still their places in the file, from 0."""
    table = attribute(gappy, "gd", test=2)
    assert table.ids.tolist() == [0, 2, 3, 5] and len(table.scores) == 4
    by_id = dict(zip(table.frame(0)["train_id"], table.frame(0)["text"], strict=True))
    assert by_id == {0: "a warm film", 2: "a dull film", 3: "the cold plot", 5: "x"}
    assert [word.text for word in table.words(3)] == ["the", "cold", "plot"]
    assert table.words_of([5, 2]) == [table.words(5), table.words(2)]


@pytest.mark.parametrize("train_id", [1, 4, 6, -1])
def test_words_of_a_row_that_is_not_there(gappy: Workspace, train_id: int) -> None:
    """A left-out row and one beyond the end have no words: one line with the id."""
    with pytest.raises(UserError, match=f"No training example {train_id}"):
        attribute(gappy, "gd", test=2).words(train_id)


def test_words_of_a_method_that_has_none(workspace: Workspace) -> None:
    """A method that cannot say which words counted says so in one line."""
    with pytest.raises(UserError, match="random does not say which words"):
        attribute(workspace, "random", test=0).words(0)


@pytest.mark.parametrize("test", [-1, 11, 10**12])
def test_an_unknown_test_id_names_the_range(workspace: Workspace, test: int) -> None:
    """Test ids are row numbers of the file: one line with the id and the ends of the range."""
    with pytest.raises(UserError, match=rf"No test example {test}: .* go from 0 to 10"):
        attribute(workspace, "gd", test=test)


class TestQuestions:
    """What can be asked, and what is said where it cannot."""

    def test_a_label(self, workspace: Workspace) -> None:
        """predicted, true and a label's name choose the label explained; the first is the largest probability."""
        for test, row in workspace.test.iterrows():
            assert isinstance(test, int)
            query = make_query(workspace, test=test)
            assert query.probabilities[query.label_name] == max(query.probabilities.values())
            assert make_query(workspace, test=test, label="true").label_name == row["label"] == query.true_label
            assert make_query(workspace, test=test, label="positive").label_name == "positive"

    def test_an_unknown_label(self, workspace: Workspace) -> None:
        """The choices are listed and the nearest is suggested."""
        with pytest.raises(UserError, match=r"No label 'postive'. Did you mean 'positive'\? Known: predicted, true,"):
            make_query(workspace, test=0, label="postive")

    def test_the_true_label_of_an_own_text(self, workspace: Workspace) -> None:
        """A text of one's own has none."""
        with pytest.raises(UserError, match="no true label"):
            make_query(workspace, text="a film", label="true")

    @pytest.mark.parametrize("question", [{}, {"test": 0, "text": "a film"}])
    def test_one_thing_is_asked_about(self, workspace: Workspace, question: dict) -> None:
        """A test example or a text: not both, not neither."""
        with pytest.raises(UserError, match="not both and not neither"):
            make_query(workspace, **question)

    def test_pairs_and_single_texts(self, workspace: Workspace, pairs: Workspace) -> None:
        """A pair where pairs are classified and one text where single texts are; neither may be blank."""
        with pytest.raises(UserError, match="give the second text too"):
            make_query(pairs, text="a film")
        with pytest.raises(UserError, match="leave the second text out"):
            make_query(workspace, text="a film", text_pair="a plot")
        with pytest.raises(UserError, match="blank"):
            make_query(workspace, text=" \t\n")
        with pytest.raises(UserError, match="blank"):
            make_query(pairs, text="a film", text_pair=" ")

    def test_a_test_example_is_the_text_it_holds(self, workspace: Workspace) -> None:
        """Asking by id and asking by the row's text give the same scores."""
        by_id, by_text = (
            attribute(workspace, "gd", test=4),
            attribute(workspace, "gd", text=workspace.test.loc[4, "text"]),
        )
        assert np.array_equal(by_id.scores, by_text.scores)


def test_token_frames_point_into_the_text(workspace: Workspace) -> None:
    """Each token's offsets slice its text out of the test text; special tokens cover nothing."""
    found = attribute(workspace, "gradient_x_input", text="Unwarmly, the FILM  was not  dull.")
    assert isinstance(found, TokenScores)
    for row in found.frame().to_dict("records"):
        piece = found.query.example.text[row["start"] : row["end"]]
        assert piece == ("" if row["special"] else row["text"]), f"token {row['index']} points at '{piece}'"


def test_results_can_be_made_in_any_folder(gappy: Workspace, tmp_path: Path) -> None:
    """A question writes into the workspace's own folder and nowhere else."""
    attribute(gappy, "gd", test=2)
    assert not list(tmp_path.iterdir())
    assert {path.name for path in gappy.directory.iterdir()} <= {
        *("workspace.toml", "model", "train.parquet", "test.parquet", "checkpoints", "index", "results", ".lock")
    }
