"""The Evaluate page without a browser: a run from the form to its result and back, and what can go wrong."""

import csv
import json
from io import StringIO
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution.experiments import results
from attribution.experiments.registry import get_experiment, list_experiments
from attribution.experiments.results import keep, list_kept
from attribution.workspace import Workspace
from dashboard import evaluating, experiment_charts, jobs
from dashboard.experiment_tables import readings
from tests.apps import OpenApp, said
from tests.test_kept_results import report_of

EVALUATE = "views/evaluate.py"
FORM = "artifact_fit 0"


def opened(open_app: OpenApp, workspace: Workspace, **query: str) -> AppTest:
    """The Evaluate page under a link."""
    return open_app(workspace.directory, **query).switch_page(EVALUATE).run()


def ended(app: AppTest, key: str = "evaluate") -> jobs.Job:
    """The job of a key once it has ended, and the page after it."""
    job = jobs.job(key)
    assert job is not None
    job.process.wait(timeout=120)
    app.run()
    return job


def test_a_run_from_the_form_to_its_result_and_back(fresh: Workspace, open_app: OpenApp) -> None:
    """Nothing runs before Start; what was chosen arrives; the result opens; Run again fills the form with it."""
    app = opened(open_app, fresh, experiment="artifact_fit")
    assert not app.exception and not app.error and jobs.job("evaluate") is None
    assert "press Start" in app.info[0].value
    app.multiselect(key=f"{FORM}: methods").set_value(["gd", "nn_cos"]).run()
    app.text_input(key=f"{FORM} tests").set_value("2").run()
    app.number_input(key=f"{FORM}: seed").set_value(5).run()
    app.button(key="start").click().run()
    assert "Running: Influence against artifacts" in said(app.markdown)
    assert "start" not in [button.key for button in app.button]
    job = ended(app)
    assert job.succeeded, job.lines()
    (kept,), damaged = list_kept(fresh)
    assert not damaged and app.query_params["result"] == kept.name
    assert kept.question["methods"] == ["gd", "nn_cos"] and kept.question["seed"] == 5
    assert kept.question["parameters"] == {
        **{name: parameter.default for name, parameter in get_experiment("artifact_fit").parameters.items()},
        "tests": 2,
    }
    assert not app.exception and not app.error
    assert f"digest {fresh.digest[:16]}" in said(app.caption) and "seed 5" in said(app.caption)
    assert "intervals" in said(app.markdown) and "this model and data" in said(app.markdown)
    assert any(frame.value.equals(evaluating.kept_rows([kept], fresh)) for frame in app.dataframe)
    assert "The same run took" in said(app.caption)

    app.text_input(key=f"{FORM} tests").set_value("3").run()
    app.multiselect(key=f"{FORM}: methods").set_value(["gc"]).run()
    assert "The same run took" not in said(app.caption)
    app.button(key="run again").click().run()
    again = "artifact_fit 1"
    assert app.multiselect(key=f"{again}: methods").value == ["gd", "nn_cos"]
    assert app.text_input(key=f"{again} tests").value == "2" and app.number_input(key=f"{again}: seed").value == 5
    app.button(key="close result").click().run()
    assert "result" not in app.query_params and "run again" not in [button.key for button in app.button]


def test_a_run_is_stopped_and_the_form_stays(fresh: Workspace, open_app: OpenApp) -> None:
    """A page change neither ends the run nor empties the form; Stop ends it without an error."""
    app = opened(open_app, fresh, experiment="artifact_fit")
    app.text_input(key=f"{FORM} tests").set_value("7").run()
    app.button(key="start").click().run()
    job = jobs.job("evaluate")
    app.switch_page("views/methods.py").run()
    app.switch_page(EVALUATE).run()
    assert job is not None and job.running and "Running" in said(app.markdown)
    assert app.text_input(key=f"{FORM} tests").value == "7"
    app.button(key="stop-evaluate").click().run()
    assert not ended(app).succeeded
    assert not app.error and app.button(key="start") and list_kept(fresh) == ([], [])
    assert app.text_input(key=f"{FORM} tests").value == "7"


def test_a_wrong_value_is_one_red_box_and_loses_nothing(fresh: Workspace, open_app: OpenApp) -> None:
    """A value out of range disables Start until it is corrected; the other fields keep what they hold."""
    app = opened(open_app, fresh, experiment="artifact_fit")
    app.number_input(key=f"{FORM}: seed").set_value(3).run()
    app.text_input(key=f"{FORM} tests").set_value("1").run()
    (box,) = app.error
    assert "tests must be from 2" in said([box])
    assert app.button(key="start").disabled
    assert app.text_input(key=f"{FORM} tests").value == "1" and app.number_input(key=f"{FORM}: seed").value == 3
    app.text_input(key=f"{FORM} tests").set_value("4").run()
    assert not app.error and not app.button(key="start").disabled


def test_a_failed_run_says_why_until_it_is_dismissed(fresh: Workspace, open_app: OpenApp) -> None:
    """The experiment's own refusal is the one red box, its details a click away; the form keeps what was asked."""
    app = opened(open_app, fresh, experiment="artifact_fit")
    app.selectbox(key=f"{FORM} features").set_value("pattern").run()
    app.button(key="start").click().run()
    assert not ended(app).succeeded
    (box,) = app.error
    assert "needs a word list" in said([box]) and "influscope:" not in said([box])
    assert any("evaluate artifact_fit --set=features=pattern" in code.value for code in app.code)
    app.switch_page("views/methods.py").run()
    app.switch_page(EVALUATE).run()
    assert len(app.error) == 1 and app.selectbox(key=f"{FORM} features").value == "pattern"
    app.button(key="dismiss evaluate").click().run()
    assert not app.error


def test_a_run_that_is_killed_says_so(fresh: Workspace, open_app: OpenApp) -> None:
    """The page names the signal instead of the last line of progress, and Start is there to go on."""
    job = jobs.start(fresh, "evaluate", "artifact_fit", command="evaluate")
    job.process.kill()
    job.process.wait(timeout=30)
    app = opened(open_app, fresh)
    assert "ended from outside (SIGKILL)" in said(app.error) and "is kept" in said(app.error)
    assert not app.button(key="start").disabled


def test_results_of_other_weights_missing_and_damaged_ones(fresh: Workspace, open_app: OpenApp) -> None:
    """Each is said in a sentence of its own, and the rest of the page stays."""
    old = report_of(fresh)
    other = Workspace(fresh.directory, fresh.settings)
    other.__dict__["digest"] = "f" * 64
    stale = keep(report_of(other))
    kept = keep(old)
    app = opened(open_app, fresh, result=stale.name)
    assert not app.exception
    (warning,) = app.warning
    assert "other weights or data (digest ffffffff)" in warning.value and fresh.digest[:8] in warning.value
    rows = evaluating.kept_rows([stale, kept], fresh)
    assert rows["of"].tolist() == ["other weights or data", "this model and data"]
    path = fresh.storage / "results" / "evaluations" / f"{stale.name}.json"
    path.write_text("{")
    results._read.cache_clear()
    app.run()
    assert not app.exception
    assert "is damaged" in said(app.warning) and "may have been deleted" in said(app.info)
    app = opened(open_app, fresh, result="../../etc")
    assert "it is ignored" in said(app.warning)


def test_delete_asks_first(fresh: Workspace, open_app: OpenApp) -> None:
    """The button that deletes is behind another one; after it the run is gone and the page is empty again."""
    kept = keep(report_of(fresh))
    app = opened(open_app, fresh, result=kept.name)
    assert "Delete this result for good?" in said(app.markdown)
    app.button(key="delete result").click().run()
    assert list_kept(fresh) == ([], []) and not app.exception and "press Start" in app.info[0].value


def test_what_does_not_fit_is_listed_with_the_reason(workspace: Workspace, pairs: Workspace) -> None:
    """Every experiment is either offered or has a reason that names the need."""
    for space in (workspace, pairs):
        reasons = {e.name: why for e, why in evaluating.unfit(space)}
        assert set(reasons) | {e.name for e in list_experiments(space)} == {e.name for e in list_experiments()}
        assert not set(reasons) & {e.name for e in list_experiments(space)}
    assert "needs pairs of texts, and this workspace has single texts" in dict(
        (e.name, why) for e, why in evaluating.unfit(workspace)
    ).get("lexical_overlap", "")


def test_a_question_is_what_the_command_line_takes(fresh: Workspace) -> None:
    """Only what was changed becomes an option; the finished run is recognised as the answer to its question alone."""
    kept = keep(report_of(fresh, seed=2))
    question = evaluating.question_of(kept)
    assert question.options() == ("artifact_fit", "--methods", "gd", "--set=tests=2", "--seed", "2")
    assert question.asked_in(kept)
    asked: Any = {"experiment": "artifact_fit", "methods": ("gd",), "parameters": {"tests": 2}, "seed": 2}
    assert evaluating.Question(**asked) == question
    for name, value in (("methods", ()), ("parameters", {}), ("seed", 3)):
        assert not evaluating.Question(**{**asked, name: value}).asked_in(kept)


def test_metrics_are_of_the_whole_run(fresh: Workspace) -> None:
    """Numbers that a row of the table holds are not said again beside the figure."""
    summary = {"tests": 2, "gd": 0.5, "top_1, gd": 0.25, "base_rate": 0.125}
    table = [{"method": "gd", "lds": 0.5}, {"method": "gc", "lds": 0.25}]
    assert evaluating.metrics(keep(report_of(fresh, summary=summary, table=table))) == {"tests": 2, "base_rate": 0.125}


def test_exports_say_what_they_are_of(fresh: Workspace) -> None:
    """Digest, methods, parameters, seed and sign in every file; what looks like code stays text; nothing is fetched."""
    hostile = "<script>alert(1)</script>"
    table = [{"method": "gd", "slice": hostile, "coefficient": 0.5, "low": 0.25, "high": 0.75}]
    paper = [{"slice": "theirs", "coefficient": 0.125, "differs": "model & data"}]
    kept = keep(report_of(fresh, table=table, paper=paper, notes=(hostile,)))
    rows = list(csv.DictReader(StringIO(evaluating.as_csv(kept))))
    assert [(row["source"], row["slice"]) for row in rows] == [("this workspace", hostile), ("paper", "theirs")]
    assert [float(row["coefficient"]) for row in rows] == [0.5, 0.125]
    page = evaluating.as_html(kept, [experiment_charts.figure(readings(table)[0], (), dark=False)])
    assert "<script>alert" not in page and page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "<script src" not in page and "<link" not in page
    for text in (*(str(row) for row in rows), page, evaluating.as_json(kept)):
        for expected in (fresh.digest[:16], "tests=2", "gd", evaluating.SIGN):
            assert expected in text
    found = json.loads(evaluating.as_json(kept))
    assert found["table"] == table and found["experiment"] == "artifact_fit"


@pytest.mark.parametrize(("seconds", "says"), [(0, "1 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")])
def test_duration_in_words(seconds: float, says: str) -> None:
    """Seconds, minutes, hours."""
    assert evaluating.duration(seconds) == says
