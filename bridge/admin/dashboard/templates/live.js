// Refreshes what is marked as live, while somebody looks and is not in the middle of something there.
"use strict";

const EVERY_MS = 2000;

async function refresh() {
  const parts = [...document.querySelectorAll("[data-live][id]")];
  if (!parts.length || document.hidden) return;
  const answer = await fetch(location.href, {
    credentials: "same-origin",
    headers: { "Leadbridge-Refresh": "1" },
    redirect: "error",
  });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const made = fresh.getElementById(part.id);
    if (!made || part.contains(document.activeElement)) continue;
    // What somebody has opened stays open, and is no difference.
    const shown = part.querySelectorAll("details");
    made.querySelectorAll("details").forEach((each, at) => {
      if (shown[at]) each.open = shown[at].open;
    });
    // The part itself stays: a live region that is exchanged is not read out.
    if (made.innerHTML !== part.innerHTML) part.replaceChildren(...document.adoptNode(made).childNodes);
  }
}

async function again() {
  try {
    await refresh();
  } catch {
    // The bridge restarts, or the session has ended: the page stays as it is.
  }
  setTimeout(again, EVERY_MS);
}

setTimeout(again, EVERY_MS);
