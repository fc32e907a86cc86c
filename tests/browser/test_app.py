"""The whole dashboard in a real browser: the shipped demo from a cold start, and a workspace with hostile texts."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from attribution.data import data_digest
from attribution.index import build
from attribution.registry import standard_parts
from attribution.workspace import open_workspace, write_settings, write_tables
from tests.browser.waiting import click, click_token, press, settled
from tests.tiny import BAD, GOOD, sentences, workspace_of

DEMO = Path(__file__).parents[2] / "assets" / "demo" / "reviews"
HOSTILE = (
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> **bold** [link](javascript:alert(1)) $x$ '
    ":material/home: :smile: www.example.com -> <b>b</b> &lt;"
)
LABELS = ("negative", f"positive {HOSTILE}")
# The whole demo, 7,030 training and 1,500 test examples, takes a core eight minutes, and shows nothing more than this.
EVERY_TRAIN, EVERY_TEST = 28, 5
PATIENT = 600_000


@pytest.fixture(scope="module")
def hostile(launch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dashboard on a small workspace where every text and a label look like code; the labels follow no rule."""
    made = {}
    for name, count in (("train", 24), ("test", 10)):
        frame = sentences(count, seed=count, labels=LABELS)
        frame["text"] += " " + HOSTILE
        frame["label"] = [LABELS[row % 3 == 0] for row in range(count)]
        made[name] = frame
    workspace = workspace_of(tmp_path_factory.mktemp("hostile"), made["train"], made["test"], labels=LABELS)
    build(workspace, standard_parts(workspace))
    return launch(workspace.directory)


def tokens(page: Page) -> Locator:
    return page.locator(".token")


def word(page: Page, text: str) -> Locator:
    return tokens(page).filter(has_text=re.compile(f"^{re.escape(text)}$")).first


def test_demo_from_a_cold_start(launch, open_page, tmp_path: Path):
    """A first visit to the shipped demo: the page works while the training set is read, then shows its evidence.

    The examples are some of the demo's; the model and its states are the demo's own.
    """
    workspace = tmp_path / "reviews"
    shutil.copytree(DEMO, workspace, ignore=shutil.ignore_patterns("index", "results", "*.parquet", ".lock"))
    demo = open_workspace(workspace)
    training, test = demo.train.iloc[::EVERY_TRAIN], demo.test.iloc[::EVERY_TEST]
    write_tables((training, test), (workspace / "train.parquet", workspace / "test.parquet"))
    counts = {"n_train": len(training), "n_test": len(test)}
    digests = {"train_digest": data_digest(training), "test_digest": data_digest(test)}
    write_settings(workspace, replace(demo.settings, source="files", **counts, **digests))
    page = open_page(launch(workspace))

    expect(page.get_by_text(re.compile("misprediction 1 of [0-9,]+"))).to_be_visible(timeout=PATIENT)
    heatmap = page.get_by_role("listbox", name=re.compile("Tokens, for and against"))
    expect(heatmap).to_be_visible()
    expect(page.get_by_role("progressbar").first).to_be_visible()
    assert not list(workspace.glob("index/*/manifest.json")), "the demo did not start cold"

    first = page.url, str(heatmap.text_content())
    page.keyboard.press("j")
    expect(page.get_by_text("misprediction 2 of")).to_be_visible()
    expect(page).not_to_have_url(first[0])
    expect(heatmap).not_to_have_text(first[1])
    chosen = page.locator(".token:not(.special)").filter(has_text=re.compile(r"^\w{4,}$")).first
    name = str(chosen.text_content())
    click_token(chosen)
    why = page.get_by_role("heading", name=f"Why does it look at “{name}”?")
    expect(why).to_be_visible()
    expect(chosen).to_have_attribute("aria-selected", "true")
    expect(page).to_have_url(re.compile(r"[?&]test=\d+&token=\d+(-\d+)*&"))

    evidence = page.locator(".rows")
    expect(evidence).to_have_count(2, timeout=PATIENT)
    expect(page.get_by_text("this is the answer of the classification head alone").first).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0, timeout=PATIENT)
    expect(page.get_by_text(re.compile(r"index \(Spearman 0\.9\d+ with exact\), top 20 exact"))).to_have_count(2)
    expect(evidence).to_have_count(2, timeout=PATIENT)
    raised = f"Positive: training on this example raised the saliency of '{name}' for "
    expect(page.get_by_text(raised)).to_be_visible()
    expect(page.get_by_text("Positive: training on this example raised the probability of ")).to_be_visible()
    expect(evidence.first.locator(".word").first).to_be_visible(timeout=PATIENT)
    fills = evidence.first.locator(".word").evaluate_all("words => words.map(w => getComputedStyle(w).backgroundColor)")
    assert len(set(fills)) > 1, "words are shaded by their score"

    page.reload()
    expect(why).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text("misprediction 2 of")).to_be_visible()
    settled(page, timeout=PATIENT)
    chosen = page.locator(".token[aria-selected=true]")
    expect(chosen).to_have_text(name)
    click_token(chosen)
    expect(page.get_by_role("heading", name="Why does it look there?")).to_be_visible()
    expect(page).not_to_have_url(re.compile("token="))
    expect(tokens(page).and_(page.locator("[aria-selected=true]"))).to_have_count(0)

    settled(page)
    page.get_by_role("combobox", name="Method", exact=True).fill("TracIn, word")
    page.get_by_role("option", name="TracIn, word embeddings", exact=True).click()
    expect(page.get_by_role("button", name="Compute it")).to_be_visible()
    expect(page.get_by_text(re.compile("It is done once, in the background, in about [0-9]+ (s|min)"))).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    assert not list(workspace.glob("index/*/gradient.npy")), "long work was started without being asked for"


def test_hostile_texts_are_texts(hostile, open_page):
    """Texts and labels that look like HTML, markdown or icons are shown as written, on both pages, and run nothing."""
    page = open_page(hostile)
    heatmap = page.get_by_role("listbox").first
    expect(heatmap).to_contain_text('<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> **bold**')
    expect(page.locator(".rows .part").first).to_contain_text(HOSTILE)
    shown = re.compile(re.escape(HOSTILE[:60]))
    expect(page.locator(".bars").filter(has_text=shown)).to_be_visible()
    link = page.url.replace("label=predicted", "label=" + page.evaluate("encodeURIComponent", LABELS[1]))
    page = open_page(link)
    expect(page.locator(".verdict .label").filter(has_text=shown).first).to_be_visible()
    said = page.evaluate("text => text.replaceAll('\u2060', '')", page.locator("[data-testid=stMain]").inner_text())
    assert f"this token supports '{LABELS[1]}'" in said
    assert f"raised the probability of '{LABELS[1]}'" in said
    assert f"Why “{LABELS[1]}”?" in said
    click_token(word(page, "*"))
    expect(page.get_by_role("heading", name="Why does it look at “*”?")).to_be_visible()
    nothing_came_alive(page)

    click(page.get_by_role("link", name="Errors"))
    expect(page.get_by_role("heading", name="Where the model goes wrong")).to_be_visible()
    expect(page.locator(".xtick text").filter(has_text=f"{LABELS[1][:13]}…")).to_be_visible()
    expect(page.get_by_test_id("glide-cell-2-0")).to_contain_text(HOSTILE)
    press(page, square(page, 1))
    expect(page.get_by_text(re.compile(r"\d+ examples: true negative, predicted positive <script>"))).to_be_visible()
    nothing_came_alive(page)
    settled(page)
    page.get_by_label("Text contains").fill('<img src=x onerror="window.hacked=1">')
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(r"\d+ examples: true negative"))).to_be_visible()
    nothing_came_alive(page)


def nothing_came_alive(page: Page) -> None:
    """Once everything is drawn: no text has become an element, and no script in one has run."""
    made = "img[src=x], a[href^=javascript], a[href*='example.com'], .katex, [aria-label='home icon'], [onerror]"
    expect(settled(page).locator(made)).to_have_count(0)
    expect(page.locator("strong, b, em").filter(has_text=re.compile("^(bold|b)$"))).to_have_count(0)
    assert page.evaluate("window.hacked") is None


def test_link_cannot_carry_markup(hostile, open_page):
    """A notice quotes what a link asks for as plain text: no picture is fetched, no link is made."""
    page = open_page(f'{hostile}/?method=![x](http://example.com/x.png)<img src=x onerror="window.hacked=1">')
    expect(page.get_by_test_id("stAlert")).to_contain_text("![x](http:")
    nothing_came_alive(page)
    click(page.get_by_role("button", name="Dismiss"))
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def square(page: Page, position: int) -> Locator:
    """A square of the confusion matrix, row by row; what is clicked is the layer above them."""
    return page.locator(".js-plotly-plot .scatterlayer .point").nth(position)


def test_confusion_matrix_filters_and_a_row_leads_to_its_explanation(hostile, open_page):
    """A square's examples are listed on a click, all mispredictions on a second one; a row opens on Explain."""
    page = open_page(f"{hostile}/errors")
    everything = page.get_by_text(re.compile(r"^\d+ examples: mispredictions; most confident first\.$"))
    expect(everything).to_be_visible()
    expect(page.locator(".scatterlayer .textpoint")).to_have_count(4)
    counts = [int(text) for text in page.locator(".scatterlayer .textpoint").all_text_contents()]
    assert sum(counts) == 10
    expect(everything).to_have_text(re.compile(f"^{counts[1] + counts[2]} examples"))
    fullest = max(range(4), key=counts.__getitem__)
    press(page, square(page, fullest))
    chosen = page.get_by_text(re.compile(rf"^{counts[fullest]} examples: true (neg|pos).*, predicted"))
    expect(chosen).to_be_visible()
    press(page, square(page, fullest))
    expect(everything).to_be_visible()

    test = str(settled(page).get_by_test_id("glide-cell-1-0").text_content())
    press(page, page.get_by_test_id("stDataFrame").locator("canvas").first, x=17, y=50)
    expect(page.get_by_role("heading", name=f"Test example {test}:")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/errors\?test={test}&"))
    click(page.get_by_role("link", name="Open on Explain"))
    expect(page.get_by_text("What the model looks at")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/\?test={test}&"))


def test_own_text_is_explained(hostile, open_page):
    """An edited text is classified and explained like any other; a blank one is refused beside it and loses nothing."""
    page = open_page(hostile)
    before = page.url
    click(page.get_by_role("button", name="Edit text"))
    box = page.get_by_role("textbox", name="Text", exact=True)
    box.fill("   ")
    click(page.get_by_role("button", name="Explain this text"))
    popover = page.get_by_test_id("stPopoverBody")
    expect(popover.get_by_test_id("stAlert")).to_contain_text("The text is blank: there is nothing to explain.")
    expect(page).to_have_url(before)
    expect(box).to_have_value("   ")
    expect(page.get_by_role("listbox").first).to_contain_text("window.hacked")

    settled(page)
    box.fill(f"the cast was {GOOD[0]} and {BAD[0]}")
    click(page.get_by_role("button", name="Explain this text"))
    expect(page.get_by_role("heading", name="A text of your own")).to_be_visible()
    shown = page.locator(".st-key-heatmap .token:not(.special)")
    expect(shown).to_have_text(["the", "cast", "was", GOOD[0], "and", BAD[0]])
    expect(page).to_have_url(re.compile(r"\?test=own&"))
    expect(page.locator(".rows .row").first).to_be_visible()
    page.keyboard.press("Escape")
    click_token(word(page, BAD[0]))
    expect(page.get_by_role("heading", name=f"Why does it look at “{BAD[0]}”?")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?test=own&token=6&"))


def test_keyboard_reaches_and_asks_about_a_word(hostile, open_page):
    """Tab leads to the first word, arrows to the next ones, Enter asks about it and Escape takes it back."""
    page = open_page(hostile)
    focused = tokens(page).and_(page.locator(":focus"))
    for _ in range(150):  # more than once around the page
        page.keyboard.press("Tab")
        if focused.count():
            break
    expect(focused).to_have_count(1)
    words = page.locator(".token:not(.special)")
    assert focused.text_content() == words.first.text_content()
    page.keyboard.press("ArrowRight")
    second = str(words.nth(1).text_content())
    expect(focused).to_have_text(second)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Why does it look at “{second}”?")).to_be_visible()
    expect(focused).to_have_text(second)
    expect(page).to_have_url(re.compile("token=2&"))
    settled(page).keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Why does it look there?")).to_be_visible()
    expect(page).not_to_have_url(re.compile("token="))


@pytest.mark.parametrize("address", ["", "/errors"])
def test_dark_scheme(hostile, open_page, address):
    """Both pages follow a dark system, the chart's numbers too, without a complaint in the console."""
    page = open_page(f"{hostile}{address}", color_scheme="dark")
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", "rgb(15, 18, 22)")
    if address:
        expect(page.locator(".scatterlayer .textpoint text").first).to_have_css("fill", "rgb(232, 234, 237)")
    else:
        expect(page.locator(".root").first).to_have_css("color", "rgb(232, 234, 237)")
        expect(page.locator(".rows .row").first).to_be_visible()


def test_a_row_is_read_word_by_word(hostile, open_page):
    """An opened training example is joined to the text once that is asked for; the link brings the same view back."""
    page = open_page(hostile)
    expect(page.get_by_text("Open a training example in a list above")).to_be_visible()
    click(page.locator(".rows .row .head").first)
    expect(page.get_by_role("heading", name="Word by word with training example")).to_be_visible()
    expect(page.locator(".stage")).to_have_count(0)
    click(page.get_by_role("radio", name="Links"))
    expect(page.locator(".stage .link").first).to_be_attached()
    expect(page).to_have_url(re.compile(r"row=\d+&pairs=links"))
    page.reload()
    expect(page.locator(".stage .link").first).to_be_attached()
    click(page.get_by_role("radio", name="Heatmap"))
    expect(page.get_by_role("grid", name="Test text down, training example across")).to_be_visible()
    nothing_came_alive(page)
    click(page.get_by_role("button", name="Copy link"))
    expect(page.get_by_role("status").filter(has_text="Cop")).to_be_visible()
