"""What is drawn of an experiment's rows: the shape is read from the columns, the numbers are the table's."""

from typing import Any, cast

import numpy as np
import pytest

from dashboard import experiment_charts, experiment_tables
from dashboard.experiment_tables import Measure, readings

METHODS = ("gd", "relatif", "nn_cos", "random")
CURVES = [
    {"method": m, "removed": r, "k": k, "mean_change": (a + 1) * k / 100 * s, "standard_error": 0.01 * k, "n": 5}
    for a, m in enumerate(METHODS)
    for r, s in (("proponents", -1.0), ("opponents", 1.0))
    for k in (10, 50, 100)
]
PAIRS = [
    {"method": a, "other": b, "spearman": round(0.1 * (i + 2 * j), 2) - 0.3, "spearman_error": 0.05, "n": 9}
    for i, a in enumerate(METHODS)
    for j, b in enumerate(METHODS)
    if i < j
]
HITS = [
    {
        "method": m,
        "edit": e,
        "hit_1": 0.9 - 0.2 * i,
        "hit_1_error": 0.02,
        "hit_10": 1.0 - 0.1 * i,
        "hit_10_error": None,
        "n": 7,
    }
    for i, m in enumerate(METHODS)
    for e in ("train", "add")
]
FITS = [
    {"method": "gd", "slice": s, "feature": f, "coefficient": c, "low": c - 0.2, "high": c + 0.3, "n": 4, "degree": 2}
    for s, f, c in (("a", "length", 0.5), ("b", "length", -0.1), ("a", "negation", 0.01), ("b", "negation", -0.9))
]
COUNTS = [{"layer": "embeddings", "parameters": 120}, {"layer": "block 1", "parameters": 80}]
REMOVAL = [
    {"method": m, "removed": r, "share": 0.1, "mean_change": v, "standard_error": 0.1}
    for m, r, v in (("gd", "top", -0.5), ("gd", "bottom", 0.25), ("random", "top", 0.0), ("random", "bottom", 0.125))
]


def drawn(rows: Any, *, at: int = 0, paper: Any = (), dark: bool = False) -> list[Any]:
    return list(cast(Any, experiment_charts.figure(readings(rows)[at], paper, dark=dark)).data)


def test_columns_say_what_they_are() -> None:
    """Measured columns with their uncertainties; counts, sizes and texts are none; counts where nothing else is."""
    assert experiment_tables.measures(CURVES) == [Measure(name="mean_change", error="standard_error")]
    assert experiment_tables.measures(FITS) == [Measure(name="coefficient", low="low", high="high")]
    assert experiment_tables.measures(HITS) == [
        Measure(name="hit_1", error="hit_1_error"),
        Measure(name="hit_10"),
    ]
    assert experiment_tables.measures(COUNTS) == [Measure(name="parameters")]
    assert experiment_tables.measures(REMOVAL) == [Measure(name="mean_change", error="standard_error")]


def test_rows_along_k_are_curves_with_bands() -> None:
    """A line a method and direction with the table's values by rising k, in a band of one standard error."""
    (reading,) = readings(CURVES[::-1])
    assert (reading.kind, reading.along, reading.series) == ("curves", "k", "method")
    assert reading.facets == ("removed",)
    traces = drawn(CURVES[::-1])
    lines = [trace for trace in traces if "markers" in trace.mode]
    bands = [trace for trace in traces if trace.fill == "toself"]
    assert len(lines) == len(bands) == len(METHODS) * 2
    seen = set()
    for line, band in zip(lines, bands, strict=True):
        part = "opponents" if line.xaxis == "x" else "proponents"
        own = [row for row in CURVES if (row["method"], row["removed"]) == (line.name, part)]
        assert list(line.x) == [10, 50, 100]
        assert list(line.y) == [row["mean_change"] for row in own]
        upper = [row["mean_change"] + row["standard_error"] for row in own]
        lower = [row["mean_change"] - row["standard_error"] for row in own]
        assert list(band.y) == [*upper, *lower[::-1]]
        seen.add((line.name, part))
    assert len(seen) == len(lines)
    control = next(line for line in lines if line.name == "random")
    assert control.line.dash == "dot" and control.line.color not in {
        li.line.color for li in lines if li.name != "random"
    }


def test_pairs_of_methods_are_a_symmetric_matrix() -> None:
    """Every pair stands in both its places, nothing on the diagonal, from −1 to 1."""
    (reading,) = readings(PAIRS)
    assert reading.kind == "matrix"
    (trace,) = drawn(PAIRS)
    names, z = list(trace.x), np.array(trace.z, dtype=float)
    assert list(trace.y) == names == list(METHODS) and (trace.zmin, trace.zmax) == (-1, 1)
    for row in PAIRS:
        i, j = names.index(row["method"]), names.index(row["other"])
        assert z[i, j] == z[j, i] == row["spearman"]
    assert np.isnan(np.diag(z)).all()


@pytest.mark.parametrize("dark", [False, True])
def test_hits_are_grouped_bars_with_errors(dark: bool) -> None:
    """HIT@1 beside HIT@10 of every method in a plot an edit, the best method on top, errors as in the table."""
    (reading,) = readings(HITS)
    assert (reading.kind, reading.category, reading.facets) == ("bars", ("method",), ("edit",))
    figure = cast(Any, experiment_charts.figure(reading, (), dark=dark))
    assert [trace.type for trace in figure.data] == ["bar"] * 4
    for trace, (edit, column) in zip(
        figure.data, [(e, c) for e in ("train", "add") for c in ("hit_1", "hit_10")], strict=True
    ):
        own = {row["method"]: row for row in HITS if row["edit"] == edit}
        assert dict(zip(trace.y, trace.x, strict=True)) == {m: row[column] for m, row in own.items()}
        assert (trace.error_x.array is None) == (column == "hit_10")
        if column == "hit_1":
            assert list(trace.error_x.array) == pytest.approx([0.02] * 4)
    assert figure.layout.yaxis.categoryarray[0] == "gd" and figure.layout.yaxis.autorange == "reversed"


def test_intervals_are_points_on_their_features_own_axis() -> None:
    """A point a slice with its interval, features apart; the sentence counts the intervals without zero."""
    (reading,) = readings(FITS)
    assert (reading.category, reading.series, reading.facets) == (("slice",), None, ("feature",))
    for trace, feature in zip(drawn(FITS), ("length", "negation"), strict=True):
        own = [row for row in FITS if row["feature"] == feature]
        assert trace.type == "scatter" and list(trace.x) == [row["coefficient"] for row in own]
        assert list(trace.error_x.array) == pytest.approx([0.3] * 2)
        assert list(trace.error_x.arrayminus) == pytest.approx([0.2] * 2)
    said = experiment_tables.headline(reading)
    assert said == "Of 4 intervals, 1 lies above zero and 1 below; the others hold it."


def test_other_rows_are_bars() -> None:
    """One size of removal is bars by method and part; counts alone are bars in the order of the rows."""
    (reading,) = readings(REMOVAL)
    assert (reading.kind, reading.category, reading.series) == ("bars", ("method",), "removed")
    bars = {trace.name: dict(zip(trace.y, trace.x, strict=True)) for trace in drawn(REMOVAL)}
    assert bars == {"top": {"gd": -0.5, "random": 0.0}, "bottom": {"gd": 0.25, "random": 0.125}}
    (trace,) = drawn(COUNTS)
    assert list(trace.y) == ["embeddings", "block 1"] and list(trace.x) == [120, 80]


def test_rows_of_no_size_are_bars_beside_the_curves() -> None:
    """An area under a curve has no k: it is drawn apart, with its own rows."""
    areas = [{**row, "k": None, "removed": "all"} for row in CURVES[::6]]
    curves, bars = readings([*CURVES, *areas])
    assert (curves.kind, list(curves.rows)) == ("curves", CURVES)
    assert (bars.kind, list(bars.rows), bars.title) == ("bars", areas, "mean_change over all k")
    assert drawn([*CURVES, *areas]) and len(drawn([*CURVES, *areas], at=1)) == 1


def test_whole_numbers_before_the_measure_tell_rows_apart() -> None:
    """10 and 50 models of one method are two bars, not one over the other; n tells nothing apart."""
    rows = [{"method": m, "models": t, "value": t / 100, "n": i} for i, m in enumerate(METHODS) for t in (10, 50)]
    (reading,) = readings(rows)
    assert (reading.category, reading.series) == (("method",), "models")
    assert {trace.name: list(trace.x) for trace in drawn(rows)} == {"10": [0.1] * 4, "50": [0.5] * 4}
    ranking = [{"method": "gd", "rank": r, "label": "ab"[r % 2], "score": -r / 10} for r in range(1, 40)]
    (reading,) = readings(ranking)
    (trace,) = drawn(ranking)
    assert len(set(trace.y)) == len(ranking) and list(trace.x) == [row["score"] for row in ranking]


def test_papers_values_stand_with_the_same_things() -> None:
    """A diamond for each value of the paper that is of a method and edit in the table, and none for another."""
    paper = [
        {"method": "gd", "edit": "train", "hit_1": 0.25, "hit_10": 0.75, "differs": "d"},
        {"method": "gd", "edit": "replace", "hit_1": 0.1, "hit_10": 0.2, "differs": "d"},
        {"method": "representer", "edit": "train", "hit_1": 0.3, "hit_10": 0.4, "differs": "d"},
    ]
    theirs = [trace for trace in drawn(HITS, paper=paper) if trace.name == experiment_charts.PAPERS]
    assert [(list(t.x), list(t.y), t.offsetgroup) for t in theirs] == [
        ([0.25], ["gd"], "hit 1"),
        ([0.75], ["gd"], "hit 10"),
    ]
    assert [t.showlegend for t in theirs] == [True, False]
    far = [{**paper[0], "hit_1": 900.0}]
    assert [list(t.x) for t in drawn(HITS, paper=far) if t.name == experiment_charts.PAPERS] == [[0.75]]


def test_names_are_shown_as_they_are() -> None:
    """A label that looks like markup is text in the figure."""
    rows = [{"slice": "<b>no</b> & so", "value": 0.5}, {"slice": "plain", "value": 0.25}]
    (trace,) = drawn(rows)
    assert list(trace.y) == ["&lt;b&gt;no&lt;/b&gt; &amp; so", "plain"]


def test_words_say_the_ends_and_the_control() -> None:
    """The highest and lowest rows with their errors, and the control between them; the description has every row."""
    rows = [{"method": m, "lds": v, "lds_error": 0.02} for m, v in zip(METHODS, (0.2, 0.1, -0.3, 0.0), strict=True)]
    (reading,) = readings(rows)
    said = experiment_tables.headline(reading)
    assert "highest for gd (0.2 ± 0.02)" in said and "lowest for nn_cos (−0.3 ± 0.02)" in said
    assert "the random control has 0 ± 0.02" in said
    described = experiment_tables.description(reading)
    assert all(f"{row['method']}: lds {experiment_tables.number(row['lds'])} ± 0.02" in described for row in rows)


def test_missing_values_are_left_out() -> None:
    """A row without a value is not drawn; a table without any is no figure."""
    rows = [{"method": "gd", "share_found": 0.5}, {"method": "gc", "share_found": None}]
    (trace,) = drawn(rows)
    assert list(trace.y) == ["gd"]
    assert readings([{"method": "gd", "share_found": None}]) == [] and readings([]) == []
