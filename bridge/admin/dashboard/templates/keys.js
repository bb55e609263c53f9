// Moves through a page by keyboard, and lists the keys.
"use strict";

const keys = document.getElementById("keys");
const opener = document.getElementById("keys-open");

function move(step) {
  const links = [...document.querySelectorAll("main tbody tr, main .strip")]
    .map((row) => row.querySelector("a[href]"))
    .filter((link) => link?.checkVisibility());
  const row = document.activeElement.closest("tbody tr, .strip");
  const at = links.findIndex((link) => row?.contains(link)) + step;
  links[Math.min(Math.max(at, 0), links.length - 1)]?.focus();
}

document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || keys?.open) return;
  if (event.key === "/") document.getElementById("search")?.focus();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "?") keys?.showModal();
  else return;
  event.preventDefault();
});

if (opener) {
  opener.hidden = false;
  opener.addEventListener("click", () => keys.showModal());
}
