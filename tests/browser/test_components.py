"""The components in a real browser: what clicks and keys send, what is read aloud, text stays text, both themes."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from dashboard.components import LabelProbability
from dashboard.components.mounting import SHARED_SCRIPTS, require_plain
from dashboard.components.probabilities import SHOWN, abridge
from dashboard.launch_options import streamlit_arguments

HERE = Path(__file__).parent
COMPONENTS = HERE.parents[1] / "dashboard" / "components"
THEMES = {"light": ("#ffffff", "#0d1116"), "dark": ("#0f1216", "#e8eaed")}


@pytest.fixture(scope="module")
def gallery(serve) -> str:
    return serve(HERE / "gallery.py")


def token(page: Page, text: str) -> Locator:
    return page.locator(".token").filter(has_text=re.compile(f"^{re.escape(text)}$"))


def row(page: Page, start: str) -> Locator:
    return page.get_by_role("button", name=start)


def relative_luminance(rgb: list[float]) -> float:
    """WCAG 2.2's definition, written anew."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two "rgb(r, g, b)" colours."""
    bright, dark = sorted(
        (relative_luminance([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) for colour in (first, second)),
        reverse=True,
    )
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable_at_every_strength(chromium: Browser, theme: str):
    """Text on a fill keeps 4.5 to 1, the fill is the page at zero, and strength never makes it paler."""
    channels = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in THEMES[theme]]
    page = chromium.new_page()
    sweep = page.evaluate(
        (COMPONENTS / "colour.js").read_text(encoding="utf-8")
        + f";Array.from({{length: 2001}}, (_, i) => shade((i - 1000) / 1000, palette(...{json.dumps(channels)})))"
    )
    page.close()
    worst = min(sweep, key=lambda colours: contrast(colours["fill"], colours["text"]))
    assert contrast(worst["fill"], worst["text"]) >= 4.5, worst
    background = f"rgb({', '.join(map(str, channels[0]))})"
    assert sweep[1000]["fill"] == background
    for side in (sweep[1000:], sweep[1000::-1]):
        distances = [contrast(colours["fill"], background) for colours in side]
        assert distances == sorted(distances)


@pytest.mark.parametrize("theme", THEMES)
def test_drawn_chips_are_readable(gallery, open_page, theme):
    """What the browser really paints, with the theme's own colours, keeps 4.5 to 1 on every token and word."""
    page = open_page(gallery, color_scheme=theme)
    expect(row(page, "1: among")).to_be_visible()
    expect(token(page, "able")).to_be_visible()
    painted = page.locator(".token:not(.special):not(.truncated), .word").evaluate_all(
        "nodes => nodes.map(node => { node.style.transition = 'none'; const style = getComputedStyle(node);"
        " return [node.textContent, style.backgroundColor, style.color] })"
    )
    shaded = [entry for entry in painted if entry[1] != "rgba(0, 0, 0, 0)"]
    assert len(shaded) > 30
    assert not [entry for entry in shaded if contrast(entry[1], entry[2]) < 4.5]


def test_click_selects_and_escape_clears(gallery, open_page):
    """A click reports the token's index, a second one or Escape clears it, and focus outlives the answers."""
    page = open_page(gallery)
    finest = token(page, "finest")
    finest.click()
    expect(page.get_by_text("token 2", exact=True)).to_be_visible()
    expect(finest).to_have_attribute("aria-selected", "true")
    expect(finest).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_text("token None")).to_be_visible()
    expect(finest).to_have_attribute("aria-selected", "false")
    expect(finest).to_be_focused()
    finest.click()
    expect(page.get_by_text("token 2", exact=True)).to_be_visible()
    finest.click()
    expect(page.get_by_text("token None")).to_be_visible()


def test_wrapper_returns_the_choice_of_the_run(gallery, open_page):
    """Without a callback the wrapper's return value carries the click, and falls back to `selected` afterwards."""
    page = open_page(gallery)
    token(page, "saw").click()
    expect(page.get_by_text("pair 3")).to_be_visible()
    token(page, "finest").click()
    expect(page.get_by_text("pair None")).to_be_visible()


def test_arrows_move_focus_over_tokens(gallery, open_page):
    """One token is reached by Tab; arrows, Home and End lead on; Enter and Space select; cut-off tokens are skipped."""
    page = open_page(gallery)
    token(page, "finest").focus()
    for key, reached in [
        ("ArrowRight", "thing"),
        ("ArrowDown", "about"),
        ("ArrowLeft", "thing"),
        ("ArrowUp", "finest"),
        ("End", "[SEP]"),
        ("Home", "[CLS]"),
        ("ArrowLeft", "[CLS]"),
        ("ArrowRight", "the"),
    ]:
        page.keyboard.press(key)
        expect(page.get_by_role("listbox").first.locator(":focus")).to_have_text(reached)
    assert page.get_by_role("listbox").first.locator("[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    expect(page.get_by_text("token 1", exact=True)).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_text("token 2", exact=True)).to_be_visible()
    expect(token(page, "finest")).to_be_focused()
    token(page, "able").focus()
    page.keyboard.press("End")
    expect(page.get_by_role("listbox").nth(1).locator(":focus")).to_have_text("[SEP]")


def test_tokens_are_announced_with_their_sign(gallery, open_page):
    """Name, direction and signed value are in the label, and marks stand above the tokens that matter, one per sign."""
    page = open_page(gallery)
    for name in ("finest, supports, +0.310", "sequel, opposes, −0.120", "about, opposes, −0.030"):
        expect(page.get_by_role("option", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("option", name="saw, 0.300", exact=True)).to_be_visible()
    expect(page.get_by_role("listbox", name="Tokens, for and against positive")).to_be_visible()
    for text, mark in (("finest", "+"), ("leave", "−")):
        expect(token(page, text)).to_have_attribute("data-mark", mark)
    assert token(page, "thing").get_attribute("data-mark") is None
    cut = token(page, "never")
    expect(cut).to_have_attribute("aria-disabled", "true")
    expect(cut).to_have_attribute("aria-label", "never, not read by the model")
    cut.click(force=True)
    expect(cut).to_have_attribute("aria-selected", "false")


def test_tooltips_show_sign_raw_value_rank_and_pieces(gallery, open_page):
    """A pointer and the keyboard both bring the tooltip, and Escape or leaving takes it away."""
    page = open_page(gallery)
    tooltip = page.locator(".tooltip:popover-open")
    token(page, "finest").hover()
    expect(tooltip).to_contain_text("scaled+0.310")
    expect(tooltip).to_contain_text("raw+0.00425")
    expect(tooltip).to_contain_text("rank1 of 16")
    expect(tooltip).to_contain_text("piecesfine +0.210 ##st +0.100")
    token(page, "leave").hover()
    expect(tooltip).to_contain_text("scaled−0.190")
    page.mouse.move(0, 0)
    expect(tooltip).to_have_count(0)
    token(page, "sequel").focus()
    expect(tooltip).to_contain_text("scaled−0.120")
    page.keyboard.press("Escape")
    expect(tooltip).to_have_count(0)
    page.locator(".word", has_text="not the").hover()
    expect(tooltip).to_contain_text("−0.110")


def test_rows_open_in_place(gallery, open_page):
    """A click opens a row, tells its train_id and closes the other; arrows move between rows; Escape closes."""
    page = open_page(gallery)
    first, second = row(page, "1: among the finest"), row(page, "2: 😀 a fine")
    first.click()
    expect(page.get_by_text("reason 2918")).to_be_visible()
    expect(first).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_text("finest +0.300 · acting +0.120 · hours of +0.050")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("reason 17")).to_be_visible()
    expect(first).to_have_attribute("aria-expanded", "false")
    expect(second).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_text("reason None")).to_be_visible()
    expect(second).to_have_attribute("aria-expanded", "false")


def test_row_says_what_its_colours_say(gallery, open_page):
    """Another label, folded duplicates and the direction of a score are readable without colour."""
    page = open_page(gallery)
    expect(row(page, "3: not the finest hour of anyone here. negative, another label, +0.073")).to_be_visible()
    expect(row(page, "3: not the finest").locator(".label")).to_have_text("≠ negative")
    expect(row(page, "1: among").locator(".duplicates")).to_have_text("+2 identical")
    expect(row(page, "2: The fishermen").locator(".bar")).to_have_class(re.compile("negative"))
    expect(row(page, "2: The fishermen").locator(".part")).to_have_count(2)


def test_long_text_is_whole_only_in_an_open_row(gallery, open_page):
    """A long text shows six lines until its row is opened."""
    page = open_page(gallery)
    part = row(page, "1: a long").locator(".part")
    expect(part).to_be_visible()
    shown = part.bounding_box()
    line = float(part.evaluate("node => parseFloat(getComputedStyle(node).lineHeight)"))
    assert shown is not None and shown["height"] == pytest.approx(6 * line, abs=2)
    row(page, "1: a long").click()
    expect(part).to_have_css("-webkit-line-clamp", "none")
    opened = part.bounding_box()
    assert opened is not None and opened["height"] > shown["height"]


def test_offsets_count_characters_not_utf16_units(gallery, open_page):
    """Words after emoji of one, two or many code points are shaded where Python counted them; no character is lost."""
    page = open_page(gallery)
    head = row(page, "2: 😀 a fine")
    expect(head.locator(".word")).to_have_text(["fine", "cast  in a", "finer", "script"], use_inner_text=False)
    assert head.locator(".part").text_content() == "😀 a fine 👩‍👩‍👧 cast  in a finer script"


def test_markup_in_texts_is_text(gallery, open_page):
    """A token or training text that looks like HTML is shown as written; it makes no element and runs nothing."""
    page = open_page(gallery)
    expect(token(page, "<img src=x onerror=alert(1)>")).to_be_visible()
    expect(token(page, "<script>alert(2)</script>")).to_be_visible()
    expect(row(page, "3: <script>alert(3)</script>")).to_be_visible()
    token(page, "<img src=x onerror=alert(1)>").hover()
    expect(page.locator(".tooltip-title", has_text="<img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator(".root img, .root script, .root b:not(.legend-text b)").count() == 0


def test_probability_bars(gallery, open_page):
    """Predicted and true label are named, widths follow the probabilities, further labels are counted."""
    page = open_page(gallery)
    expect(page.get_by_role("listitem", name="positive, 0.713, predicted", exact=True)).to_be_attached()
    true = page.get_by_role("listitem", name="negative, 0.287, true label", exact=True)
    expect(true.locator(".name")).to_have_text("negative ✓")
    widths = page.locator(".bars").first.locator(".level").evaluate_all("bars => bars.map(b => b.offsetWidth)")
    assert widths[0] / widths[1] == pytest.approx(0.713 / 0.287, rel=0.03)
    topics = page.locator(".bars").nth(1)
    expect(topics.locator(".track")).to_have_count(SHOWN)
    expect(topics).to_contain_text("topic 10 ✓")
    expect(topics).to_contain_text("… and 4 more")


def test_abridged_labels_keep_the_predicted_and_the_true_one():
    """Of many labels the most probable remain, with the true one however improbable; few labels keep their order."""
    items = [
        LabelProbability(label=str(n), probability=(n + 1) / 78, predicted=n == 11, true=n == 0) for n in range(12)
    ]
    assert [item["label"] for item in abridge(items)] == ["11", "10", "9", "8", "7", "6", "5", "0"]
    assert abridge(items[:SHOWN]) == items[:SHOWN]


@pytest.mark.parametrize("name", ["rows", "tokens"])
def test_update_after_removal_is_let_go(chromium: Browser, name: str):
    """Streamlit may call a component that the page has taken away, where no colour is known: nothing is drawn."""
    scripts = (*SHARED_SCRIPTS, f"{name}.js")
    module = "\n".join((COMPONENTS / script).read_text(encoding="utf-8") for script in scripts)
    page = chromium.new_page()
    drawn = page.evaluate(
        """async (module) => {
            const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
            const { default: update } = await import(address);
            const parentElement = document.createElement("div");
            const root = parentElement.appendChild(document.createElement("div"));
            root.className = "root";
            update({ data: {}, parentElement, setTriggerValue() {} });
            return root.childElementCount;
        }""",
        module,
    )
    page.close()
    assert drawn == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}])
def test_data_that_no_browser_reads_is_refused(value):
    """Not-a-number and other values outside JSON raise here instead of arriving as text or as nothing."""
    with pytest.raises((TypeError, ValueError), match="JSON"):
        require_plain({"scale": value})


@pytest.mark.parametrize(
    ("scheme", "background", "text"),
    [("light", "rgb(255, 255, 255)", "rgb(13, 17, 22)"), ("dark", "rgb(15, 18, 22)", "rgb(232, 234, 237)")],
)
def test_theme_follows_the_system(gallery, open_page, scheme, background, text):
    """The page and the components inside it take the colours of the system's scheme."""
    page = open_page(gallery, color_scheme=scheme)
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", background)
    root = page.locator(".root").first
    expect(root).to_have_css("background-color", background)
    expect(root).to_have_css("color", text)


def test_components_are_repainted_when_the_scheme_changes(gallery, open_page):
    """An open page that turns dark takes the dark inks along: the strongest token is nine tenths of them."""
    page = open_page(gallery)
    strongest = page.get_by_role("option", name="finest, supports")
    expect(strongest).to_have_css("background-color", "rgb(55, 117, 180)")
    page.emulate_media(color_scheme="dark")
    expect(strongest).to_have_css("background-color", "rgb(84, 144, 202)")


def test_arguments_start_the_script_where_asked():
    """The script comes first, then the address: nothing listens on another interface than the one named."""
    arguments = streamlit_arguments(Path("app.py"), host="127.0.0.1", port=8501)
    assert arguments[:4] == ["run", "app.py", "--server.address=127.0.0.1", "--server.port=8501"]
    assert "--browser.gatherUsageStats=false" in arguments


def pair(page: Page, side: str, text: str) -> Locator:
    """A word of the first pair view, on its "row" (test) or "column" (training) side."""
    words = page.locator(f".stage:visible .text.{side} .word")
    return words.filter(has_text=re.compile(f"^{re.escape(text)}$"))


def test_a_word_lights_its_partners(gallery, open_page):
    """Hovering a word on either side marks those it is joined to by sign and dims other links; leaving undoes it."""
    page = open_page(gallery)
    said, bright = page.locator(".said").first, page.locator(".stage:visible .link:not(.dim)")
    pair(page, "row", "finest").hover()
    expect(pair(page, "column", "finest")).to_have_attribute("data-mark", "+")
    expect(pair(page, "column", "acting")).to_have_attribute("data-mark", "+")
    expect(said).to_have_text("“finest” raised by “finest” +0.3, “acting” +0.12.")
    expect(bright).to_have_count(2)
    assert pair(page, "column", "hours").get_attribute("data-mark") is None
    pair(page, "column", "hours").hover()
    expect(pair(page, "row", "sequel")).to_have_attribute("data-mark", "−")
    expect(said).to_have_text("“hours” lowered “sequel” −0.15.")
    expect(page.locator(".stage:visible .link.opposing:not(.dim)")).to_have_count(1)
    page.get_by_text("Word by word: links").hover()
    expect(bright).to_have_count(4)
    expect(page.locator(".stage:visible .word[data-mark]")).to_have_count(0)
    assert page.locator(".stage img").count() == 0
    expect(page.locator(".stage:visible")).to_have_attribute(
        "aria-label", re.compile("strongest: finest raised finest")
    )


def test_a_pair_is_walked_by_keys(gallery, open_page):
    """Tab reaches one word a side, arrows lead on, Enter keeps a word lit while one looks elsewhere, Esc frees it."""
    page = open_page(gallery)
    said = page.locator(".said").first
    pair(page, "row", "the").focus()
    page.keyboard.press("ArrowRight")
    expect(pair(page, "row", "finest")).to_be_focused()
    expect(said).to_contain_text("“finest” raised by")
    page.keyboard.press("Enter")
    expect(pair(page, "row", "finest")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    expect(pair(page, "column", "among")).to_be_focused()
    expect(said).to_have_text("“among” moved hardly a word.")
    page.keyboard.press("End")
    expect(page.locator(".text.column .word:focus")).to_have_text("<img src=x onerror=alert(4)>")
    page.locator(".text.column .word:focus").evaluate("node => node.blur()")
    expect(said).to_contain_text("“finest” raised by")
    pair(page, "column", "among").focus()
    page.keyboard.press("Escape")
    expect(pair(page, "row", "finest")).to_have_attribute("aria-selected", "false")


def test_a_pair_as_a_heatmap(gallery, open_page):
    """Cells say both words and the value, arrows move over them in both directions, and a head lights its line."""
    page = open_page(gallery)
    grid = page.get_by_role("grid", name="Test text down, training example across")
    cells = grid.locator(".cell")
    expect(cells).to_have_count(14 * 7)
    strongest = grid.get_by_label("finest to finest, +0.3", exact=True)
    expect(strongest).to_have_text("+")
    grid.get_by_label("the to finest, 0", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(strongest).to_be_focused()
    expect(page.get_by_role("tooltip").filter(has_text="finest → finest")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(grid.get_by_label("finest to thing, +0.08", exact=True)).to_be_focused()
    grid.locator("th[scope=row]", has_text="sequel").hover()
    expect(grid.locator(".cell:not(.dim)")).to_have_count(7)
    assert cells.evaluate_all("nodes => nodes.filter(node => node.tabIndex === 0).length") == 1


def test_a_pair_on_a_phone_stands_side_by_side(gallery, open_page):
    """At 390 px the two texts are columns, a word a line, with the links between them and nothing beyond the edge."""
    page = open_page(gallery, width=390)
    left, right = pair(page, "row", "finest").bounding_box(), pair(page, "column", "finest").bounding_box()
    assert left and right and left["x"] + left["width"] < right["x"]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
