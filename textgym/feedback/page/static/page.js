// What every page shares: words, requests that are tried again, drafts, progress, and who it is.

export const words = JSON.parse(document.getElementById("words").textContent);
const person = document.getElementById("person")?.dataset.id ?? "";
const state = document.getElementById("state");

export class Refused extends Error {}

function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function show(text, isOffline = false) {
  if (!state) return;
  state.textContent = text;
  state.classList.toggle("offline", isOffline);
}

export function complain(text) {
  document.getElementById("error").textContent = text;
}

// A model may write for minutes; whatever else has not answered by then is asked again.
const PATIENCE = 20_000;

// Ask the server; while there is no connection, say so and try again. Asking twice does nothing twice.
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    let response;
    try {
      const signal = path === "/api/chat/turns" ? null : AbortSignal.timeout(PATIENCE);
      response = await fetch(path, { ...options, signal });
    } catch {
      response = null;
    }
    if (response && response.status < 500) {
      if (response.status === 401 && path !== "/api/sign-in") location.assign("/sign-in");
      const answer = await response.json();
      if (response.ok) return answer;
      throw new Refused(typeof answer.detail === "string" ? answer.detail : JSON.stringify(answer.detail));
    }
    show(words.offline, true);
    await wait(pause);
  }
}

// What is typed stays in the browser until the server has it.
export const drafts = {
  // Of one store's person: another store may be shown at the same address another time.
  key: (name) => `textgym ${location.host} ${person} ${name}`,
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(this.key(name)));
    } catch {
      return null;
    }
  },
  write(name, value) {
    localStorage.setItem(this.key(name), JSON.stringify(value));
  },
  drop(name) {
    localStorage.removeItem(this.key(name));
  },
};

export function showProgress({ n_done: done, n_left: left }) {
  const bar = document.getElementById("bar");
  bar.max = Math.max(done + left, 1);
  bar.value = done;
  document.getElementById("count").textContent = words.done_left.replace("{done}", done).replace("{left}", left);
}

// Keys work everywhere but in a field that is typed into; there Escape leaves the field.
export function onKeys(handle) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey && event.key !== "Enter" || event.altKey || event.metaKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const field = event.target.closest("textarea, input:not([type=radio])");
    if (field && event.key === "Escape") {
      field.blur();
      event.preventDefault();
      return;
    }
    if (handle(event.key.length === 1 ? event.key.toLowerCase() : event.key, field, event)) event.preventDefault();
  });
}

document.getElementById("sign-out")?.addEventListener("click", async () => {
  await ask("/api/sign-out", {});
  location.assign("/sign-in");
});

// On a phone the work comes first: what stands beside it elsewhere waits, folded, above it.
if (matchMedia("(max-width: 50rem)").matches) {
  for (const part of document.querySelectorAll("aside details")) part.removeAttribute("open");
}
