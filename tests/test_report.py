"""The HTML report: it says what the answer says, stands alone, and no text in it becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution.explain import explain, printable
from attribution.index import build
from attribution.pairs import pairs_parts, word_pairs
from attribution.query import make_query
from attribution.registry import required_parts
from attribution.report import THEMES, report, shade
from attribution.workspace import Workspace
from tests.tiny import workspace_of

HOSTILE = [
    "<script>window.hacked=1</script> warm film",
    '"><img src=x onerror="window.hacked=1"> dull plot',
    "right \u202eto left\u202c and a\u200bzero width",
    "</style><b>bold</b> {{ 7 * 7 }} & &amp; <!-- cold",
]
LABELS = ("<b>no</b>", "yes' onload='x")
TAGS = set(
    "html head meta title style body header main footer h1 h2 p b span sup div table thead tr th td br figure "
    "figcaption ol li svg path details summary dl dt dd".split()
)


class Seen(HTMLParser):
    """The tags, attributes and texts of a page, as a browser's parser takes them apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    rows = pd.DataFrame({"text": HOSTILE * 3, "label": [LABELS[i % 2] for i in range(12)]})
    made = workspace_of(tmp_path_factory.mktemp("hostile"), rows, rows, labels=LABELS)
    build(made, [*required_parts(made, "gd"), *pairs_parts(made)])
    return made


@pytest.mark.parametrize("test", range(len(HOSTILE)))
def test_no_text_becomes_markup(hostile: Workspace, test: int) -> None:
    """Texts and labels that look like HTML, close the style or turn the writing round are shown, and do nothing."""
    page = report(make_query(hostile, test=test), "gd", {}, top=12)
    seen = Seen(re.sub(r"<sup>.</sup>", "", page))
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "href")]
    for text in (*HOSTILE, *LABELS):
        assert printable(text) in seen.text
    assert not set("\u202e\u202c\u2028\x1b") & set(page)


def test_it_stands_alone(hostile: Workspace) -> None:
    """Nothing is fetched or run: no address, no script, and a policy that forbids both; light and dark."""
    page = report(make_query(hostile, test=0), "gd", {}, top=2)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert not re.search(r"https?://|@import|url\(|<script|javascript:", re.sub(r"&lt;script", "", page))


def test_it_says_what_the_answer_says(pairs: Workspace) -> None:
    """Prediction, sign, every row with its text and score, the notes of where it is from; for a pair of texts too."""
    build(pairs, [*required_parts(pairs, "relatif", {"scope": "head"}), *pairs_parts(pairs)])
    query = make_query(pairs, test=3, token=2)
    answer = explain(query, "relatif", {"scope": "head"}, top=4)
    seen = Seen(report(query, "relatif", {"scope": "head"}, top=4))
    said = " ".join(seen.text.split())
    assert answer["sign"] in said and pairs.name in said and pairs.digest[:16] in said
    assert f"predicted {answer['predicted_label']}, true label {answer['true_label']}" in said
    for row in [*answer["proponents"], *answer["opponents"]]:
        assert f"{row['score']:+#.3g}".replace("-", "−") in said and f"training example {row['train_id']}" in said
        for word in row["words"]:
            assert word["text"] in said
    for value in ('"scope": "head"', "influscope 0", "test example 3", pairs.settings.model_digest[:16]):
        assert value in said
    widths = [value for name, value in seen.attributes if name == "style" and "width:" in value]
    assert len(widths) >= len(pairs.labels) + 8


def test_word_by_word_is_the_first_row(pairs: Workspace) -> None:
    """The heatmap holds the scores of `word_pairs` with the top proponent, to three digits, in order."""
    build(pairs, [*required_parts(pairs, "gd"), *pairs_parts(pairs)])
    query = make_query(pairs, test=3)
    page = report(query, "gd", {}, top=1)
    first = explain(query, "gd", {}, top=1)["proponents"][0]["train_id"]
    assert f"Word by word with training example {first}" in page
    groups = [word.tokens for word in query.example.words if not word.special]
    expected = word_pairs(query, first, groups=groups).scores
    cells = re.findall(r'<td class="w"[^>]*title="([^"]*)"', page)
    found = np.array([float(cell.replace("−", "-")) for cell in cells]).reshape(expected.shape)
    assert np.allclose(found, expected, rtol=6e-3, atol=1e-9)


def test_what_is_not_computed_is_said_and_not_begun(fresh: Workspace) -> None:
    """Word matching needs no gradients: its report does not compute them, and names the command that does."""
    page = report(make_query(fresh, test=1), "bm25", {}, top=2)
    assert "influscope index WORKSPACE --method saliency_influence" in page
    assert not pairs_parts(fresh)[0].is_built(fresh)


def test_a_saliency_has_a_report_too(workspace: Workspace) -> None:
    """Tokens alone: no training examples, no pair."""
    page = report(make_query(workspace, test=1), "gradient_norm", {})
    assert "Gradient norm" in page and "Proponents" not in page and "Word by word" not in page


def test_text_is_readable_at_every_strength() -> None:
    """WCAG's contrast of text and fill, from its definition, is 4.5 at least, in both themes."""

    def luminance(colour: str) -> float:
        channels = [int(value) / 255 for value in re.findall(r"\d+", colour)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for strength in np.linspace(-1, 1, 201):
        values = dict(pair.split(":") for pair in shade(float(strength)).split(";"))
        for theme in THEMES:
            dark, bright = sorted((luminance(values[f"--{theme}"]), luminance(values[f"--{theme}-text"])))
            assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_the_command_writes_it(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`influscope explain --format html --output FILE`."""
    from attribution import cli

    out = tmp_path / "why.html"
    given = ["explain", str(workspace.directory), "--test", "2", "--method", "nn_cos", "--top", "2"]
    monkeypatch.setattr("sys.argv", ["influscope", *given, "--format", "html", "--output", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and "Test example 2" in out.read_text(encoding="utf8")
