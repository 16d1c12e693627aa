// The front page. Whatever comes from a note is set as text, never as HTML.

const PAGE = 20;
const EVENTS_SHOWN = 8;

const byId = (id) => document.getElementById(id);
const list = byId("notes");
const editor = byId("editor");
const form = editor.querySelector("form");
const confirmation = byId("confirm");

let total = 0;
let edited = null; // the note in the editor, null for a new one

/** Call the service. Throws an Error that a person can read. */
async function call(method, path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("The service cannot be reached.");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const detail = answer?.detail;
  throw new Error(Array.isArray(detail) ? detail.map((item) => item.msg).join(", ") : (detail ?? `HTTP ${response.status}`));
}

function say(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

/** Run something, and show on the page what goes wrong. */
async function attempt(action) {
  try {
    await action();
    say(byId("problem"), "");
  } catch (error) {
    say(byId("problem"), error.message);
  }
}

function render(note) {
  const item = byId("note").content.cloneNode(true).firstElementChild;
  item.querySelector("h3").textContent = note.title;
  item.querySelector("p").textContent = note.body;
  const time = item.querySelector("time");
  time.dateTime = note.updated_at;
  time.textContent = new Date(note.updated_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  item.querySelector("[data-action=edit]").addEventListener("click", () => edit(note));
  item.querySelector("[data-action=delete]").addEventListener("click", () => remove(note));
  return item;
}

/** Show the newest notes, at least as many as asked for. */
async function load(wanted = Math.max(PAGE, list.children.length)) {
  const notes = [];
  do {
    const page = await call("GET", `notes?limit=${Math.min(100, wanted - notes.length)}&offset=${notes.length}`);
    notes.push(...page.items);
    total = page.total;
  } while (notes.length < Math.min(wanted, total) && notes.length % 100 === 0 && notes.length > 0);
  list.replaceChildren(...notes.map(render));
  byId("total").textContent = total || "";
  byId("empty").hidden = total > 0;
  byId("more").hidden = notes.length >= total;
}

function edit(note) {
  edited = note;
  byId("editor-heading").textContent = note ? "Edit note" : "New note";
  form.elements.title.value = note?.title ?? "";
  form.elements.body.value = note?.body ?? "";
  say(form.querySelector(".problem"), "");
  editor.showModal();
  form.elements.title.focus();
}

async function save(event) {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  const note = { title: form.elements.title.value, body: form.elements.body.value };
  button.disabled = true;
  try {
    await (edited ? call("PUT", `notes/${edited.id}`, note) : call("POST", "notes", note));
    editor.close();
    await attempt(() => load());
  } catch (error) {
    say(form.querySelector(".problem"), error.message);
  } finally {
    button.disabled = false;
  }
}

function remove(note) {
  confirmation.querySelector("p").textContent = note.title;
  confirmation.returnValue = "";
  confirmation.addEventListener(
    "close",
    () => {
      if (confirmation.returnValue !== "delete") return;
      attempt(async () => {
        await call("DELETE", `notes/${note.id}`);
        await load();
      });
    },
    { once: true },
  );
  confirmation.showModal();
}

/** Show which release and worker answer, and whether they are ready. */
async function identify() {
  const badge = byId("health");
  try {
    const who = await call("GET", "whoami");
    for (const key of ["release", "pid", "host", "scheme", "client"]) byId(key).textContent = who[key] ?? "not set";
    const health = await (await fetch("readyz")).json();
    badge.textContent = health.status === "ok" ? "ready" : health.reason;
    badge.className = `badge ${health.status === "ok" ? "good" : "bad"}`;
  } catch {
    badge.textContent = "not reachable";
    badge.className = "badge bad";
  }
}

/** Follow the event stream. It ends now and then, and the browser connects again by itself. */
function follow() {
  const events = byId("events");
  let release;
  const source = new EventSource("events?count=30&interval=1");
  source.onopen = identify;
  source.onmessage = (message) => {
    const tick = JSON.parse(message.data);
    const item = document.createElement("li");
    for (const [name, text] of [
      ["time", new Date(tick.time).toLocaleTimeString([], { hourCycle: "h23" })],
      ["pid", tick.pid],
      ["release", tick.release ?? "no release"],
    ]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      item.append(part);
    }
    if (release !== undefined && release !== tick.release) item.className = "switched";
    release = tick.release;
    events.prepend(item);
    while (events.children.length > EVENTS_SHOWN) events.lastChild.remove();
    byId("pulse").classList.add("beat");
    setTimeout(() => byId("pulse").classList.remove("beat"), 100);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 2000); // a 5xx, which browsers do not retry
    identify();
  };
}

byId("add").addEventListener("click", () => edit(null));
byId("more").addEventListener("click", () => attempt(() => load(list.children.length + PAGE)));
form.addEventListener("submit", save);
form.querySelector("[data-action=cancel]").addEventListener("click", () => editor.close());

attempt(() => load());
follow();
