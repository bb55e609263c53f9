// The list of leads: days in the reader's own zone, and the selection of rows.
"use strict";

const zone = document.querySelector("input[name=zone]");
if (zone) {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  // The days that are shown may be those of another zone.
  const own = document.querySelector("#zone[data-own]");
  if (own) own.textContent = zone.value;
}

const selection = document.getElementById("selection");
if (selection) {
  const all = selection.elements.all;
  // Rows come and go with live updates, so they are looked up each time.
  const rows = () => [...document.querySelectorAll("input[name=lead]")];
  const count = () => {
    const picked = rows().filter((each) => each.checked).length;
    all.checked = picked > 0 && picked === rows().length;
    all.indeterminate = picked > 0 && !all.checked;
    document.getElementById("selected").textContent = picked ? `${picked} selected` : "";
  };
  document.addEventListener("change", (event) => {
    if (event.target === all) for (const each of rows()) each.checked = all.checked;
    if (event.target === all || event.target.name === "lead") count();
  });
  // The browser restores the boxes when somebody comes back.
  addEventListener("pageshow", count);
}
