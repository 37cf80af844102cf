// Speaks to the server: JSON calls, the stream of events, and who the reader is.
//
// The stream is read by fetch() rather than EventSource: that one can send no token. It resumes from the last position
// by itself, after a cut, a restart of the server, or a nap of the machine.

import { byId, el } from "/static/parts.js";

const KEY = "esfeed-token";

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `the server answered ${status}`);
    this.status = status;
    this.body = body ?? {};
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

async function answered(answer) {
  if (answer.ok) return answer;
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // whatever stands between here and the server answered
  }
  throw new Problem(answer.status, body);
}

/** A JSON answer. Throws Problem for a refusal, TypeError where nobody answers. */
export async function call(path, body) {
  const options = body === undefined ? { headers: headers() } : { method: "POST", body: JSON.stringify(body), headers: headers({ "content-type": "application/json" }) };
  return (await answered(await fetch(path, options))).json();
}

/** Who the reader is; asks for a token until there is one that the server takes. */
export async function signIn() {
  for (let fault = ""; ; ) {
    try {
      const me = await call("/v1/me");
      const out = byId("sign");
      out.hidden = !sessionStorage.getItem(KEY);
      out.onclick = () => {
        sessionStorage.removeItem(KEY);
        location.reload();
      };
      return me;
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 401) {
        await pause(2000);
        continue;
      }
      if (sessionStorage.getItem(KEY)) fault = problem.message;
      sessionStorage.setItem(KEY, await askForToken(fault));
    }
  }
}

function askForToken(fault) {
  return new Promise((resolve) => {
    const input = el("input", { type: "password", id: "token", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "token-fault" });
    const form = el(
      "form",
      {},
      el("h2", { id: "sign-in-title" }, "Sign in"),
      el("label", { for: "token" }, "Token from `esfeed token add`"),
      input,
      el("p", { id: "token-fault", class: "fault", hidden: !fault, role: "alert" }, fault),
      el("button", {}, "Sign in"),
    );
    const dialog = el("dialog", { class: "sign-in", "aria-labelledby": "sign-in-title" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.remove();
      resolve(input.value.trim());
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });

/**
 * Follows the feed from `since` until `signal` is aborted. `parameters` are those of /v1/changes. Tells `on.events`
 * (a list of new ones), `on.state` ("live", "trying", or "refused" with the reason), `on.gone` where some were missed.
 */
export async function follow(parameters, since, signal, on) {
  let position = String(since);
  for (let tries = 0; !signal.aborted; ) {
    const query = new URLSearchParams([...parameters, ["integers", "safe"], ["since", position]]);
    try {
      const answer = await answered(await fetch(`/v1/changes?${query}`, { headers: headers({ accept: "text/event-stream" }), signal }));
      on.state("live");
      tries = 0;
      for await (const batch of messages(answer.body)) {
        const events = [];
        for (const { id, kind, data } of batch) {
          if (id) position = id;
          if (kind === "message" && data) events.push(JSON.parse(data));
        }
        if (events.length) on.events(events);
      }
      on.state("trying");
    } catch (fault) {
      if (signal.aborted) return;
      if (fault instanceof Problem && fault.status === 410) {
        on.gone(Number(fault.body.first) - Number(position) - 1);
        position = String(fault.body.first - 1);
        continue;
      }
      if (fault instanceof Problem && fault.status === 409) {
        position = "now";
        continue;
      }
      if (fault instanceof Problem && [400, 403].includes(fault.status)) {
        on.state("refused", fault.message);
        return;
      }
      if (fault instanceof Problem && fault.status === 401) {
        location.reload();
        return;
      }
      on.state("trying", fault.message);
    }
    tries += 1;
    await pause(Math.min(5_000, 250 * 2 ** tries) * (0.5 + Math.random() / 2), signal);
  }
}

/** The messages of a stream, in batches as they arrive. https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const end = rest.lastIndexOf("\n\n");
    if (end < 0) continue;
    const whole = rest.slice(0, end).split("\n\n");
    rest = rest.slice(end + 2);
    yield whole.map(message);
  }
}

function message(text) {
  const found = { id: "", kind: "message", data: "" };
  for (const line of text.split("\n")) {
    if (line.startsWith("id: ")) found.id = line.slice(4);
    else if (line.startsWith("event: ")) found.kind = line.slice(7);
    else if (line.startsWith("data: ")) found.data += line.slice(6);
  }
  return found;
}

/** Shows on the badge how the stream is doing. */
export function showState(state, reason) {
  const place = byId("stream");
  const words = { live: ["live", "good"], trying: ["reconnecting", "warn"], refused: ["stopped", "bad"], paused: ["paused", "warn"] };
  const [word, kind] = words[state];
  place.textContent = word;
  place.className = `badge ${kind}`;
  place.title = reason ?? "";
}
