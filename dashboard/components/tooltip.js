// One tooltip for a component. It lives in the browser's top layer, so that no clipping container cuts it off.

const GAP = 7;

function createTooltip(root) {
  const box = element("div", "tooltip");
  box.id = "tooltip";
  box.popover = "manual";
  box.setAttribute("role", "tooltip");
  root.append(box);
  let anchor = null;
  let following = null;

  function hide() {
    anchor?.removeAttribute("aria-describedby");
    anchor = null;
    following?.abort();
    if (box.matches(":popover-open")) box.hidePopover();
  }

  function place() {
    const line = anchor.getClientRects()[0];
    if (!line || line.bottom < 0 || line.top > window.innerHeight) return hide();
    const { width, height } = box.getBoundingClientRect();
    const below = line.bottom + GAP;
    const fits = below + height < window.innerHeight;
    box.style.top = `${fits ? below : line.top - GAP - height}px`;
    box.style.left = `${Math.max(GAP, Math.min(line.left, window.innerWidth - width - GAP))}px`;
  }

  /** Beside `target`: a title and [name, value] lines. */
  function show(target, title, facts) {
    hide();
    anchor = target;
    const lines = facts.map(([name, value]) => {
      const line = element("div", "fact");
      line.append(element("span", "fact-name", name), element("span", "fact-value", value));
      return line;
    });
    box.replaceChildren(element("div", "tooltip-title", title), ...lines);
    anchor.setAttribute("aria-describedby", box.id);
    box.showPopover();
    place();
    following = new AbortController();
    document.addEventListener("scroll", place, { capture: true, passive: true, signal: following.signal });
  }

  return { show, hide, anchor: () => anchor };
}
