// Refreshes the live parts of a page, leaves alone what a person holds there, and says when it cannot go on.
"use strict";

const EVERY_MS = 2000;
const PATIENCE_MS = 20000;
const FAILURES = 2;
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

let version = document.body.dataset.version;
let failures = 0;
// Milliseconds by which the bridge's clock is ahead of the reader's.
let ahead = 0;

function selected(node) {
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && selection.containsNode(node, true));
}

function held(node) {
  return selected(node) || node.contains(document.activeElement);
}

// A row is the same row as long as it links to the same page; other nodes are named by their place.
function named(nodes) {
  const counts = new Map();
  const found = new Map();
  for (const node of nodes) {
    const row = node instanceof Element && node.matches("tr, li") ? node.querySelector("a[href]") : null;
    const name = [node.nodeName, node.id || row?.getAttribute("href") || node.getAttribute?.("action") || ""].join(" ");
    counts.set(name, (counts.get(name) ?? 0) + 1);
    found.set(`${name} ${counts.get(name)}`, node);
  }
  return found;
}

// Makes `shown` like `made`, and keeps the nodes that stay. Returns false if something has to wait until it is let go.
function update(shown, made) {
  if (!(shown instanceof Element)) {
    if (shown.data === made.data) return true;
    if (selected(shown)) return false;
    shown.data = made.data;
    return true;
  }
  for (const { name, value } of made.attributes)
    if (name !== "open" && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  for (const { name } of [...shown.attributes])
    if (name !== "open" && !made.hasAttribute(name)) shown.removeAttribute(name);
  return updateChildren(shown, made);
}

function updateChildren(shown, made) {
  const present = named(shown.childNodes);
  const wanted = [...named(made.childNodes)];
  const staying = new Set(wanted.map(([name]) => present.get(name)));
  let complete = true;
  let at = shown.firstChild;
  const leave = () => {
    const gone = at;
    at = at.nextSibling;
    if (held(gone)) complete = false;
    else gone.remove();
  };
  for (const [name, next] of wanted) {
    const match = present.get(name);
    while (at && at !== match && !(staying.has(at) && at instanceof Element)) leave();
    if (!match) shown.insertBefore(document.adoptNode(next), at);
    else if (match === at) at = at.nextSibling;
    else if (selected(match)) complete = false;
    else shown.insertBefore(match, at);
    if (match) complete = update(match, next) && complete;
  }
  while (at) leave();
  return complete;
}

function apply(fresh) {
  const focused = document.activeElement;
  let complete = true;
  for (const part of document.querySelectorAll("#menu, [data-live][id]")) {
    const made = fresh.getElementById(part.id);
    if (!made) continue;
    localise(made);
    age(made);
    complete = update(part, made) && complete;
  }
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  return complete;
}

// Returns the id of the sentence that says why the page does not go on; empty if it does.
async function refresh() {
  const from = document.querySelector("[data-live-from]")?.dataset.liveFrom ?? location.href;
  const answer = await fetch(from, {
    headers: { "Leadbridge-Refresh": "1", "If-None-Match": `"${version}"` },
    cache: "no-store",
    redirect: "manual",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (answer.type === "opaqueredirect") return "ended";
  if (answer.status >= 500) throw new Error(String(answer.status));
  if (answer.status >= 400) return "gone";
  ahead = Date.parse(answer.headers.get("Date")) - Date.now() || 0;
  if (answer.status !== 304) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    version = apply(fresh) ? fresh.body.dataset.version : "";
  }
  age(document);
  return "";
}

async function again() {
  if (!document.hidden && document.querySelector("[data-live][id]")) {
    let trouble = "";
    try {
      trouble = await refresh();
      failures = 0;
    } catch {
      failures += 1;
      trouble = failures < FAILURES ? "" : "unreachable";
    }
    for (const each of document.querySelectorAll("#trouble > p")) each.hidden = each.id !== trouble;
    const login = document.querySelector("#ended a");
    login.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
  }
  setTimeout(again, EVERY_MS);
}

function write(node, text) {
  if (node.textContent !== text && !selected(node)) node.textContent = text;
}

// Writes moments in the reader's own zone; the title keeps UTC.
function localise(root) {
  for (const each of root.querySelectorAll("time[datetime]:not([data-age])")) {
    const moment = new Date(each.dateTime);
    if (!Number.isNaN(moment.valueOf()))
      write(each, moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }));
  }
}

// Writes how long ago a moment was, as `age` in rendering.py does, so that the page need not be sent again for it.
function age(root) {
  for (const each of root.querySelectorAll("time[data-age]")) {
    const seconds = Math.max(0, Math.floor((Date.now() + ahead - Date.parse(each.dateTime)) / 1000));
    if (Number.isNaN(seconds)) continue;
    const [size, unit] = UNITS.find(([least]) => seconds >= least) ?? UNITS.at(-1);
    write(each, `${Math.floor(seconds / size)} ${unit}`);
  }
}

localise(document);
setTimeout(again, EVERY_MS);
