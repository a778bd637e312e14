// Skipping: a dialog asks why, by clicks or by keys alone.

const dialog = document.getElementById("skip-dialog");
const form = dialog.querySelector("form");
const button = dialog.querySelector("[value=skip]");
let answer = null;

// Ask why something is skipped; `then` gets reason and comment, and is not called where the person thinks better of it.
export function askWhy(then) {
  answer = then;
  form.reset();
  button.disabled = true;
  dialog.returnValue = "";
  dialog.showModal();
}

dialog.addEventListener("change", () => {
  button.disabled = !new FormData(form).get("reason");
});
dialog.addEventListener("keydown", (event) => {
  if (event.target.name === "skip-comment" || !/^[1-9]$/.test(event.key)) return;
  dialog.querySelectorAll("[name=reason]")[Number(event.key) - 1]?.click();
});
dialog.addEventListener("close", () => {
  const said = new FormData(form);
  if (dialog.returnValue !== "skip" || !said.get("reason")) return;
  answer({ reason: said.get("reason"), comment: said.get("skip-comment") });
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName === "BUTTON") return;
  event.preventDefault();
  // The dialog closes at once, and the page behind it would take the key for its own.
  event.stopPropagation();
  if (!button.disabled) button.click();
});
