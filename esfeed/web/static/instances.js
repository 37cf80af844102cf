// Horizon's case: a table of servers whose status changes while one looks at it, made of nothing but the feed.

import { call, follow, pause, Problem, showState, signIn } from "/static/api.js";
import { badge, byId, clock, el, notice, say } from "/static/parts.js";

const SERVER = "OS::Nova::Server";
// Engines that have no types hold Searchlight's in a field.
const WHERE = ["after", "before"]
  .map((state) => `(${state} != null && has(${state}.resource_type) && ${state}.resource_type == '${SERVER}')`)
  .reduce((all, one) => `${all} || ${one}`, `type == '${SERVER}'`);
const HOST = "OS-EXT-SRV-ATTR:host";
const kinds = { ACTIVE: "good", ERROR: "bad", DELETED: "bad", BUILD: "warn", REBUILD: "warn", RESIZE: "warn", REBOOT: "warn" };

const servers = new Map();
const rows = new Map();

const key = (event) => `${event.source} ${event.subject}`;

/** Takes events in; returns the keys of the servers that changed, with what to say of them. */
function take(events) {
  const touched = new Map();
  for (const event of events) {
    const { op, before, after, id } = event.data;
    const server = op === "deleted" ? before : after;
    const name = server?.name ?? id;
    if (op === "deleted") servers.delete(key(event));
    else servers.set(key(event), { ...server, id, time: event.time });
    const now = op === "deleted" ? "deleted" : server?.status;
    touched.set(key(event), op === "updated" && before?.status === after?.status ? `${name} changed` : `${name} is now ${now}`);
  }
  return touched;
}

function text(value) {
  if (value == null) return "–";
  return typeof value === "object" ? (value.original_name ?? value.name ?? value.id ?? JSON.stringify(value)) : String(value);
}

function row(server) {
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  return [
    el("th", { scope: "row", "data-label": "Name" }, text(server.name)),
    cell("Status", badge(text(server.status), kinds[server.status])),
    cell("Flavor", text(server.flavor)),
    cell("Host", text(server[HOST] ?? server[HOST.replace(".", "__")])),
    cell("Changed", clock(server.time)),
    cell("Id", el("span", { class: "doc" }, server.id)),
  ];
}

/** Redraws the servers with these keys. */
function draw(keys, fresh) {
  const place = byId("instances");
  for (const name of keys) {
    const server = servers.get(name);
    if (!server) {
      rows.get(name)?.remove();
      rows.delete(name);
      continue;
    }
    const made = el("tr", { class: fresh ? "fresh" : null }, ...row(server));
    made.dataset.name = text(server.name);
    rows.get(name)?.remove();
    rows.set(name, made);
    const next = [...place.children].find((other) => other.dataset.name.localeCompare(made.dataset.name, "en", { numeric: true }) > 0);
    place.insertBefore(made, next ?? null);
  }
  find();
}

function find() {
  const wanted = byId("find").value.trim().toLowerCase();
  for (const one of rows.values()) one.hidden = wanted !== "" && !one.textContent.toLowerCase().includes(wanted);
  byId("none").hidden = rows.size > 0;
}

/** Reads what is in the log, page by page; returns the position where the stream continues. */
async function catchUp(parameters) {
  for (let since = null; ; ) {
    const query = new URLSearchParams([...parameters, ["integers", "safe"], ["limit", "1000"], ...(since === null ? [] : [["since", since]])]);
    try {
      const page = await call(`/v1/changes?${query}`);
      take(page.events);
      if (page.last >= page.head) return page.last;
      since = page.last;
    } catch (problem) {
      if (problem instanceof Problem && problem.status === 410) {
        since = null;
        servers.clear();
        continue;
      }
      notice(problem.message);
      await pause(2000);
    }
  }
}

byId("find").addEventListener("input", find);
await signIn();
const parameters = [["where", WHERE]];
const since = await catchUp(parameters);
notice(null);
draw(servers.keys(), false);
byId("instances").setAttribute("aria-busy", "false");
follow(parameters, since, new AbortController().signal, {
  events: (events) => {
    const touched = take(events);
    draw(touched.keys(), true);
    say([...touched.values()].slice(-3).join(", "));
  },
  state: showState,
  gone: () => notice("The feed dropped events while this page was offline; some servers may be out of date."),
});
