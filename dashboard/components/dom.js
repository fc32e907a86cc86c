// What every component needs: elements made from text alone, numbers with a true minus sign, keys that move focus.

/** An element whose content is text and never markup. */
function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const withMinus = (text) => text.replace("-", "−");

/** "+0.310", "−0.120", "0.000". */
function signed(value, digits = 3) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : withMinus(value > 0 ? `+${text}` : text);
}

/** A value of any magnitude in a few significant digits, with its sign only if it has a meaning. */
function significant(value, digits, hasSign) {
  const text = withMinus(String(Number(value.toPrecision(digits))));
  return hasSign && value > 0 ? `+${text}` : text;
}

/** "+" or "−" where |strength| is large enough to matter, else nothing. */
function signMark(strength, least) {
  return Math.abs(strength) > least ? (strength > 0 ? "+" : "−") : "";
}

const VERTICAL = { ArrowUp: -1, ArrowDown: 1 };
const BOTH_WAYS = { ...VERTICAL, ArrowLeft: -1, ArrowRight: 1 };

/** Where a key leads from position `current` of `count`, or null if it leads nowhere. */
function destination(event, current, count, steps) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.key === "Home") return 0;
  if (event.key === "End") return count - 1;
  const step = steps[event.key];
  return step === undefined ? null : Math.max(0, Math.min(count - 1, current + step));
}

/** Only one of the nodes is reached by Tab; the arrows lead to the others. */
function rove(nodes, current) {
  nodes.forEach((node, position) => (node.tabIndex = position === current ? 0 : -1));
}

/** A component in which one thing can be selected: made by `create` once a root, updated by every run of the page. */
function selectable(create) {
  const made = new WeakMap();
  return ({ data, parentElement, setTriggerValue }) => {
    const root = parentElement.querySelector(".root");
    if (!root.isConnected) return; // the page took the component away while this call was under way
    if (!made.has(root)) made.set(root, create(root));
    made.get(root).update(data, (chosen) => setTriggerValue("select", { chosen }));
  };
}
