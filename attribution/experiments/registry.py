"""The registry of experiments, and `run_experiment`, which runs one.

An experiment is one function in a file of this package with its label (`@experiment`) directly above it. The command
line, the dashboard and the contract tests read this registry; parameters are annotated as a method's are.
"""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import numpy as np

import attribution.experiments
from attribution.errors import UserError, unknown
from attribution.index import Progress, silent
from attribution.parameters import Parameter, checked, parameters_of
from attribution.query import Query, sample_ids
from attribution.registry import get_method, list_methods, run_method
from attribution.results import ScoreTable
from attribution.storage import atomic_path, digest_json
from attribution.workspace import Workspace

CONTROL = "random"
Row = dict[str, Any]


def settings_of(method: str, **wanted: Any) -> dict[str, Any]:
    """Those of the settings that the method takes and that are given; "" and 0 stand for the method's own."""
    return {name: value for name, value in wanted.items() if value and name in get_method(method).parameters}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an experiment is given: the workspace, the methods to compare, the seed and where to report progress."""

    workspace: Workspace
    methods: tuple[str, ...]
    seed: int
    progress: Progress

    @property
    def controlled(self) -> tuple[str, ...]:
        """The methods and the random control, each once."""
        return tuple(dict.fromkeys((*self.methods, CONTROL)))

    def sample(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` of the ids, drawn without replacement with the run's seed, in rising order."""
        return sample_ids(ids, most, self.seed)

    def answer(
        self, query: Query, method: str, *, scope: str = "", damping: float = 0.0, rerank: bool = False
    ) -> ScoreTable:
        """A method's scores for a query, over a scope and with a damping where the method takes one and one is given.

        The random control draws anew for every text. Without `rerank` the top of an index's answer is not scored again.
        """
        given: dict[str, Any] = settings_of(method, scope=scope, damping=damping)
        if method == CONTROL:
            given["seed"] = zlib.crc32(repr((self.seed, *query.example.texts)).encode()) >> 1
        answer = run_method(query, method, given, self.progress, rerank=rerank)
        assert isinstance(answer, ScoreTable)
        return answer

    def kept(self, question: Mapping[str, Any], make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays that a run which was stopped, or a later one, need not make again: kept under results/experiments/.

        `question` is JSON: all that they depend on besides the weights and data, which the workspace's digest covers.
        """
        name = digest_json({"workspace": self.workspace.digest, **question})[:24]
        path = self.workspace.storage / "results" / "experiments" / f"{name}.npz"
        if not path.exists():
            made = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as target:
                np.savez(target, allow_pickle=False, **made)
        with np.load(path, allow_pickle=False) as found:
            return dict(found)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an experiment found: numbers by name, rows of one shape, and the paper's own rows, each with what differs.

    `notes` is what else there is to say, one sentence each; `more` is further entries of the JSON answer.
    """

    summary: Mapping[str, float]
    table: list[Row]
    paper: list[Row] | None = None
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A registered experiment and what is said of it.

    `methods`: those compared unless others are asked for; () where it takes none. `needs`: "pair" or "single" texts.
    `small`: parameters that make the smallest run, which the contract tests use. `estimate`: (run, **parameters) -> the
    seconds that the run will take, found by timing a little of it; None where it takes no longer than that.
    """

    name: str
    title: str
    paper: str
    cost: str
    methods: tuple[str, ...] = ()
    needs: Literal["", "pair", "single"] = ""
    small: Mapping[str, Any] = field(default_factory=dict)
    estimate: Callable[..., float] | None = None
    function: Callable[..., Findings]
    parameters: Mapping[str, Parameter]

    def fits(self, workspace: Workspace) -> bool:
        """Whether the workspace has the kind of text that it needs."""
        return self.needs in ("", "pair" if workspace.is_pair else "single")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished run: what was asked, what was found, and how long it took."""

    run: Run
    experiment: Experiment
    parameters: Mapping[str, Any]
    findings: Findings
    seconds: float

    def describe(self) -> dict[str, Any]:
        """The answer of `influscope evaluate --format json` (a contract: only ever add to it)."""
        found = self.findings
        return {
            "experiment": self.experiment.name,
            "workspace": self.run.workspace.describe(),
            "parameters": dict(self.parameters),
            "methods": list(self.run.methods),
            "seed": self.run.seed,
            "seconds": round(self.seconds, 3),
            "summary": dict(found.summary),
            "table": found.table,
            "paper": found.paper,
            "notes": list(found.notes),
            **found.more,
        }


_EXPERIMENTS: dict[str, Experiment] = {}


def experiment(**label: Any) -> Callable[[Callable[..., Findings]], Callable[..., Findings]]:
    """Register an experiment under its function's name: (run, *, parameters) -> Findings."""

    def register(function: Callable[..., Findings]) -> Callable[..., Findings]:
        name = function.__name__
        _EXPERIMENTS[name] = Experiment(name=name, function=function, parameters=parameters_of(function), **label)
        return function

    return register


@cache
def experiments() -> dict[str, Experiment]:
    """Every experiment by name, in the order of the files' names."""
    for module in iter_modules(attribution.experiments.__path__):
        import_module(f"attribution.experiments.{module.name}")
    return {name: _EXPERIMENTS[name] for name in sorted(_EXPERIMENTS)}


def list_experiments(workspace: Workspace | None = None) -> list[Experiment]:
    """Every experiment, or those that fit a workspace."""
    return [e for e in experiments().values() if workspace is None or e.fits(workspace)]


def get_experiment(name: str) -> Experiment:
    """The experiment of that name; UserError with the nearest name where there is none."""
    if name not in experiments():
        raise unknown("experiment", name, experiments())
    return experiments()[name]


def run_experiment(
    workspace: Workspace,
    name: str,
    *,
    methods: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Run an experiment with some methods (none: its own). An index that a method lacks is built first.

    Raises UserError for an experiment that is unknown or needs other texts than the workspace has, for a method that
    does not score training examples, and for a wrong parameter.
    """
    chosen, run, values = _prepare(workspace, name, methods, parameters, seed, progress)
    began = time.perf_counter()
    findings = chosen.function(run, **values)
    seconds = time.perf_counter() - began
    return Report(run=run, experiment=chosen, parameters=values, findings=findings, seconds=seconds)


def estimate_seconds(
    workspace: Workspace,
    name: str,
    *,
    methods: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> float:
    """About how long `run_experiment` would take with the same arguments; 0 where that is not worth saying.

    With what has to be built for it first. Takes some seconds itself, and builds what it lacks where the time is that
    of spans, of changed words or of a pass over the training set. Raises what `run_experiment` raises.
    """
    chosen, run, values = _prepare(workspace, name, methods, parameters, seed, progress)
    return 0.0 if chosen.estimate is None else chosen.estimate(run, **values)


def _prepare(
    workspace: Workspace,
    name: str,
    methods: Sequence[str],
    parameters: Mapping[str, Any] | None,
    seed: int,
    progress: Progress,
) -> tuple[Experiment, Run, Mapping[str, Any]]:
    """The experiment, its run and its parameters, all checked."""
    chosen = get_experiment(name)
    if not chosen.fits(workspace):
        has = "pairs of" if workspace.is_pair else "single"
        needs = "pairs of" if chosen.needs == "pair" else "single"
        others = ", ".join(e.name for e in list_experiments(workspace))
        raise UserError(
            f"Experiment {name} needs {needs} texts, and workspace '{workspace.name}' has {has} texts. "
            f"Known for these: {others}."
        )
    if not 0 <= seed < 2**31:
        raise UserError(f"seed must be from 0 to {2**31 - 1}, not {seed}.")
    run = Run(workspace=workspace, methods=_methods(chosen, methods), seed=seed, progress=progress)
    return chosen, run, checked(name, chosen.parameters, parameters or {})


def _methods(chosen: Experiment, asked: Sequence[str]) -> tuple[str, ...]:
    """The methods to compare, each once, in the order given."""
    if not asked:
        return chosen.methods
    if not chosen.methods:
        raise UserError(f"Experiment {chosen.name} compares no methods: leave --methods out.")
    known = [m.name for m in list_methods("examples") if not m.clicked]
    for name in asked:
        if name not in known:
            raise unknown("method that scores training examples for a prediction", name, known)
    return tuple(dict.fromkeys(asked))
