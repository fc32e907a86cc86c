// Flowing text whose tokens are filled by score; one can be selected, or a run of them. The nodes are built once for a
// text and then repainted, so that keyboard focus outlives the answer to a click.

const SEGMENT_NAMES = ["First text", "Second text"];

export default selectable(createHeatmap);

function createHeatmap(root) {
  const text = element("div", "text");
  text.setAttribute("role", "listbox");
  text.setAttribute("aria-multiselectable", "true");
  const legend = createLegend();
  root.append(text, legend.node);
  const tooltip = createTooltip(root);
  let data, colours, send, structure;
  let chips = [];
  let current = 0;
  let anchor = null; // the token from which Shift and a drag reach
  let marking = null; // what was selected before the run that is being marked, which is not reported yet

  const readable = () => chips.filter((chip) => !chip.token.truncated);

  function update(next, sender) {
    [data, send, colours] = [next, sender, paletteOf(root)];
    const shape = JSON.stringify(data.tokens.map((t) => [t.text, t.special, t.space_before, t.truncated, t.segment]));
    if (shape !== structure) rebuild();
    structure = shape;
    marking = null;
    chips.forEach((chip, position) => (chip.token = data.tokens[position]));
    repaint();
    legend.update(data, colours);
    text.setAttribute("aria-label", data.signed ? `Tokens, for and against ${data.label}` : `Tokens, ${data.label}`);
    const explained = chips.find((chip) => chip.node === tooltip.anchor());
    if (explained) explain(explained);
    else tooltip.hide();
  }

  function rebuild() {
    const hadFocus = text.contains(root.getRootNode().activeElement);
    chips = data.tokens.map(createChip);
    text.replaceChildren(...createSegments(chips));
    const length = data.tokens.reduce((sum, token) => sum + token.text.length + 1, 0);
    text.className = length > 1200 ? "text long" : length > 420 ? "text medium" : "text";
    const selected = readable().findIndex((chip) => data.selected.includes(chip.token.index));
    current = selected >= 0 ? selected : hadFocus ? Math.min(current, readable().length - 1) : firstWord();
    rove(readable().map((chip) => chip.node), current);
    if (hadFocus) readable()[current]?.node.focus();
  }

  const firstWord = () => Math.max(0, readable().findIndex((chip) => !chip.token.special));

  function repaint() {
    const inRun = (chip) => Boolean(chip) && !chip.token.truncated && data.selected.includes(chip.token.index);
    const isExplained = (chip) => Boolean(chip) && data.explained.includes(chip.token.index);
    chips.forEach((chip, position) => {
      const [before, after] = [-1, 1].map((step) => chips[position + step]).map((other) => sameText(chip, other));
      paint(chip);
      chip.node.setAttribute("aria-selected", String(inRun(chip)));
      chip.node.classList.toggle("starts", !inRun(before));
      chip.node.classList.toggle("ends", !inRun(after));
      chip.node.classList.toggle("explained", isExplained(chip));
      chip.gap?.classList.toggle("selected", inRun(chip) && inRun(before));
      chip.gap?.classList.toggle("explained", isExplained(chip) && isExplained(before));
    });
  }

  const sameText = (chip, other) => (other?.token.segment === chip.token.segment ? other : null);

  function paint(chip) {
    const { token } = chip;
    const strength = token.special || token.truncated ? 0 : token.score / data.scale || 0;
    const { fill, text: ink } = shade(strength, colours);
    chip.node.style.backgroundColor = strength ? fill : "";
    chip.node.style.color = strength ? ink : "";
    const mark = data.signed ? signMark(strength, 0.15) : "";
    if (mark) chip.node.dataset.mark = mark;
    else delete chip.node.dataset.mark;
    chip.node.setAttribute("aria-label", describe(token));
  }

  function describe(token) {
    if (token.truncated) return `${token.text}, not read by the model`;
    if (!data.signed) return `${token.text}, ${token.score.toFixed(3)}`;
    const direction = { "-1": "opposes", 0: "neutral", 1: "supports" }[Math.sign(Number(token.score.toFixed(3)))];
    return `${token.text}, ${direction}, ${signed(token.score)}`;
  }

  function explain(chip) {
    const { token } = chip;
    if (token.truncated) {
      tooltip.show(chip.node, token.text, [["", "beyond the model's maximum length"]]);
      return;
    }
    const score = (value) => (data.signed ? signed(value) : value.toFixed(3));
    const facts = [
      ["scaled", score(token.score)],
      ["raw", significant(token.raw, 3, data.signed)],
      ["rank", `${token.rank} of ${Math.max(...data.tokens.map((other) => other.rank))}`],
    ];
    if (token.pieces.length > 1) {
      facts.push(["pieces", token.pieces.map((piece) => `${piece.text} ${score(piece.score)}`).join("  ")]);
    }
    tooltip.show(chip.node, token.text, facts);
  }

  /** Shown at once and reported; the server's answer repaints it. */
  function select(indices) {
    marking = null;
    data = { ...data, selected: indices };
    repaint();
    send(indices);
  }

  function toggle(chip) {
    anchor = chip;
    const alone = data.selected.length === 1 && data.selected[0] === chip.token.index;
    select(alone ? [] : [chip.token.index]);
  }

  /** Shown, but not reported before the run is whole. */
  function mark(from, to) {
    marking ??= data.selected;
    data = { ...data, selected: run(chips, from, to) };
    repaint();
  }

  function finish() {
    if (marking) select(data.selected);
  }

  function giveUp() {
    data = { ...data, selected: marking };
    marking = null;
    repaint();
  }

  const chipAt = (event) => chips.find((chip) => chip.node === event.target.closest(".token"));
  const isOpen = (chip) => chip && !chip.token.truncated;
  const start = () => chips.find((chip) => chip === anchor) ?? readable()[current];

  text.addEventListener("click", (event) => {
    const chip = chipAt(event);
    if (!isOpen(chip)) return;
    if (!event.shiftKey) return toggle(chip);
    mark(start(), chip);
    finish();
  });

  // A finger scrolls the page, so only a mouse or a pen drags.
  text.addEventListener("pointerdown", (event) => {
    const from = chipAt(event);
    if (event.button !== 0 || event.shiftKey || event.pointerType === "touch" || !isOpen(from)) return;
    let reached = from;
    const over = (moved) => {
      const to = chipAt(moved);
      if (!isOpen(to) || to === reached) return;
      [anchor, reached] = [from, to];
      mark(from, to);
    };
    const until = new AbortController();
    const end = () => {
      until.abort();
      // Back where it began it was a click, which selects by itself.
      if (marking && reached === from) giveUp();
      else finish();
    };
    text.addEventListener("pointerover", over, { signal: until.signal });
    window.addEventListener("pointerup", end, { signal: until.signal });
    window.addEventListener("pointercancel", end, { signal: until.signal });
  });

  text.addEventListener("keydown", (event) => {
    const chip = chipAt(event);
    const target = destination(event, readable().indexOf(chip), readable().length, BOTH_WAYS);
    if (target !== null) {
      if (event.shiftKey && !marking) anchor = chip;
      readable()[target].node.focus();
      if (event.shiftKey) mark(start(), readable()[target]);
    } else if (event.key === "Enter" || event.key === " ") {
      if (marking) finish();
      else if (chip) toggle(chip);
    } else if (event.key === "Escape" && (tooltip.anchor() || data.selected.length)) {
      tooltip.hide();
      if (data.selected.length) select([]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // Each step is shown; the run is asked about when Shift is let go.
  text.addEventListener("keyup", (event) => {
    if (event.key === "Shift") finish();
  });
  text.addEventListener("focusout", (event) => {
    if (!text.contains(event.relatedTarget)) finish();
  });

  const reveal = (event) => {
    const chip = chipAt(event);
    if (chip) explain(chip);
  };
  text.addEventListener("pointerover", reveal);
  text.addEventListener("focusin", (event) => {
    current = Math.max(0, readable().indexOf(chipAt(event)));
    rove(readable().map((chip) => chip.node), current);
    reveal(event);
  });
  text.addEventListener("pointerout", () => tooltip.hide());
  text.addEventListener("focusout", () => tooltip.hide());

  return { update };
}

/** The tokens from one to another, of the first one's text and none of the special ones, or the first alone. */
function run(chips, from, to) {
  const [first, last] = [from, to].map((chip) => chips.indexOf(chip)).sort((a, b) => a - b);
  const inside = chips
    .slice(first, last + 1)
    .map((chip) => chip.token)
    .filter((token) => !token.special && !token.truncated && token.segment === from.token.segment);
  return (inside.length ? inside : [from.token]).map((token) => token.index);
}

function createChip(token) {
  const node = element("span", "token", token.text);
  node.setAttribute("role", "option");
  node.classList.toggle("special", token.special);
  node.classList.toggle("truncated", token.truncated);
  node.classList.toggle("joined", !token.space_before);
  if (token.truncated) node.setAttribute("aria-disabled", "true");
  return { node, token, gap: null };
}

/** One block per sentence of a pair; a single sentence has no caption. */
function createSegments(chips) {
  const isPair = chips.some((chip) => chip.token.segment === 1);
  const cut = chips.find((chip) => chip.token.truncated);
  return SEGMENT_NAMES.slice(0, isPair ? 2 : 1).map((name, segment) => {
    const block = element("div", "segment");
    if (isPair) {
      const caption = element("span", "segment-name", name);
      caption.setAttribute("aria-hidden", "true");
      block.setAttribute("role", "group");
      block.setAttribute("aria-label", name);
      block.append(caption);
    } else block.setAttribute("role", "presentation");
    for (const chip of chips.filter((other) => other.token.segment === segment)) {
      if (chip === cut) block.append(createCut());
      chip.gap = chip.token.space_before ? element("span", "gap", " ") : null;
      block.append(...(chip.gap ? [chip.gap] : []), chip.node);
    }
    return block;
  });
}

function createCut() {
  const cut = element("span", "cut", "the model reads no further");
  cut.setAttribute("role", "presentation");
  return cut;
}

function createLegend() {
  const node = element("div", "legend");
  const ramp = element("span", "ramp");
  const [minus, plus] = [element("span", "", "−"), element("span", "", "+")];
  const words = element("span", "legend-text");
  ramp.setAttribute("aria-hidden", "true");
  node.append(ramp, words);

  function update({ signed: hasSign, label, scale, caption }, colours) {
    const steps = hasSign ? [-1, -0.5, 0, 0.5, 1] : [0, 0.5, 1];
    ramp.style.background = `linear-gradient(90deg, ${steps.map((step) => shade(step, colours).fill).join(", ")})`;
    ramp.replaceChildren(...(hasSign ? [minus, plus] : []));
    minus.style.color = shade(-1, colours).text;
    plus.style.color = shade(1, colours).text;
    const size = significant(scale, 2, false);
    const parts = hasSign
      ? ["opposes · supports ", element("b", "", label), ` · scale ± ${size}`]
      : ["less · more ", element("b", "", label), ` · scale 0 to ${size}`];
    words.replaceChildren(...parts, caption ? ` ${caption}` : "");
  }

  return { node, update };
}
