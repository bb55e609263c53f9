// Refreshes what is marked as live, while somebody looks and is not in the middle of something there.
"use strict";

const EVERY_MS = 2000;

function selectedIn(part) {
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && part.contains(selection.anchorNode));
}

async function refresh() {
  const parts = [...document.querySelectorAll("[data-live][id]")];
  if (!parts.length || document.hidden) return;
  const answer = await fetch(document.querySelector("[data-live-from]")?.dataset.liveFrom ?? location.href, {
    credentials: "same-origin",
    headers: { "Leadbridge-Refresh": "1" },
    redirect: "error",
  });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const made = fresh.getElementById(part.id);
    if (made) localise(made);
    if (!made || part.contains(document.activeElement) || selectedIn(part)) continue;
    // What somebody has opened stays open, and is no difference.
    const shown = part.querySelectorAll("details");
    made.querySelectorAll("details").forEach((each, at) => {
      if (shown[at]) each.open = shown[at].open;
    });
    // The part itself stays: a live region that is exchanged is not read out.
    if (made.innerHTML !== part.innerHTML) part.replaceChildren(...document.adoptNode(made).childNodes);
  }
}

let failures = 0;

async function again() {
  try {
    await refresh();
    failures = 0;
  } catch {
    // The bridge restarts, or the session has ended: the page stays as it is, and says so when it lasts.
    failures += 1;
  }
  const ended = document.getElementById("ended");
  if (ended) ended.hidden = failures < 3;
  setTimeout(again, EVERY_MS);
}

// Times are written in the reader's own zone; the title keeps UTC.
function localise(root) {
  for (const each of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(each.dateTime);
    if (!Number.isNaN(moment.valueOf()))
      each.textContent = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, select, textarea, [contenteditable]");
  if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "j" || event.key === "k") {
    const links = [...document.querySelectorAll("tbody tr td:first-child a")];
    const at = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    links[Math.min(Math.max(at, 0), links.length - 1)]?.focus();
  }
});

localise(document);
setTimeout(again, EVERY_MS);
