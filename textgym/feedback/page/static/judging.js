// One item after the other: shown, judged, saved, skipped or taken back. Rate and Compare differ in their form alone.

import { Refused, ask, complain, drafts, onKeys, show, showProgress, words } from "./page.js";
import { askWhy, askWhyAgain, keepWhy } from "./skipping.js";

export function judge({ kind, path, keys, read, missing }) {
  const form = document.getElementById("work");
  let assignment = null;
  // The assignment that undo takes back, and what was said of it.
  let undoable = { assignment: null, said: null };
  let isBusy = false;

  function fill(said) {
    form.reset();
    for (const [name, value] of Object.entries(said ?? {})) {
      if (value === null) continue;
      if (name === "comment") form.elements.comment.value = value;
      else for (const input of form.querySelectorAll(`[name=${name}]`)) input.checked = input.value === String(value);
    }
    form.dispatchEvent(new Event("filled"));
  }

  function display(item) {
    assignment = item.assignment;
    undoable = { assignment: item.undoable, said: item.undoable_said };
    showProgress(item.progress);
    form.hidden = assignment === null;
    document.getElementById("nothing").hidden = assignment !== null;
    complain("");
    if (assignment === null) return;
    // textContent: what a model wrote is shown as text, whatever it looks like.
    document.getElementById("prompt").textContent = item.prompt;
    item.completions.forEach((text, index) => {
      // The space that parts a completion from its prompt would look like an indent.
      document.querySelector(`[data-completion="${index}"]`).textContent = text.replace(/^ /, "");
    });
    fill(drafts.read(assignment));
    document.activeElement?.blur();
    scrollTo(0, 0);
    askWhyAgain(`skip ${assignment}`, sendSkip);
  }

  async function next() {
    display(await ask(`/api/next?kind=${kind}`));
  }

  // One thing at a time: a key held down does not judge the item after this one.
  async function alone(act) {
    if (isBusy) return;
    isBusy = true;
    // What is changed while a judgement is on its way would be lost.
    form.inert = true;
    try {
      await act();
    } catch (error) {
      show("");
      if (!(error instanceof Refused)) throw error;
      complain(error.message);
    } finally {
      isBusy = false;
      form.inert = false;
    }
  }

  function save() {
    const said = read(new FormData(form));
    if (said === null) return complain(missing);
    return alone(async () => {
      const judged = assignment;
      show(words.saving);
      await ask(path, { assignment: judged, ...said });
      undoable = { assignment: judged, said };
      drafts.drop(judged);
      await next();
      show(words.saved);
    });
  }

  function skip() {
    if (assignment === null) return;
    askWhy(`skip ${assignment}`, sendSkip);
  }

  function sendSkip(why) {
    return alone(async () => {
      const skipped = assignment;
      show(words.saving);
      await ask("/api/skips", { assignment: skipped, ...why });
      undoable = { assignment: skipped, said: null };
      drafts.drop(skipped);
      keepWhy(`skip ${skipped}`);
      await next();
      show(words.saved);
    });
  }

  function undo() {
    return alone(async () => {
      const { assignment: undone, said } = undoable;
      // Before the store loses it, so that neither a reload nor a lost answer takes it away.
      if (said !== null) drafts.write(undone, said);
      display(await ask("/api/undo", { assignment: undone }));
      show(words.undone);
    });
  }

  form.addEventListener("input", () => {
    if (assignment !== null) drafts.write(assignment, Object.fromEntries(new FormData(form)));
    complain("");
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  document.getElementById("skip").addEventListener("click", skip);
  document.getElementById("undo").addEventListener("click", undo);

  onKeys((key, field, event) => {
    if (isBusy) return false;
    if (key === "Enter" && event.ctrlKey) return save(), true;
    if (field) return false;
    if (event.ctrlKey) return false;
    if (key === "u") return undo(), true;
    if (form.hidden) return false;
    // A button or link that has the focus does its own.
    if (key === "Enter" && !event.target.closest("button, a, summary")) return save(), true;
    if (key === "s") return skip(), true;
    if (key === "c") return form.elements.comment.focus(), true;
    const wanted = keys(key, event);
    if (!wanted) return false;
    wanted.checked = true;
    wanted.dispatchEvent(new Event("input", { bubbles: true }));
    wanted.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  });

  alone(next);
}
