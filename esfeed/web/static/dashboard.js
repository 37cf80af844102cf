// The dashboard: the status of watches and sinks, requested every two seconds, and the live events.

import { call, pause, Problem, signIn } from "/static/api.js";
import { offerWatches, startEvents } from "/static/events.js";
import { badge, byId, bytes, count, el, notice, plural, say, seconds, sparkline } from "/static/parts.js";

const EVERY = 2000;
let drawn = "";

function fact(name, ...value) {
  return [el("dt", {}, name), el("dd", {}, ...value)];
}

const kinds = { ok: "good", failing: "bad", stalled: "bad", parked: "warn" };

function watchCard([name, watch]) {
  const history = watch.history ?? [];
  const perSecond = history.slice(-10).reduce((sum, number) => sum + number, 0) / 10;
  const total = history.reduce((sum, number) => sum + number, 0);
  const polled = watch.tracker !== undefined;
  const facts = el(
    "dl",
    { class: "facts" },
    ...fact("Index", watch.index),
    ...fact("Documents", count(watch.documents)),
    ...(polled
      ? [
          ...fact("Lag", `${seconds(watch.lag_seconds)}, ${watch.lag_operations == null ? "operations unknown" : plural(watch.lag_operations, "operation")}`),
          ...fact("Last poll", `${seconds(watch.last_poll_seconds_ago)} ago, took ${seconds(watch.poll_seconds)}`),
          ...fact("Cost of a poll", `${plural(watch.poll_requests, "request")}, ${bytes(watch.poll_bytes)}`),
          ...fact("Tracker", watch.tracker || "–", el("span", { class: "why" }, watch.why)),
          ...fact("Engine", watch.engine || "–"),
        ]
      : []),
  );
  const label = `Events of the last two minutes: ${total}, up to ${Math.max(0, ...history)} a second`;
  return el(
    "article",
    { class: "card", "aria-label": `Watch ${name}` },
    el("header", {}, el("h3", {}, name), badge(watch.state, kinds[watch.state])),
    el("div", {}, sparkline(history, label), el("div", { class: "spark-label", "aria-hidden": "true" }, el("span", {}, `${plural(total, "event")} in 2 min`), el("span", {}, `${perSecond.toFixed(1)} events/s`))),
    facts,
    watch.error ? el("p", { class: "error" }, watch.error) : null,
  );
}

function sinkCard([name, sink]) {
  const dead = sink.dead ? badge(count(sink.dead), "bad") : "0";
  const parked = sink.parked ? badge(count(sink.parked), "warn") : "0";
  const used = sink.sent !== undefined;
  return el(
    "article",
    { class: "card", "aria-label": `Sink ${name}` },
    el("header", {}, el("h3", {}, name), el("span", { class: "hint" }, sink.type), badge(sink.state, kinds[sink.state])),
    el(
      "dl",
      { class: "facts" },
      ...fact("Sent", used ? `${count(sink.sent)} since the start` : "–"),
      ...(sink.persist === false ? fact("Delivery", "direct, without the log") : fact("Cursor", count(sink.cursor))),
      ...fact("Backlog", `${count(sink.backlog ?? 0)}${sink.backlog && sink.lag_seconds != null ? `, the oldest waits ${seconds(sink.lag_seconds)}` : ""}`),
      ...fact("Parked", parked),
      ...fact("Dead", dead),
      ...(sink.dropped ? fact("Dropped", count(sink.dropped)) : []),
      ...(used ? fact("Last try", `${seconds(sink.last_try_seconds_ago)} ago${sink.next_try_in_seconds ? `, next in ${seconds(sink.next_try_in_seconds)}` : ""}`) : []),
    ),
    sink.error ? el("p", { class: "error" }, sink.error) : null,
    sink.dead ? el("footer", {}, el("button", { type: "button", "data-key": `redrive ${name}`, onclick: (event) => redrive(event.target, name, {}, sink.dead) }, `Redrive ${plural(sink.dead, "dead event")}`)) : null,
  );
}

function heldRow(one) {
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  const again = one.state === "dead";
  const older = one.newer != null;
  const words = older ? "Redrive anyway" : "Redrive";
  const act = (event) => redrive(event.target, one.sink, { positions: [one.position], force: older }, 1);
  return el(
    "tr",
    {},
    cell("Sink", one.sink),
    cell("Position", count(one.position)),
    cell("Document", el("span", {}, `${one.op ?? ""} `, one.document ?? "–", older ? el("span", { class: "doc" }, `a newer state of it was delivered (${count(one.newer)})`) : null)),
    cell("State", badge(one.state, again ? "bad" : "warn")),
    cell("Tries", count(one.attempts)),
    cell("Error", el("span", { class: "error" }, one.error)),
    el("td", {}, again ? el("button", { type: "button", "data-key": `redrive ${one.sink} ${one.position}`, "aria-label": `${words}: position ${one.position} of ${one.sink}`, onclick: act }, words) : null),
  );
}

async function redrive(button, sink, which, number) {
  button.disabled = true;
  try {
    const { redriven, superseded } = await call("/v1/redrive", { sink, ...which });
    const left = superseded ? `; ${plural(superseded, "event")} not sent, because newer states were delivered` : "";
    say(`${plural(redriven, "event")} of ${sink} will be sent again${left}`);
  } catch (problem) {
    notice(`Redrive of ${plural(number, "event")} failed: ${problem.message}`);
  }
  // If the server does not answer, keepFresh reports it and tries again.
  await refresh().catch(() => {});
}

function summary(told) {
  const watches = Object.values(told.watches);
  const sinks = Object.values(told.sinks);
  const failing = [...watches, ...sinks].filter((part) => ["failing", "stalled"].includes(part.state)).length;
  const lag = Math.max(0, ...watches.map((watch) => watch.lag_seconds ?? 0));
  const held = sinks.reduce((sum, sink) => sum + sink.dead + sink.parked, 0);
  const word = failing ? badge(`${failing} failing`, "bad") : held ? badge("see below", "warn") : badge("healthy", "good");
  const cell = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  return [
    cell("State", word),
    cell("Longest lag", seconds(lag)),
    cell("Log position", count(told.position)),
    cell("Held back", held ? badge(count(held), "warn") : "0"),
    cell("State size", bytes(told.state_bytes)),
    cell("Readers", count(Object.values(told.readers).reduce((sum, number) => sum + number, 0))),
  ];
}

/** Puts new content into a place, and the focus back on the button that had it. */
function replace(place, ...content) {
  const key = document.activeElement?.dataset?.key;
  place.replaceChildren(...content);
  if (key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

async function refresh() {
  const told = await call("/v1/status");
  const dead = Object.values(told.sinks).some((sink) => sink.dead || sink.parked) ? (await call("/v1/dead")).events : [];
  draw(told, dead);
}

function draw(told, dead) {
  const place = byId("summary");
  place.setAttribute("aria-busy", "false");
  replace(place, ...summary(told));
  offerWatches(Object.keys(told.watches));
  replace(byId("watches"), ...Object.entries(told.watches).map(watchCard));
  replace(byId("sinks"), ...Object.entries(told.sinks).map(sinkCard));
  byId("held").hidden = dead.length === 0;
  replace(byId("held-rows"), ...dead.map(heldRow));
  const failing = [...Object.entries(told.watches), ...Object.entries(told.sinks)].filter(([, part]) => ["failing", "stalled"].includes(part.state)).map(([name]) => name);
  const word = failing.join(", ");
  if (word !== drawn) say(word ? `Failing: ${word}` : "All healthy");
  drawn = word;
}

async function keepFresh() {
  for (;;) {
    try {
      if (!document.hidden) await refresh();
      notice(null);
    } catch (problem) {
      if (problem instanceof Problem && problem.status === 401) location.reload();
      notice(problem instanceof Problem ? problem.message : "The server does not answer; retrying.");
    }
    await pause(EVERY);
  }
}

const me = await signIn();
if (me.admin) {
  keepFresh();
} else {
  for (const part of document.querySelectorAll(".operator, #summary")) part.hidden = true;
  notice(`You see the events of ${me.tenant}. Only administrators see the status of the feed.`);
}
startEvents(me);
