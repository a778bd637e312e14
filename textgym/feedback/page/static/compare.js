// Compare: two completions in random order, the better one, how sure, a comment.

import { judge } from "./judging.js";
import { words } from "./page.js";

const choices = { a: "left", ArrowLeft: "left", b: "right", ArrowRight: "right", t: "tie", x: "both_bad" };
const form = document.getElementById("work");

function mark() {
  const choice = new FormData(form).get("choice");
  document.querySelector("[data-side=A]").classList.toggle("chosen", choice === "left");
  document.querySelector("[data-side=B]").classList.toggle("chosen", choice === "right");
}

form.addEventListener("input", mark);
form.addEventListener("filled", mark);

judge({
  kind: "compare",
  path: "/api/comparisons",
  missing: words.choose_first,
  keys: (key, event) => {
    // Among those that say how sure, the browser itself moves.
    if (key.startsWith("Arrow") && event.target.matches("[name=sureness]")) return undefined;
    if (/^[1-3]$/.test(key)) return form.querySelector(`[name=sureness][value="${key}"]`);
    return choices[key] && form.querySelector(`[name=choice][value=${choices[key]}]`);
  },
  read: (data) => {
    const [choice, sureness] = [data.get("choice"), data.get("sureness")];
    if (choice === null) return null;
    return { choice, sureness: sureness === null ? null : Number(sureness), comment: data.get("comment") };
  },
});
