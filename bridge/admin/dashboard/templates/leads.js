// The list of leads: days in the reader's own zone.
"use strict";

const zone = document.querySelector("input[name=zone]");
if (zone) {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  // The days that are shown may be those of another zone.
  const own = document.querySelector("#zone[data-own]");
  if (own) own.textContent = zone.value;
}
