// Skipping: a dialog asks why, by clicks or by keys alone. What is typed in it is a draft until the server has it.

import { drafts } from "./page.js";

const dialog = document.getElementById("skip-dialog");
const form = dialog.querySelector("form");
const button = dialog.querySelector("[value=skip]");
let draft = null;
let answer = null;

// Ask why something is skipped; `then` gets reason and comment, and is not called where the person thinks better of it.
export function askWhy(name, then) {
  [draft, answer] = [name, then];
  form.reset();
  const { reason, comment } = drafts.read(draft) ?? {};
  for (const input of form.querySelectorAll("[name=reason]")) input.checked = input.value === reason;
  form.elements["skip-comment"].value = comment ?? "";
  button.disabled = !reason;
  dialog.showModal();
}

// Go on asking, where a reload or a lost connection came in between.
export function askWhyAgain(name, then) {
  if (drafts.read(name)?.isOpen) askWhy(name, then);
}

// The server has it. A comment is kept for whoever takes the skip back, and skips again.
export function keepWhy(name) {
  const why = drafts.read(name);
  if (why?.comment) drafts.write(name, { ...why, isOpen: false });
  else drafts.drop(name);
}

function read() {
  const said = new FormData(form);
  return { reason: said.get("reason"), comment: said.get("skip-comment") };
}

form.addEventListener("input", () => drafts.write(draft, { ...read(), isOpen: true }));
dialog.addEventListener("change", () => {
  button.disabled = !read().reason;
});
dialog.addEventListener("keydown", (event) => {
  if (event.target.name === "skip-comment" || !/^[1-9]$/.test(event.key)) return;
  dialog.querySelectorAll("[name=reason]")[Number(event.key) - 1]?.click();
});
// The dialog says that it is closed only some time after it is, when it may be open again.
form.addEventListener("submit", (event) => {
  const why = read();
  const name = draft;
  draft = null;
  if (event.submitter.value === "cancel") return drafts.drop(name);
  drafts.write(name, { ...why, isOpen: true });
  answer(why);
});
dialog.addEventListener("close", () => {
  if (draft !== null && !dialog.open) keepWhy(draft);
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName === "BUTTON") return;
  event.preventDefault();
  // The dialog closes at once, and the page behind it would take the key for its own.
  event.stopPropagation();
  if (!button.disabled) button.click();
});
