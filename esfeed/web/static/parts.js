// Small helpers for building the pages: elements, words for numbers and times, the sparkline.

const SVG = "http://www.w3.org/2000/svg";
const GROUPED = new Intl.NumberFormat("en");

export const byId = (id) => document.getElementById(id);

/** An element: `el("td", {class: "number"}, "1", other)`. Text is text: no markup of a document is ever obeyed. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export const badge = (text, kind = "idle") => el("span", { class: `badge ${kind}` }, text);

/** Digits in groups; also of integers that came as strings because they are beyond 2**53. */
export const count = (value) => (value == null ? "–" : GROUPED.format(typeof value === "string" ? BigInt(value) : value));

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (value >= 1024 && step < units.length - 1) [value, step] = [value / 1024, step + 1];
  return `${step && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[step]}`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (value >= 2 * size) return `${Math.round(value / size)} ${unit}`;
  }
  return `${Math.round(value)} s`;
}

export const clock = (iso) => {
  const when = new Date(iso);
  return Number.isNaN(when.getTime()) ? String(iso ?? "–") : when.toLocaleTimeString("en-GB");
};

/** A value of a document, short and on one line. */
export function brief(value, most = 60) {
  if (value === undefined) return "–";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** What changed, in words of one line each. */
export function changes(event, most = 4) {
  const { op, changed, before, after } = event.data;
  const whole = (op === "deleted" ? before : after) ?? {};
  const line = (name, ...parts) => el("span", { class: "change" }, el("span", { class: "field" }, `${name} `), ...parts);
  if (op === "updated" && changed) {
    const lines = changed.slice(0, most).map((name) =>
      line(
        name,
        ...(before ? [el("span", { class: "was" }, brief(before[name])), " → "] : ["→ "]),
        el("span", { class: "is" }, brief(after?.[name])),
      ),
    );
    if (changed.length > most) lines.push(el("span", { class: "change field" }, `and ${changed.length - most} more`));
    return lines;
  }
  const telling = ["name", "title", "status", "state"].filter((name) => name in whole && typeof whole[name] !== "object");
  const names = telling.length ? telling : Object.keys(whole).filter((name) => typeof whole[name] !== "object").slice(0, 2);
  return names.map((name) => line(name, brief(whole[name])));
}

/** A curve of numbers; what it shows is also said in words, for those who do not see it. */
export function sparkline(numbers, label) {
  const width = 240;
  const height = 44;
  const top = Math.max(1, ...numbers);
  const step = width / Math.max(1, numbers.length - 1);
  const points = numbers.map((number, place) => `${(place * step).toFixed(1)},${(height - 2 - (number / top) * (height - 6)).toFixed(1)}`);
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label })) {
    svg.setAttribute(key, value);
  }
  const area = document.createElementNS(SVG, "polygon");
  area.setAttribute("points", `0,${height} ${points.join(" ")} ${width},${height}`);
  const curve = document.createElementNS(SVG, "polyline");
  curve.setAttribute("points", points.join(" "));
  svg.append(area, curve);
  return svg;
}

/** Says something to screen readers, once. */
export function say(text) {
  byId("said").textContent = text;
}

/** Shows a word of warning at the top, or takes it away. */
export function notice(text) {
  const place = byId("notice");
  if (place.textContent !== (text ?? "")) place.textContent = text ?? "";
  place.hidden = !text;
}
