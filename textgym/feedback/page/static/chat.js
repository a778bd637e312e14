// Chat: a conversation, each answer of which can be scored, or rewritten.

import { Refused, ask, complain, drafts, onKeys, show, showProgress, words } from "./page.js";
import { scoreByKey } from "./scoring.js";
import { askWhy, askWhyAgain, keepWhy } from "./skipping.js";

const form = document.getElementById("say");
const message = form.elements.said;
const list = document.getElementById("turns");
const template = document.getElementById("turn");
let chat = null;
let isBusy = false;
let work = Promise.resolve();

// One thing at a time: what is asked for in between is not done.
function alone(act) {
  if (!isBusy) work = carryOut(act);
  return work;
}

async function carryOut(act) {
  isBusy = true;
  try {
    await act();
  } catch (error) {
    show("");
    if (!(error instanceof Refused)) throw error;
    complain(error.message);
  } finally {
    isBusy = false;
  }
}

function fillTurn(section, turn) {
  section.turn = turn;
  section.querySelector(".said").textContent = turn.said;
  // The space that parts an answer from what it goes on with would look like an indent.
  section.querySelector(".answer").textContent = turn.answer.trim() || "…";
  section.querySelector(".answer").classList.toggle("replaced", turn.rewriting !== null);
  section.querySelector(".rewritten").textContent = (turn.rewriting ?? "").trim();
  section.querySelector(".rewritten").hidden = turn.rewriting === null;
  for (const input of section.querySelectorAll("[type=radio]")) {
    input.name = `score-${turn.id}`;
    // While a judgement waits, the buttons are ahead of what the server knows.
    if (!section.nWaiting) input.checked = input.value === String(turn.score);
  }
}

async function judgeTurn(section, changes) {
  section.nWaiting = (section.nWaiting ?? 0) + 1;
  // A judgement waits for its turn, since the page shows it already: the model may be writing for a while.
  while (isBusy) await work;
  section.nWaiting -= 1;
  await alone(async () => {
    const { id, created_at } = section.turn;
    show(words.saving);
    // Nothing but what has changed: the rest may be another's by now, in another tab.
    fillTurn(section, await ask("/api/chat/judgements", { turn: id, created_at, ...changes }));
    if ("rewriting" in changes) {
      drafts.drop(`rewriting ${id}`);
      section.querySelector(".rewriting").hidden = true;
    }
    show(words.saved);
  });
}

function openRewriting(section) {
  const field = section.querySelector(".rewriting textarea");
  const { id, rewriting, answer } = section.turn;
  field.value = drafts.read(`rewriting ${id}`) ?? rewriting?.trim() ?? answer.trim();
  section.querySelector(".rewriting").hidden = false;
  field.focus();
}

function addTurn(turn) {
  const section = template.content.firstElementChild.cloneNode(true);
  list.append(section);
  fillTurn(section, turn);
  const rewriting = section.querySelector(".rewriting");
  section.querySelector("fieldset").addEventListener("change", (event) => {
    judgeTurn(section, { score: Number(event.target.value) });
  });
  section.querySelector(".rewrite").addEventListener("click", () => openRewriting(section));
  rewriting.addEventListener("input", (event) => drafts.write(`rewriting ${turn.id}`, event.target.value));
  rewriting.addEventListener("submit", (event) => {
    event.preventDefault();
    judgeTurn(section, { rewriting: rewriting.querySelector("textarea").value });
  });
  rewriting.querySelector(".cancel").addEventListener("click", () => {
    drafts.drop(`rewriting ${turn.id}`);
    rewriting.hidden = true;
  });
  if (drafts.read(`rewriting ${turn.id}`) !== null) openRewriting(section);
}

function display(answer) {
  chat = answer.chat;
  showProgress(answer.progress);
  const subject = document.getElementById("subject");
  subject.hidden = answer.subject === "";
  document.getElementById("skip").hidden = subject.hidden;
  subject.querySelector(".text").textContent = answer.subject;
  list.replaceChildren();
  message.value = drafts.read(`message ${chat}`) ?? "";
  answer.turns.forEach(addTurn);
  const sent = drafts.read(`sent ${chat}`);
  drafts.drop(`sent ${chat}`);
  if (sent !== null && sent.number >= nextNumber()) putBack(sent.said);
  askWhyAgain(`skip chat ${chat}`, sendSkip);
}

async function load() {
  display(await ask("/api/chat"));
}

// The last step: what was made of the last answer, else what was said, else the closing of the last conversation.
function undo() {
  if (chat === null) return;
  alone(async () => {
    const { id: turn, number, said, score, rewriting, created_at } = list.lastElementChild?.turn ?? {};
    const isJudged = turn !== undefined && (score !== null || rewriting !== null);
    const what = turn === undefined ? "close" : isJudged ? "judgement" : "turn";
    // What was typed is put by before the store loses it, and stands in its field again.
    const draft = `rewriting ${turn}`;
    if (what === "turn") drafts.write(`sent ${chat}`, { number, said });
    else if (isJudged && rewriting !== null) drafts.write(draft, drafts.read(draft) ?? rewriting.trim());
    const answer = await ask("/api/chat/undo", { chat, what, turn, created_at });
    if (what === "turn") drafts.drop(draft);
    display(answer);
    document.activeElement?.blur();
    show(words.undone);
  });
}

// What was sent and has no answer stands before what has been typed since.
function putBack(said) {
  message.value = [said, message.value].filter(Boolean).join("\n");
  drafts.write(`message ${chat}`, message.value);
}

function nextNumber() {
  return (list.lastElementChild?.turn.number ?? -1) + 1;
}

function send() {
  const said = message.value;
  if (said.trim() === "" || chat === null) return;
  alone(async () => {
    const number = nextNumber();
    complain("");
    show(words.writing);
    document.getElementById("send").disabled = true;
    drafts.write(`sent ${chat}`, { number, said });
    drafts.drop(`message ${chat}`);
    message.value = "";
    try {
      addTurn(await ask("/api/chat/turns", { chat, number, said }));
    } catch (error) {
      putBack(said);
      throw error;
    } finally {
      document.getElementById("send").disabled = false;
      drafts.drop(`sent ${chat}`);
    }
    show("");
    form.scrollIntoView({ block: "end" });
  });
}

function startAnew() {
  alone(async () => {
    await ask("/api/chat/close", { chat });
    await load();
    message.focus();
  });
}

// A subject that somebody would rather not talk about; what is typed of it goes with it, and comes back with it.
function skip() {
  if (chat === null || document.getElementById("skip").hidden) return;
  askWhy(`skip chat ${chat}`, sendSkip);
}

async function sendSkip(why) {
  const skipped = chat;
  while (isBusy) await work;
  await alone(async () => {
    show(words.saving);
    await ask("/api/chat/skip", { chat: skipped, ...why });
    keepWhy(`skip chat ${skipped}`);
    await load();
    show(words.saved);
  });
}

message.addEventListener("input", () => drafts.write(`message ${chat}`, message.value));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
document.getElementById("close").addEventListener("click", startAnew);
document.getElementById("skip").addEventListener("click", skip);
document.getElementById("undo").addEventListener("click", undo);

onKeys((key, field, event) => {
  if (key === "Enter" && field === message && !event.shiftKey) return send(), true;
  if (key === "Enter" && event.ctrlKey && field) return field.form.requestSubmit(), true;
  if (field || event.ctrlKey) return false;
  const last = list.lastElementChild;
  if (key === "m") return message.focus(), true;
  if (key === "n") return startAnew(), true;
  if (key === "s") return skip(), true;
  if (key === "u") return undo(), true;
  if (last && key === "r") return openRewriting(last), true;
  const input = last && scoreByKey(last, event);
  if (!input) return false;
  input.click();
  return true;
});

alone(load);
