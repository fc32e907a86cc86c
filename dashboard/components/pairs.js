// Two texts joined word by word, as links or as a heatmap. A word that is hovered, focused or kept lights its partners.

const SIDES = ["row", "column"];
const NAMES = { row: "Test text", column: "Training example" };
const WEAKEST = 0.06; // weaker links would hide the others
const MOST = 150;
const UNASKED = 50; // of which so many are drawn in full while no word is lit
const NAMED = 3;
const SVG = "http://www.w3.org/2000/svg";

export default selectable(createPairs);

function createPairs(root) {
  const stage = element("div", "stage");
  const drawing = stage.appendChild(document.createElementNS(SVG, "svg"));
  drawing.setAttribute("aria-hidden", "true");
  const lists = Object.fromEntries(SIDES.map((side) => [side, stage.appendChild(createList(side))]));
  const grid = element("div", "grid");
  const said = element("p", "said");
  said.setAttribute("aria-live", "polite");
  const legend = element("p", "legend");
  root.append(stage, grid, said, legend);
  const tooltip = createTooltip(root);
  let data, colours, structure;
  let chips = { row: [], column: [] };
  let [links, cells] = [[], []];
  let [pinned, pointed] = [null, null];

  const lit = () => pointed ?? pinned;
  const strength = (row, column) => data.scores[row][column] / data.scale || 0;
  const same = (one, other) => one?.side === other?.side && one?.index === other?.index;
  const words = (side) => (side === "row" ? data.rows : data.columns);
  const score = (side, index, other) => (side === "row" ? data.scores[index][other] : data.scores[other][index]);

  function update(next) {
    [data, colours] = [next, paletteOf(root)];
    const shape = JSON.stringify([data.rows, data.columns, data.scores, data.label]);
    if (shape !== structure) rebuild();
    structure = shape;
    stage.hidden = data.view !== "links";
    grid.hidden = !stage.hidden;
    cells.forEach(({ node, row, column }) => {
      const { fill, text } = shade(strength(row, column), colours);
      Object.assign(node.style, { backgroundColor: fill, color: text });
    });
    legend.textContent =
      `Blue, +: the training word raised the saliency of the test word for ${data.label}. ` +
      `Orange, −, dashed: it lowered it. Scale ± ${significant(data.scale, 2, false)}.`;
    draw();
    light();
  }

  function rebuild() {
    [pinned, pointed] = [null, null];
    for (const side of SIDES) {
      chips[side] = words(side).map((word, index) => createWord(word, describe(side, index)));
      lists[side].fill(chips[side], words(side));
      rove(chips[side], 0);
    }
    if (data.selected !== null) pinned = { side: "row", index: data.selected };
    cells = [];
    grid.replaceChildren(createTable());
    rove(cells.map((cell) => cell.node), 0);
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", summary());
  }

  // What is read aloud, and said below.

  function partners(side, index) {
    const others = words(side === "row" ? "column" : "row");
    return others
      .map((word, other) => ({ text: word.text, score: score(side, index, other) }))
      .filter((partner) => Math.abs(partner.score / data.scale) >= WEAKEST)
      .sort((one, other) => Math.abs(other.score) - Math.abs(one.score));
  }

  function describe(side, index) {
    const found = partners(side, index);
    const [raised, lowered] = side === "row" ? ["raised by", "lowered by"] : ["raised", "lowered"];
    const list = (sign, verb) => {
      const named = found.filter((partner) => Math.sign(partner.score) === sign).slice(0, NAMED);
      const parts = named.map((partner) => `“${partner.text}” ${significant(partner.score, 2, true)}`);
      return parts.length ? [`${verb} ${parts.join(", ")}`] : [];
    };
    const parts = [...list(1, raised), ...list(-1, lowered)];
    return `“${words(side)[index].text}” ${parts.join("; ") || (side === "row" ? "hardly moved" : "moved hardly a word")}`;
  }

  function summary() {
    const all = data.rows.flatMap((row, at) =>
      data.columns.map((column, other) => [data.scores[at][other], row.text, column.text]),
    );
    const named = all.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, NAMED);
    const parts = named.map(([value, test, train]) => `${train} ${value < 0 ? "lowered" : "raised"} ${test}`);
    return `${data.rows.length} test words and ${data.columns.length} training words; strongest: ${parts.join(", ")}`;
  }

  // Light.

  function light() {
    const chosen = lit();
    for (const side of SIDES) {
      chips[side].forEach((node, index) => {
        const own = same(chosen, { side, index });
        const level = chosen && chosen.side !== side ? score(chosen.side, chosen.index, index) / data.scale : 0;
        const { fill, text } = shade(Math.abs(level) < WEAKEST / 2 ? 0 : level, colours);
        Object.assign(node.style, { backgroundColor: fill, color: text });
        const mark = signMark(level, WEAKEST);
        if (mark) node.dataset.mark = mark;
        else delete node.dataset.mark;
        node.classList.toggle("lit", own);
        node.setAttribute("aria-selected", String(same(pinned, { side, index })));
      });
    }
    links.forEach(({ node, row, column }, place) => {
      const on = chosen ? chosen.index === (chosen.side === "row" ? row : column) : place < UNASKED;
      node.classList.toggle("dim", !on);
    });
    for (const { node, row, column } of cells) {
      const on = !chosen || chosen.index === (chosen.side === "row" ? row : column);
      node.classList.toggle("dim", !on);
    }
    said.textContent = chosen
      ? `${describe(chosen.side, chosen.index)}.`
      : "Hover or focus a word: what it is joined to lights up. A click or Enter keeps it, Esc lets go.";
  }

  function point(next) {
    if (same(next, pointed)) return;
    pointed = next;
    light();
  }

  function pin(next) {
    pinned = same(next, pinned) ? null : next;
    light();
  }

  // The links.

  function draw() {
    if (stage.hidden) return;
    const frame = stage.getBoundingClientRect();
    const sideways = getComputedStyle(stage).flexDirection === "row";
    const anchor = (node, side) => {
      const box = node.getClientRects()[0];
      if (!box) return [0, 0];
      if (sideways) return [(side === "row" ? box.right : box.left) - frame.left, (box.top + box.bottom) / 2 - frame.top];
      return [(box.left + box.right) / 2 - frame.left, (side === "row" ? box.bottom : box.top) - frame.top];
    };
    const places = Object.fromEntries(SIDES.map((side) => [side, chips[side].map((node) => anchor(node, side))]));
    const strongest = data.rows
      .flatMap((_, row) => data.columns.map((_, column) => ({ row, column, level: strength(row, column) })))
      .filter(({ level }) => Math.abs(level) >= WEAKEST)
      .sort((one, other) => Math.abs(other.level) - Math.abs(one.level))
      .slice(0, MOST);
    links = strongest.map((link) => ({ ...link, node: createLink(link.level) }));
    for (const { node, row, column } of links) {
      const [[x, y], [u, v]] = [places.row[row], places.column[column]];
      const half = sideways ? `${(x + u) / 2} ${y} ${(x + u) / 2} ${v}` : `${x} ${(y + v) / 2} ${u} ${(y + v) / 2}`;
      node.setAttribute("d", `M ${x} ${y} C ${half} ${u} ${v}`);
    }
    drawing.replaceChildren(...links.map(({ node }) => node).reverse());
  }

  new ResizeObserver(() => {
    if (!data) return;
    draw();
    light();
  }).observe(stage);

  // The heatmap.

  function createTable() {
    const table = element("table");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", `${NAMES.row} down, ${NAMES.column.toLowerCase()} across`);
    const head = element("tr");
    head.append(element("td"), ...data.columns.map((word, index) => createHead(word, "column", index)));
    table.append(head);
    data.rows.forEach((word, row) => {
      const line = element("tr");
      line.append(createHead(word, "row", row));
      data.columns.forEach((other, column) => {
        const node = element("td", "cell", signMark(strength(row, column), 0.3));
        const value = significant(data.scores[row][column], 2, true);
        node.setAttribute("aria-label", `${other.text} to ${word.text}, ${value}`);
        cells.push({ node, row, column });
        line.append(node);
      });
      table.append(line);
    });
    return table;
  }

  function createHead(word, side, index) {
    const node = element("th");
    node.scope = side === "row" ? "row" : "col";
    node.append(element("span", word.special ? "special" : "", word.text));
    Object.assign(node.dataset, { side, index });
    return node;
  }

  // Pointer and keys.

  const wordAt = (event) => {
    for (const side of SIDES) {
      const index = chips[side].indexOf(event.target.closest(".word"));
      if (index >= 0) return { side, index };
    }
    const head = event.target.closest("th[data-side]");
    return head ? { side: head.dataset.side, index: Number(head.dataset.index) } : null;
  };
  const cellAt = (event) => cells.find((cell) => cell.node === event.target.closest(".cell"));

  function explain(cell) {
    const value = significant(data.scores[cell.row][cell.column], 3, true);
    tooltip.show(cell.node, `${data.columns[cell.column].text} → ${data.rows[cell.row].text}`, [["raised", value]]);
  }

  root.addEventListener("pointerover", (event) => {
    const cell = cellAt(event);
    if (cell) explain(cell);
    else point(wordAt(event));
  });
  root.addEventListener("pointerleave", () => point(null));
  root.addEventListener("pointerout", () => tooltip.hide());
  root.addEventListener("click", (event) => {
    const word = wordAt(event);
    if (word) pin(word);
  });
  root.addEventListener("focusin", (event) => {
    const [word, cell] = [wordAt(event), cellAt(event)];
    if (word) rove(chips[word.side], word.index);
    if (cell) {
      rove(cells.map(({ node }) => node), cells.indexOf(cell));
      explain(cell);
    }
    point(word);
  });
  root.addEventListener("focusout", () => {
    tooltip.hide();
    point(null);
  });
  root.addEventListener("keydown", (event) => {
    const [word, cell] = [wordAt(event), cellAt(event)];
    if (event.key === "Escape" && (pinned || tooltip.anchor())) {
      tooltip.hide();
      pinned = null;
      light();
    } else if (word && (event.key === "Enter" || event.key === " ")) pin(word);
    else if (word) {
      const target = destination(event, word.index, chips[word.side].length, BOTH_WAYS);
      if (target === null) return;
      chips[word.side][target].focus();
    } else if (cell) {
      const width = data.columns.length;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width };
      const target = cells.indexOf(cell) + (steps[event.key] ?? NaN);
      if (!cells[target]) return;
      cells[target].node.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return { update };
}

function createList(side) {
  const list = element("div", `text ${side}`);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", `${NAMES[side]}, word by word`);
  list.fill = (chips, words) => {
    const segments = [0, 1].map((segment) => chips.filter((_, at) => words[at].segment === segment));
    list.replaceChildren(
      ...segments.filter((own) => own.length).map((own) => {
        const block = element("div", "segment");
        block.setAttribute("role", "presentation");
        own.forEach((chip) => block.append(...(words[chips.indexOf(chip)].space_before ? [" ", chip] : [chip])));
        return block;
      }),
    );
  };
  return list;
}

function createWord(word, description) {
  const node = element("span", word.special ? "word special" : "word", word.text);
  node.setAttribute("role", "option");
  node.setAttribute("aria-label", description);
  return node;
}

function createLink(level) {
  const node = document.createElementNS(SVG, "path");
  node.setAttribute("class", level < 0 ? "link opposing" : "link");
  node.style.strokeWidth = `${0.75 + 6 * Math.min(1, Math.abs(level))}px`;
  node.style.setProperty("--level", String(0.25 + 0.6 * Math.min(1, Math.abs(level))));
  return node;
}
