// Signed colour: zero is the page's own background, blue supports, orange opposes, and text keeps a contrast of 4.5 to 1.

const INKS = {
  light: { positive: [33, 102, 172], negative: [224, 130, 20] },
  dark: { positive: [92, 158, 222], negative: [240, 160, 70] },
};
const DEEPEST = 0.9;
const READABLE = 4.5;
const BLACK = [0, 0, 0];
const WHITE = [255, 255, 255];

const css = (rgb) => `rgb(${rgb.map(Math.round).join(", ")})`;
const parse = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);

/** WCAG relative luminance of an [r, g, b] colour, 0 to 1. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((channel) => {
    const value = channel / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG contrast ratio of two colours, 1 to 21. */
function contrast(a, b) {
  const [darker, lighter] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (lighter + 0.05) / (darker + 0.05);
}

/** The page's background and text with the two inks that suit them. */
function palette(background, text) {
  return { background, text, ...(luminance(background) > 0.2 ? INKS.light : INKS.dark) };
}

/** The palette of the theme a component's root element is drawn in. */
function paletteOf(root) {
  const style = getComputedStyle(root);
  const colours = palette(parse(style.backgroundColor), parse(style.color));
  root.style.setProperty("--supports", css(colours.positive));
  root.style.setProperty("--opposes", css(colours.negative));
  return colours;
}

/**
 * Fill and text colour for a strength in [-1, 1]. The page's own text colour is kept while it is readable; in between,
 * black or white is: one of the two always reaches sqrt(21) = 4.58 to 1.
 */
function shade(strength, colours) {
  const ink = strength < 0 ? colours.negative : colours.positive;
  const alpha = DEEPEST * Math.min(1, Math.abs(strength));
  const fill = colours.background.map((under, channel) => Math.round(under + alpha * (ink[channel] - under)));
  const plain = [BLACK, WHITE].sort((a, b) => contrast(b, fill) - contrast(a, fill))[0];
  return { fill: css(fill), text: css(contrast(colours.text, fill) >= READABLE ? colours.text : plain) };
}
