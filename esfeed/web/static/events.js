// The live events: a filter that the server applies, the newest rows, and the before and after of one of them.

import { call, follow, pause as wait, Problem, showState } from "/static/api.js";
import { badge, brief, byId, changes, clock, count, el } from "/static/parts.js";

const MAX_ROWS = 100;
const AT_FIRST = 50;
const AGAIN = 1000;
const ops = { created: "good", updated: "warn", deleted: "bad", read: "idle" };

let leaving = null;
let paused = false;
let waiting = [];

function row(event, fresh) {
  const { op, type, id, position } = event.data;
  const cell = (label, attributes, ...content) => el("td", { "data-label": label, ...attributes }, ...content);
  return el(
    "tr",
    { class: fresh ? "fresh" : null },
    cell("Position", { class: "number" }, count(position)),
    cell("Time", {}, clock(event.time)),
    cell("Operation", {}, badge(op, ops[op])),
    cell("Document", {}, el("span", {}, brief(id, 80), el("span", { class: "doc" }, `${type}, watch ${event.source.split("/").pop()}`))),
    cell("Changed", {}, el("span", {}, ...changes(event))),
    el("td", {}, el("button", { type: "button", class: "link", "aria-label": `Details of event ${position}, ${op} ${id}`, onclick: () => show(event) }, "Details")),
  );
}

/** Adds events (oldest first) on top; removes the oldest beyond the limit. */
function add(events, fresh = true) {
  if (paused) {
    waiting = [...waiting, ...events].slice(-MAX_ROWS);
    byId("pause").textContent = `Resume (${waiting.length}${waiting.length === MAX_ROWS ? "+" : ""} new)`;
    return;
  }
  const place = byId("events");
  place.prepend(...events.slice(-MAX_ROWS).reverse().map((event) => row(event, fresh)));
  while (place.children.length > MAX_ROWS) place.lastElementChild.remove();
  byId("no-events").hidden = place.children.length > 0;
}

function show(event) {
  const { op, type, id, position, changed, before, after, origin } = event.data;
  byId("event-title").textContent = `${op} ${type}/${id}`;
  const facts = [
    ["Position", count(position)],
    ["Found", event.time],
    ["Index", `${origin.index} of ${origin.cluster}`],
    ["Version", count(origin.version)],
    ["Sequence number", origin.seq_no == null ? "–" : count(origin.seq_no)],
    ["Written", origin.updated_at ?? "–"],
    ["Event id", event.id],
  ];
  byId("event-about").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  const only = byId("only-changed");
  const draw = () => fields(before, after, changed, only.checked);
  only.onchange = draw;
  only.closest("label").hidden = op !== "updated" || !before;
  draw();
  byId("event-json").textContent = JSON.stringify(event, null, 2);
  byId("event").showModal();
}

function fields(before, after, changed, only) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].sort();
  const differs = (name) => (changed ? changed.includes(name) : false);
  const shown = only && changed && before ? names.filter(differs) : [...names.filter(differs), ...names.filter((name) => !differs(name))];
  const whole = (document, name) => (document && name in document ? (typeof document[name] === "string" ? document[name] : JSON.stringify(document[name], null, 1)) : "–");
  byId("event-fields").replaceChildren(
    ...shown.map((name) =>
      el("tr", { class: differs(name) ? "changed" : null }, el("th", { scope: "row", "data-label": "Field" }, el("span", {}, name, differs(name) ? badge("changed", "warn") : null)), el("td", { "data-label": "Before" }, whole(before, name)), el("td", { "data-label": "After" }, whole(after, name))),
    ),
  );
}

/** The parameters of the request that the filter form stands for. */
function wanted() {
  const form = new FormData(byId("filter"));
  const found = ["watch", "type", "id"].filter((name) => form.get(name).trim()).map((name) => [name, form.get(name).trim()]);
  const conditions = [form.get("op") && `op == '${form.get("op")}'`, form.get("where").trim() && `(${form.get("where").trim()})`].filter(Boolean);
  return conditions.length ? [...found, ["where", conditions.join(" && ")]] : found;
}

/**
 * Shows the newest matching events among the last few hundred positions. The position from which the rest follows; null
 * where the server refuses the filter, which is said beside it.
 */
async function newest(parameters, signal) {
  const query = (more) => new URLSearchParams([...parameters, ["integers", "safe"], ...more]);
  const kept = (problem) => {
    if (problem instanceof Problem && problem.status === 410) return call(`/v1/changes?${query([["limit", "1000"]])}`);
    throw problem;
  };
  while (!signal.aborted) {
    try {
      const { head } = await call(`/v1/changes?${query([["since", "now"], ["limit", "1"]])}`);
      const begin = Math.max(0, head - 10 * AT_FIRST);
      const page = await call(`/v1/changes?${query([["since", begin], ["limit", "1000"]])}`).catch(kept);
      if (!signal.aborted) add(page.events.slice(-AT_FIRST), false);
      return page.last;
    } catch (problem) {
      if (signal.aborted) return null;
      if (problem instanceof Problem && problem.status === 400) {
        byId("filter-fault").textContent = problem.message;
        byId("filter-fault").hidden = false;
        showState("refused", problem.message);
        return null;
      }
      if (problem instanceof Problem && problem.status === 401) {
        location.reload();
        return null;
      }
      showState("trying", problem.message);
      await wait(AGAIN, signal);
    }
  }
  return null;
}

async function start() {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const parameters = wanted();
  byId("filter-fault").hidden = true;
  byId("events").replaceChildren();
  waiting = [];
  const since = await newest(parameters, signal);
  if (since === null || signal.aborted) return;
  byId("no-events").hidden = byId("events").children.length > 0;
  follow(parameters, since, signal, {
    events: add,
    state: (state, reason) => showState(paused && state === "live" ? "paused" : state, reason),
    gone: () => {},
  });
}

/** Offers the watches of these names in the filter, beside those that it offers already. */
export function offerWatches(names) {
  const { watch } = byId("filter");
  const offered = new Set([...watch.options].map((option) => option.value));
  watch.append(...names.filter((name) => !offered.has(name)).map((name) => el("option", {}, name)));
}

export function startEvents(me) {
  const pause = byId("pause");
  pause.onclick = () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    showState(paused ? "paused" : "live");
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) {
      add(waiting);
      waiting = [];
    }
  };
  byId("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  for (const select of byId("filter").querySelectorAll("select")) select.addEventListener("change", start);
  if (!me.admin) byId("filter").watch.closest("label").hidden = true;
  start();
}
