"""The Data page without a browser: lists, edits of one and of several, refusals, and what is taken away as a file."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attribution.editing import EditLog, RowEdit, relabel, remove
from attribution.editing.effect import predicted_effect
from attribution.editing.versions import list_versions
from attribution.group import attribute_group, make_group, whole_test_set
from attribution.index import build
from attribution.registry import standard_parts
from attribution.suspects import find_duplicates, suspicious_labels
from attribution.workspace import Workspace
from dashboard import data_tables, editing, jobs, retraining
from dashboard.data_tables import LISTS
from tests.apps import OpenApp, said, tick
from tests.tiny import FILLER, sentences, workspace_of

DATA = "views/data.py"


@pytest.fixture
def ready(fresh: Workspace) -> Workspace:
    """A workspace of the test's own with its standard index."""
    build(fresh, standard_parts(fresh))
    return fresh


def opened(open_app: OpenApp, workspace: Workspace, **query: str) -> AppTest:
    """The Data page under a link, once what it searches unasked has ended."""
    return settled(open_app(workspace.directory, **query).switch_page(DATA).run())


def settled(app: AppTest) -> AppTest:
    """The page after the searches under way."""
    for _ in range(40):
        if not any(button.label == "Stop" for button in app.button):
            break
        app.run()
    assert not app.exception
    return app


def shown(app: AppTest) -> pd.DataFrame:
    """The list on the page."""
    return app.dataframe[0].value


def test_every_list_opens_by_link(ready: Workspace, open_app: OpenApp) -> None:
    """A list, its order and the row looked at are in the link; an unknown list is noted and the first one shown."""
    for name in LISTS:
        app = opened(open_app, ready, suspects=name, row="3")
        assert not app.error and app.query_params["suspects"] == name
        assert "Training example 3" in said(app.markdown)
    app = opened(open_app, ready, suspects="odd", by="loss")
    assert "'odd'" in said(app.warning)
    expected = suspicious_labels(ready).sort_values("rank_loss")
    assert shown(app).index.tolist() == expected.index.tolist()
    assert shown(app)["suspected"].tolist() == expected["suspected_label"].tolist()


def test_one_example_is_relabelled_removed_noted_and_taken_back(ready: Workspace, open_app: OpenApp) -> None:
    """Every act is one entry of the log; the badge counts the examples; the imported table stays as it is."""
    before = ready.train.copy()
    app, log = opened(open_app, ready, row="5"), EditLog(ready)
    (other,) = set(ready.labels) - {ready.train.at[5, "label"]}
    app.button(key="relabel").click().run()
    assert log.current()[5].label == other and "1 edit" in said(app.markdown)
    assert shown(app).at[5, "edit"] == f"→ {other}"
    app.text_area(key="note 5 0").set_value("odd one").run()
    app.button(key="keep note").click().run()
    assert log.current()[5].note == "odd one" and "Note: odd one" in said(app.caption)
    app.button(key="remove").click().run()
    assert log.current()[5].removed and app.button(key="relabel").disabled
    app.button(key="undo row").click().run()
    app.button(key="undo row").click().run()
    app.button(key="undo row").click().run()
    assert log.current() == {} and app.button(key="undo row").disabled
    assert len(log.entries) == 6 and not app.error
    pd.testing.assert_frame_equal(Workspace(ready.directory, ready.settings).train, before)


def test_a_refused_edit_is_one_red_box_that_stays(ready: Workspace, open_app: OpenApp) -> None:
    """Another tab removed the row: the act is refused with the reason, which stays until it is dismissed."""
    app = opened(open_app, ready, row="5")
    app.text_area(key="note 5 0").set_value("  ").run()
    app.button(key="keep note").click().run()
    (box,) = app.error
    assert "is blank" in said([box]) and EditLog(ready).entries == ()
    settled(app.switch_page("views/methods.py").run().switch_page(DATA).run())
    assert len(app.error) == 1
    app.button(key="dismiss problem").click().run()
    assert not app.error


def test_a_bulk_edit_that_would_be_refused_is_not_offered(ready: Workspace, open_app: OpenApp) -> None:
    """Removing every example of a label is a red line in the preview, with no button that does it; all but one is."""
    label = ready.labels[0]
    app = opened(open_app, ready, suspects="labels")
    app.selectbox(key="data label").set_value(label).run()
    rows = list(range(len(shown(app))))
    tick(app, rows).button(key="bulk remove").click().run()
    assert f"no training example with the label '{label}'" in said(app.error)
    assert "confirm bulk" not in [button.key for button in app.button] and EditLog(ready).entries == ()
    tick(app, rows[1:]).button(key="bulk remove").click().run()
    assert not app.error and app.button(key="confirm bulk").label == f"Remove {len(rows) - 1} examples"


def test_a_log_of_other_data_leaves_the_lists(ready: Workspace, open_app: OpenApp) -> None:
    """The red box says why nothing can be edited; the suspects are still there to be read."""
    (ready.storage / "edits.jsonl").write_text('{"format": 1, "train_digest": "f00"}\n')
    app = opened(open_app, ready, row="5")
    assert "other training data" in said(app.error) and "nothing can be edited" in said(app.caption)
    assert len(shown(app)) == len(ready.train) and "relabel" not in [button.key for button in app.button]


def test_several_are_undone_from_the_log(ready: Workspace, open_app: OpenApp) -> None:
    """The list of edits shows the latest first, and one undo takes back what was made together."""
    log = EditLog(ready)
    others = {i: next(label for label in ready.labels if label != ready.train.at[i, "label"]) for i in (1, 2)}
    log.append(*(relabel(i, label) for i, label in others.items()))
    log.append(remove(7))
    app = opened(open_app, ready, suspects="edits")
    history = shown(app)
    assert history["row"].tolist() == [7, 2, 1] and all(history["holds"].tolist())
    assert app.button(key="undo ticked").disabled
    app.session_state["history"] = {"selection": {"rows": [2], "columns": [], "cells": []}}
    app.run()
    app.button(key="undo ticked").click().run()
    assert set(log.current()) == {7} and not app.exception


def test_files_hold_the_edited_data(ready: Workspace, open_app: OpenApp) -> None:
    """csv, jsonl and parquet are one table: the imported one with the edits, whose columns keep their names."""
    opened(open_app, ready)
    labels = EditLog(ready)
    (other,) = set(ready.labels) - {ready.train.at[2, "label"]}
    labels.append(relabel(2, other), remove(0))
    expected = ready.train.copy()
    expected.loc[2, "label"] = other
    expected = expected.drop(index=0).reset_index(drop=True)
    read = {".csv": pd.read_csv, ".jsonl": lambda file: pd.read_json(file, lines=True), ".parquet": pd.read_parquet}
    for suffix, reader in read.items():
        found = reader(io.BytesIO(editing.cleaned_file(suffix)))
        assert found[["text", "label"]].to_numpy().tolist() == expected[["text", "label"]].to_numpy().tolist(), suffix
    rows = pd.read_csv(io.StringIO(editing.log_file()))
    assert rows["action"].tolist() == ["relabel", "remove"] and set(rows["train_digest"]) == {
        ready.settings.train_digest[:16]
    }


def test_the_predicted_effect_is_the_librarys(ready: Workspace, open_app: OpenApp) -> None:
    """It is asked for, and then says what the library predicts for these edits; other edits ask again."""
    log = EditLog(ready)
    log.append(remove(3), remove(4))
    app = opened(open_app, ready, test="1")
    app.button(key="predict effect").click().run()
    settled(app)
    found = predicted_effect(whole_test_set(ready), log.current())
    assert f"{-found.value:.4f} → {-found.value - found.change:.4f}" in said(app.markdown)
    assert "Test example 1, probability of" in said(app.markdown)
    assert "predict effect" not in [button.key for button in app.button]
    log.append(remove(9))
    settled(app.run())
    assert app.button(key="predict effect").label == "Predict the effect of 3 edits"


def test_what_acts_on_mispredictions_is_the_librarys(ready: Workspace, open_app: OpenApp) -> None:
    """The list goes by the mean score for the predicted label over the true one of the mispredictions chosen."""
    app = opened(open_app, ready, suspects="acting")
    probabilities = ready.predict_test()
    predicted = probabilities.idxmax(axis=1)
    wrong = ready.test.index[(predicted != ready.test["label"]).to_numpy()].tolist()
    group = make_group(ready, wrong, label="predicted", against="true")
    scores = attribute_group(group, "influence_head").scores
    assert shown(app)["score"].tolist() == sorted(scores.tolist(), reverse=True)
    assert f"{len(wrong):,} mispredictions" in said(app.caption)
    app.text_input(key="slice text").set_value("no such word").run()
    assert "No test example is mispredicted" in said(app.info)


def test_duplicates_and_conflicts_with_nothing_say_so(tmp_path: Path, open_app: OpenApp) -> None:
    """Without duplicates the page says the next act; planted ones are listed with all but the first to be ticked."""
    rows = sentences(24, seed=2).drop_duplicates("text").reset_index(drop=True)
    rows.loc[len(rows)] = {"text": rows.at[0, "text"].upper() + " !", "label": rows.at[0, "label"]}
    workspace = workspace_of(tmp_path, rows, sentences(6, seed=3))
    app = opened(open_app, workspace, suspects="conflicts")
    assert "have the same text and different labels" in said(app.info)
    app = opened(open_app, workspace, suspects="duplicates")
    listed = find_duplicates(workspace, threshold=0.8).frame
    assert shown(app).index.tolist() == listed.index.tolist() and len(rows) - 1 in listed.index
    app.button(key="tick extra").click().run()
    assert any(button.label.startswith("Remove 1") for button in app.button)
    app.text_input(key="data text").set_value("no such word").run()
    assert "No example passes the filters" in said(app.info)


def test_filters_and_marks() -> None:
    """Words in either case, a label, and edited ones left out; marks say what was done; counts where they change."""
    train = pd.DataFrame({"text": ["A film", "the plot", "The FILM"], "label": ["x", "y", "x"]})
    edits = {0: RowEdit(label="y", note="n"), 1: RowEdit(removed=True, label="x"), 2: RowEdit(text="a", note="b")}

    def kept(**given: object) -> list[int]:
        options = {"words": "", "label": None, "hide_edited": False, **given}
        return data_tables.narrowed(train, pd.Index([2, 0, 1]), {0: edits[0]}, **options).tolist()  # pyright: ignore

    assert kept() == [2, 0, 1] and kept(words="film") == [2, 0] and kept(label="y") == [1]
    assert kept(hide_edited=True, words="film") == [2]
    assert [data_tables.edit_mark(edits[i]) for i in range(3)] == ["→ y, note", "removed", "text changed, note"]
    assert data_tables.edit_mark(None) == ""
    assert data_tables.class_changes(pd.Series(["x", "y", "x"]), pd.Series(["x", "x", "y", "y"])) == "y 1 → 2"


def test_a_long_list_is_cut_and_says_so() -> None:
    """At most 2,000 rows are sent to the page, the first ones."""
    train = pd.DataFrame({"text": FILLER * 200, "label": "x"})
    made = data_tables.listing("k", train, train.index[::-1], {}, {"loss": range(len(train))})
    assert made.total == len(train) > len(made.frame) == 2000
    assert made.frame.index[0] == len(train) - 1 and made.frame["loss"].tolist() == list(range(2000))


def test_retraining_runs_beside_the_page_and_its_version_is_shown(ready: Workspace, open_app: OpenApp) -> None:
    """Without an edit there is nothing to start; the run's version says what the command line's answer says."""
    app = opened(open_app, ready, test="1")
    assert app.button(key="retrain").disabled
    EditLog(ready).append(remove(3))
    app.number_input(key="seeds").set_value(1).run()
    app.button(key="retrain").click().run()
    job = jobs.job("retrain")
    assert job is not None and job.command == ("retrain", "--edits", "--seeds", "1", "--test", "1", "--format", "json")
    assert job.process.wait(timeout=200) == 0, job.lines()
    settled(app.run())
    (version,) = list_versions(ready)
    assert json.loads(job.answer())["accuracy"] == version.about["accuracy"]
    assert retraining.verdict(version.about) in said(app.markdown)
    assert "1 removed" in said(app.caption) and any(str(version.folder) in code.value for code in app.code)
    log = EditLog(ready)
    log.append(remove(4))
    app.run()
    assert "have changed since" in said(app.caption)
    app.button(key="revert version").click().run()
    assert set(log.current()) == {4} and not app.exception, "what was edited later stays"

    app.button(key="compare version").click().run()
    app.switch_page("views/errors.py").run()
    assert app.selectbox(key="errors against").value == "version 1"
    predicted = (each.predict_test().idxmax(axis=1) for each in (version.open(), ready))
    now, was, true = (values.to_dict() for values in (*predicted, ready.test["label"]))
    expected = {
        "fixed": [i for i in true if was[i] != true[i] == now[i]],
        "broken": [i for i in true if was[i] == true[i] != now[i]],
    }
    counts = f"{len(expected['fixed'])} fixed, {len(expected['broken'])} broken"
    assert counts in said(app.caption)
    for name, ids in expected.items():
        app.segmented_control(key="errors outcome version 1").set_value(name).run()
        found = app.dataframe[0].value.index.tolist() if app.dataframe else []
        assert sorted(found) == ids, name

    app.button(key="open version 1").click().run()
    assert app.query_params["workspace"] == str(version.folder) and app.query_params["test"] == "1"
    assert "Test example 1" in said(app.markdown) and f"**{ready.name}, version 1**" in said(app.sidebar.markdown)
    app.switch_page("views/errors.py").run()
    assert app.selectbox(key="errors against").value == "the original"
    assert counts in said(app.caption), "the outcome is that of the edits, from either side"
    settled(app.switch_page(DATA).run())
    assert f"This is version 1 of '{ready.name}'" in said(app.info)
    app.button(key="open the original").click().run()
    assert "workspace" not in app.query_params and f"**{ready.name}**" in said(app.sidebar.markdown)


def test_the_verdict_goes_by_the_interval_against_random_edits() -> None:
    """Only an interval that leaves out zero tells the edits from random ones; points of accuracy have a sign."""

    def about(low: float, high: float) -> dict:
        rows = [("edited", "unedited"), ("random edits", "unedited"), ("edited", "random edits")]
        return {
            "differences": [
                {"models": one, "over": other, "mean": (low + high) / 2, "low": low, "high": high}
                for one, other in rows
            ]
        }

    assert retraining.verdict(about(0.01, 0.03)).startswith("The edits helped")
    assert "+2.00 points (+1.00 to +3.00)" in retraining.verdict(about(0.01, 0.03))
    assert "cannot be told" in retraining.verdict(about(-0.01, 0.03))
    assert "did worse" in retraining.verdict(about(-0.03, -0.01)) and "−2.00" in retraining.verdict(about(-0.03, -0.01))


def test_a_word_is_changed_from_the_row(ready: Workspace, open_app: OpenApp) -> None:
    """A word of one's own becomes an edit of the text; what the imported data says stands beside it."""
    app = opened(open_app, ready, row="5", test="1")
    app.toggle(key="change a word").set_value(True).run()
    app.text_input(key="perturb own 5").set_value("splendid").run()
    app.button(key="add own replacement").click().run()
    assert not app.exception
    changed = EditLog(ready).current()[5].text
    assert changed is not None and "splendid" in changed and changed != ready.train.at[5, "text"]
    assert "text changed" in said(app.markdown)
