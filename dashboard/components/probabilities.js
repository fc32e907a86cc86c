// One bar per label: the predicted one in the accent colour, the true one ticked.

const THINNEST = 0.0005;

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const bars = root.querySelector(".bars") ?? root.appendChild(element("ul", "bars"));
  bars.setAttribute("role", "list");
  bars.setAttribute("aria-label", "Probability of each label");
  const rest = data.omitted > 0 ? [element("li", "", "")] : [];
  rest.forEach((line) => line.append(element("span", "rest", `… and ${data.omitted} more`)));
  bars.replaceChildren(...data.items.map(createLine), ...rest);
}

function createLine(item) {
  const line = element("li", item.predicted ? "predicted" : "");
  const track = element("span", "track");
  const level = element("div", "level");
  level.style.width = `${100 * item.probability}%`;
  track.setAttribute("aria-hidden", "true");
  track.append(level);
  const roles = [item.predicted ? "predicted" : "", item.true ? "true label" : ""].filter(Boolean);
  line.setAttribute("aria-label", [item.label, rounded(item.probability), ...roles].join(", "));
  line.append(element("span", "name", item.true ? `${item.label} ✓` : item.label), track);
  line.append(element("span", "value", rounded(item.probability)));
  return line;
}

/** Three decimals that never claim certainty. */
function rounded(probability) {
  if (probability > 1 - THINNEST && probability < 1) return "> 0.999";
  return probability < THINNEST && probability > 0 ? "< 0.001" : probability.toFixed(3);
}
