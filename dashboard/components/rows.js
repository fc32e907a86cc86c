// Training examples, strongest first. A row opens in place; rows keep their nodes from one data update to the next.

const DRAG = 4;
const LEAD = 90; // characters before a strong stretch that a closed row shows
const LONG = 320; // from this length on a text that has a strong stretch is shown from near it on
// Which training example is looked at, told to every list of the page: the others light it up where they have it.
const LOOKED_AT = "influscope-looked-at";

export default selectable(createList);

function createList(root) {
  const list = element("ul", "rows");
  list.setAttribute("role", "list");
  root.append(list);
  const tooltip = createTooltip(root);
  const items = new Map();
  let data, send;
  let shown = [];
  let pressed = null;

  function update(next, sender) {
    [data, send] = [next, sender];
    document.addEventListener(LOOKED_AT, hear); // the same function again is no second listener
    const colours = paletteOf(root);
    const context = JSON.stringify(colours);
    arrange(data.rows.map((row) => items.get(row.train_id) ?? createItem(row.train_id)));
    data.rows.forEach((row, position) => {
      const signature = context + JSON.stringify(row);
      if (shown[position].signature === signature) return;
      fill(shown[position], row, colours);
      shown[position].signature = signature;
    });
    openSelected();
    if (!tooltip.anchor()?.isConnected) tooltip.hide();
  }

  /** Moving a node takes its focus away, so nodes move only if the order changed, and the focus is given back. */
  function arrange(next) {
    if (next.length === shown.length && next.every((item, position) => item === shown[position])) return;
    const focused = shown.find((item) => item.head === root.getRootNode().activeElement);
    list.replaceChildren(...next.map((item) => item.node));
    shown = next;
    items.clear();
    shown.forEach((item) => items.set(item.trainId, item));
    const position = Math.max(0, shown.indexOf(focused));
    rove(heads(), position);
    if (focused) shown[position]?.head.focus();
  }

  function hear(event) {
    if (!root.isConnected) return document.removeEventListener(LOOKED_AT, hear);
    shown.forEach((item) => item.node.classList.toggle("linked", item.trainId === event.detail));
  }

  const tell = (item) => document.dispatchEvent(new CustomEvent(LOOKED_AT, { detail: item?.trainId ?? null }));

  const heads = () => shown.map((item) => item.head);
  const itemAt = (event) => shown.find((item) => item.node.contains(event.target));

  function openSelected() {
    for (const item of shown) {
      const isOpen = item.trainId === data.selected;
      item.node.classList.toggle("open", isOpen);
      item.head.setAttribute("aria-expanded", String(isOpen));
      item.details.hidden = !isOpen;
    }
  }

  /** Shown at once and reported; the server's answer may overrule it. */
  function select(trainId) {
    data = { ...data, selected: trainId };
    openSelected();
    send(trainId);
  }

  const toggle = (item) => select(item.trainId === data.selected ? null : item.trainId);

  list.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
  list.addEventListener("click", (event) => {
    const item = itemAt(event);
    const dragged = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > DRAG;
    if (!item?.head.contains(event.target) || dragged) return;
    toggle(item);
  });

  list.addEventListener("keydown", (event) => {
    const item = itemAt(event);
    const target = destination(event, shown.indexOf(item), shown.length, VERTICAL);
    if (target !== null) shown[target].head.focus();
    else if (event.key === "Enter" || event.key === " ") toggle(item);
    else if (event.key === "Escape" && data.selected !== null) select(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  list.addEventListener("focusin", (event) => {
    rove(heads(), shown.indexOf(itemAt(event)));
    tell(itemAt(event));
  });
  list.addEventListener("focusout", () => tell(null));
  list.addEventListener("pointerleave", () => tell(null));
  list.addEventListener("pointerover", (event) => {
    tell(itemAt(event));
    const explained = event.target.closest("[data-fact]");
    if (explained) tooltip.show(explained, explained.textContent, [[explained.dataset.name, explained.dataset.fact]]);
  });
  list.addEventListener("pointerout", () => tooltip.hide());

  return { update };
}

function createItem(trainId) {
  const node = element("li", "row");
  const head = element("div", "head");
  const details = element("dl", "details");
  head.setAttribute("role", "button");
  head.setAttribute("aria-controls", `details-${trainId}`);
  details.id = `details-${trainId}`;
  node.append(head, details);
  return { trainId, node, head, details, signature: "" };
}

function fill({ head, details }, row, colours) {
  head.replaceChildren(
    element("span", "rank", row.rank.toLocaleString("en")),
    createBar(row.share),
    createTexts(row, colours),
    createVerdict(row),
  );
  head.setAttribute("aria-label", describe(row));
  const own = [["training example", String(row.train_id)], ["score", significant(row.score, 6, true)]];
  const facts = [...own, ...strongestWords(row), ...row.details];
  details.replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function describe(row) {
  const pair = row.text_pair === null ? "" : ` / ${row.text_pair}`;
  const other = row.other_label ? ", another label" : "";
  const note = row.note ? `; ${row.note}` : "";
  return `${row.rank}: ${row.text}${pair}. ${row.label}${other}, ${row.score_text}${note}`;
}

function createBar(share) {
  const frame = element("span");
  const bar = element("div", share < 0 ? "bar negative" : "bar");
  bar.style.width = `${100 * Math.min(1, Math.abs(share))}%`;
  frame.append(bar);
  return frame;
}

function createTexts(row, colours) {
  const texts = element("div", "texts");
  const parts = row.text_pair === null ? [row.text] : [row.text, row.text_pair];
  parts.forEach((text, part) => {
    const paragraph = element("p", "part");
    const words = (row.words ?? []).filter((word) => word.part === part).sort((a, b) => a.start - b.start);
    const shaded = (start, end) => shadedText(text, words, row, colours, start, end);
    const lead = leadOf(text, words);
    if (lead) paragraph.append(element("span", "skipped", "… "), createLead(shaded(0, lead)));
    paragraph.append(...shaded(lead, Infinity));
    texts.append(paragraph);
  });
  if (row.duplicates > 0) texts.append(element("div", "duplicates", `+${row.duplicates} identical`));
  if (row.note) texts.append(element("div", "note", row.note));
  return texts;
}

/** How many characters of a long text stand so far before its strong stretch that a closed row leaves them out. */
function leadOf(text, words) {
  const strong = words.find((word) => word.strong);
  if (!strong || text.length < LONG || strong.start <= LEAD) return 0;
  const least = strong.start - LEAD;
  const blank = Array.from(text).slice(least, strong.start).findIndex((character) => /\s/.test(character));
  const lead = blank < 0 ? strong.start : least + blank + 1;
  const across = words.find((word) => word.start < lead && lead < word.end);
  if (!across) return lead;
  return across.end - across.start > 2 * LEAD ? across.end : across.start;
}

function createLead(nodes) {
  const lead = element("span", "lead");
  lead.append(...nodes);
  return lead;
}

/** Text from start to end and its shaded words in reading order. Offsets count code points, as Python does. */
function shadedText(text, words, row, colours, start, end) {
  const characters = Array.from(text);
  const slice = (from, to) => characters.slice(from, to).join("");
  const nodes = [];
  let reached = start;
  for (const word of words) {
    if (word.start < reached || word.start >= end) continue;
    nodes.push(slice(reached, word.start), createWord(slice(word.start, word.end), word, row, colours));
    reached = word.end;
  }
  return [...nodes, slice(reached, Math.min(end, characters.length))];
}

function createWord(text, { score, strong }, { word_scale: wordScale, unit = "word" }, colours) {
  const strength = score / wordScale || 0;
  const { fill: background, text: ink } = shade(strength, colours);
  const mark = signMark(strength, 0.4);
  const node = element("span", strong ? "word strong" : "word", text);
  Object.assign(node.style, { backgroundColor: background, color: ink });
  Object.assign(node.dataset, { name: unit, fact: signed(score) }, mark ? { mark } : {});
  return node;
}

function createVerdict(row) {
  const verdict = element("div", "verdict");
  const label = element("span", "label", row.label);
  if (row.other_label) {
    label.className = "label other";
    label.prepend("≠ ");
    Object.assign(label.dataset, { name: "label", fact: "not the explained one" });
  }
  verdict.append(label, element("span", "score", row.score_text));
  return verdict;
}

/** The three words, or spans, of most weight as a line of text, for those who cannot hover. */
function strongestWords(row) {
  if (!row.words?.length) return [];
  const parts = [row.text, row.text_pair ?? ""].map((text) => Array.from(text));
  const name = ({ start, end, part }) => parts[part].slice(start, end).join("");
  const strongest = [...row.words].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, 3);
  return [[`strongest ${row.unit ?? "word"}s`, strongest.map((word) => `${name(word)} ${signed(word.score)}`).join(" · ")]];
}
