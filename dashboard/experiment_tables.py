"""What the rows of an experiment say of themselves: which columns name things, which were measured, how sure they are.

No list of experiments: a column that holds text names something, whole numbers count, other numbers were measured.
Whole numbers before the first measure tell rows apart, as 5 models from 10. A column called after a measure
with `_error`, `_low` or `_high`, or that follows it as `standard_error`, `low` or `high`, is its uncertainty. `k`,
`share` or `top` is how much was taken, along which a curve runs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attribution.registry import list_methods

Row = Mapping[str, Any]
Kind = Literal["curves", "matrix", "bars"]
ALONG = ("k", "share", "top")
METHOD, CONTROL = "method", "random"
# Columns whose values are measured in units of their own, which share no axis.
UNITS = ("feature", "measure", "quantity", "experiment")
MOST_PLOTS, MOST_BARS = 8, 60
_UNSURE = re.compile(r"(?P<of>.*?)_?(?P<what>standard_error|error|low|high|deviation)")
_NUMBERED = re.compile(r"[_@ ]?\d+$")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measured column, with the columns of its standard error or of its interval where there are some."""

    name: str
    error: str | None = None
    low: str | None = None
    high: str | None = None

    def ends(self, row: Row) -> tuple[float, float] | None:
        """From where to where a row's value may lie: its interval, or a standard error to each side."""
        if row.get(self.name) is None:
            return None
        if self.low and self.high and row.get(self.low) is not None and row.get(self.high) is not None:
            return row[self.low], row[self.high]
        if self.error and row.get(self.error) is not None:
            return row[self.name] - row[self.error], row[self.name] + row[self.error]
        return None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to draw rows: `measures` against the column `along` (curves), or a value for each `category`.

    A category is what these columns hold together. `series` are told apart by colour, each combination of `facets` has
    a plot of its own. A matrix is category × series. `rows` are those with a value.
    """

    title: str
    kind: Kind
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    category: tuple[str, ...] = ()
    along: str | None = None
    series: str | None = None
    facets: tuple[str, ...] = ()


def readings(rows: Sequence[Row]) -> list[Reading]:
    """The ways to draw rows, one for each group of measures that belong together (`top_1`, `top_10`)."""
    names = list(rows[0]) if rows else []
    texts = [name for name in names if any(isinstance(row[name], str) for row in rows)]
    groups: dict[str, list[Measure]] = {}
    for measure in measures(rows):
        groups.setdefault(_NUMBERED.sub("", measure.name), []).append(measure)
    pair = _pair(rows, texts)
    if pair:
        return [found for group in groups.values() for each in group for found in _matrices(rows, texts, pair, each)]
    return [found for title, group in groups.items() for found in _plain(rows, texts, title, group)]


def measures(rows: Sequence[Row]) -> list[Measure]:
    """The measured columns of rows, in their order."""
    names = list(rows[0]) if rows else []
    given = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    numbers = [n for n in names if given[n] and not any(isinstance(v, str | bool) for v in given[n])]
    sizes = [n for n in numbers if n in ALONG]
    unsure: dict[str, dict[str, str]] = {}
    found: list[str] = []
    for name in numbers:
        match = _UNSURE.fullmatch(name)
        of = (match["of"] or found[-1]) if match and (match["of"] in numbers or (not match["of"] and found)) else None
        if match and of:
            unsure.setdefault(of, {})[match["what"].removeprefix("standard_")] = name
        elif name not in sizes and any(isinstance(value, float) for value in given[name]):
            found.append(name)
    if not found:
        found = [name for name in numbers if name not in sizes][:1]
    keys = ("error", "low", "high")
    return [Measure(name=name, **{k: v for k, v in unsure.get(name, {}).items() if k in keys}) for name in found]


def _plain(rows: Sequence[Row], texts: Sequence[str], title: str, group: Sequence[Measure]) -> list[Reading]:
    """Curves where there is something to run along, and bars of the rows that are of no size, or of all rows."""
    kept = [row for row in rows if any(row[measure.name] is not None for measure in group)]
    along = next((name for name in ALONG if len(values(kept, name)) > 1), None)
    if along is None:
        return [_bars(kept, texts, title, group)]
    sized = tuple(row for row in kept if row[along] is not None)
    series, *facets = [*_telling(sized, texts), None]
    curves = Reading(
        title=title,
        kind="curves",
        rows=sized,
        measures=tuple(group),
        along=along,
        series=series,
        facets=tuple(name for name in facets if name),
    )
    others = [row for row in kept if row[along] is None]
    return [curves, _bars(others, texts, f"{title} over all {along}", group)] if others else [curves]


def _bars(rows: Sequence[Row], texts: Sequence[str], title: str, group: Sequence[Measure]) -> Reading:
    names = list(rows[0]) if rows else []
    columns = _telling(rows, texts) or list(texts[:1])
    for name in names[: names.index(group[0].name)] if rows else ():
        if name not in columns and name not in texts and _is_ambiguous(rows, columns):
            columns += [name] if len(values(rows, name)) > 1 else []
    category, rest = columns[:1], columns[1:]
    units = [name for name in rest if name in UNITS]
    rest = [name for name in rest if name not in UNITS]
    series = rest.pop(0) if rest and len(group) == 1 else None
    made = Reading(
        title=title,
        kind="bars",
        rows=tuple(rows),
        measures=tuple(group),
        category=tuple(category),
        series=series,
        facets=(*units, *rest),
    )
    if max(len(panels(made)), len(values(rows, series)) if series else 0) > MOST_PLOTS:
        return replace(made, rows=made.rows[:MOST_BARS], category=tuple(columns), series=None, facets=())
    return made


def _telling(rows: Sequence[Row], texts: Sequence[str]) -> list[str]:
    """The columns of text in which rows differ; the method first, whatever the order of the columns."""
    return sorted((name for name in texts if len(values(rows, name)) > 1), key=lambda name: name != METHOD)


def _is_ambiguous(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether two rows hold the same in these columns."""
    return len({tuple(row[name] for name in columns) for row in rows}) < len(rows)


def _pair(rows: Sequence[Row], texts: Sequence[str]) -> tuple[str, str] | None:
    """The two columns that hold a method each, where every row is of two methods."""
    known = {method.name for method in list_methods()}
    sides = [name for name in texts if any(value.split(",")[0] in known for value in values(rows, name))]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _matrices(rows: Sequence[Row], texts: Sequence[str], pair: tuple[str, str], measure: Measure) -> list[Reading]:
    """A matrix for each combination of the columns that are not its sides."""
    rest = [name for name in texts if name not in pair and len(values(rows, name)) > 1]
    found: dict[str, list[Row]] = {}
    for row in rows:
        title = ", ".join([measure.name, *(str(row[name]) for name in rest)])
        found.setdefault(title, []).append(row)
    return [
        Reading(title=title, kind="matrix", rows=tuple(part), measures=(measure,), category=pair[:1], series=pair[1])
        for title, part in found.items()
    ]


def values(rows: Sequence[Row], name: str) -> list[Any]:
    """The distinct values of a column, in their order; none of a column that is not there."""
    return list(dict.fromkeys(row[name] for row in rows if row.get(name) is not None))


def panels(reading: Reading) -> list[tuple[str, list[Row]]]:
    """The rows of each plot with its title, "" where there is only one."""
    found: dict[str, list[Row]] = {}
    for row in reading.rows:
        found.setdefault(", ".join(str(row[name]) for name in reading.facets), []).append(row)
    return list(found.items())


def in_panel(reading: Reading, title: str, rows: Sequence[Row]) -> list[Row]:
    """Those of another table's rows that belong into a plot: they name nothing that ours do not."""
    ours = {name: set(values(reading.rows, name)) for name in (reading.rows[0] if reading.rows else ())}
    texts = {name: found for name, found in ours.items() if any(isinstance(value, str) for value in found)}
    return [
        row
        for row in rows
        if ", ".join(str(row.get(name)) for name in reading.facets) == title
        and all(row[name] in found for name, found in texts.items() if name in row)
    ]


def number(value: float | int | None) -> str:
    """A number to three digits with a real minus; a dash for none."""
    if value is None:
        return "–"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    return text.replace("-", "−")


def unsure(measure: Measure, row: Row) -> str:
    """A row's value with its uncertainty: "0.57 ± 0.02", or "0.003 (0.001 to 0.005)"."""
    shown, ends = number(row.get(measure.name)), measure.ends(row)
    if ends is None:
        return shown
    if measure.low:
        return f"{shown} ({number(ends[0])} to {number(ends[1])})"
    return f"{shown} ± {number(ends[1] - row[measure.name])}"


def named(reading: Reading, row: Row) -> str:
    """What a row is of: the values of the columns that tell it from others."""
    columns = (*reading.category, reading.series, *reading.facets, reading.along)
    return ", ".join(
        f"{name} {number(row[name])}" if name in ALONG else str(row[name])
        for name in columns
        if name and row.get(name) is not None
    )


def headline(reading: Reading) -> str:
    """One sentence on what stands out: how many intervals leave out zero, or the ends of the table and the control."""
    measure = reading.measures[-1]
    rows = [row for row in reading.rows if row[measure.name] is not None]
    if len(rows) < 2:
        texts = ", ".join(value for row in rows for value in row.values() if isinstance(value, str))
        return f"{_words(measure.name)}: {unsure(measure, rows[0])} for {texts}." if rows else ""
    if measure.low:
        ends = [measure.ends(row) for row in rows]
        above, below = (sum(1 for e in ends if e and test(e)) for test in (lambda e: e[0] > 0, lambda e: e[1] < 0))
        return f"Of {len(rows)} intervals, {above} {_lie(above)} above zero and {below} below; the others hold it."
    rows.sort(key=lambda row: row[measure.name])
    ends = [f"{_with_others(reading, rows, end)} ({unsure(measure, end)})" for end in (rows[-1], rows[0])]
    said = f"{_words(measure.name)}: highest for {ends[0]}, lowest for {ends[1]}"
    control = [row for row in rows if row.get(METHOD) == CONTROL]
    if len(control) == 1 and control[0] not in (rows[0], rows[-1]):
        said += f"; the random control has {unsure(measure, control[0])}"
    return f"{said}."


def _with_others(reading: Reading, rows: Sequence[Row], end: Row) -> str:
    """What a row is of, and how many others have the same value."""
    others = sum(row[reading.measures[-1].name] == end[reading.measures[-1].name] for row in rows) - 1
    return named(reading, end) + (f" and {others} other{'s' if others > 1 else ''}" if others else "")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _lie(count: int) -> str:
    return "lies" if count == 1 else "lie"


def description(reading: Reading, most: int = 24) -> str:
    """The figure in words, for those who do not see it: every value, or the first `most` of them."""
    parts = [
        f"{named(reading, row)}: " + ", ".join(f"{_words(m.name).lower()} {unsure(m, row)}" for m in reading.measures)
        for row in reading.rows
    ]
    rest = f"; and {len(parts) - most} more, in the table" if len(parts) > most else ""
    return f"{_words(reading.title)}, {reading.kind}. {'; '.join(parts[:most])}{rest}."
