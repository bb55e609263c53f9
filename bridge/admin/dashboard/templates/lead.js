// The page of one lead: buttons that copy. Without this script they are not shown.
"use strict";

document.documentElement.classList.add("js");

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Outside loopback and https a browser has no clipboard for pages; a selection can be copied all the same.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("not copied");
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-from]");
  if (!button) return;
  const from = button.dataset.copyFrom;
  const said = document.getElementById("copied");
  said.textContent = "";
  try {
    await copyText(from ? document.getElementById(from).textContent : button.dataset.copy);
    button.focus();
    said.textContent = `Copied ${button.dataset.name}`;
  } catch {
    said.textContent = `The browser does not let this page copy ${button.dataset.name}`;
  }
});
