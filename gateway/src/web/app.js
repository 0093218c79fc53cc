// The chat page: one conversation, one answer at a time, carried over broken connections and reloads.
import { Card, make } from "./card.js";
import { Desk, Problem, isLast } from "./desk.js";
import { Store } from "./store.js";
import { wordsFor } from "./words.js";

/** About half a minute of tries, the last ones some seconds apart. */
const RECONNECTS_MAX = 8;
const RECONNECT_FIRST_MS = 400;
const RECONNECT_MOST_MS = 6_000;

/** Whoever scrolled further up than this is reading, and is left there. */
const FOLLOW_PX = 120;

const $ = (id) => document.getElementById(id);
const store = new Store();
const desk = new Desk(store);
let words = wordsFor(store.language ?? navigator.language);
let running = null;

// The walk of one question.

async function send(text) {
  if (running || !text.trim()) return;
  $("welcome").hidden = true;
  $("log").append(make("li", { class: "question" }, make("p", { class: "text", text })));
  await answer({ text, key: newKey() });
}

/** Shows the answer to a turn, which is new, or asked before and known by its request. */
async function answer(turn) {
  const card = new Card(words);
  turn.control = new AbortController();
  card.request = turn.request ?? null;
  running = { turn, card };
  $("log").append(card.element);
  showRunning(true);
  follow(true);
  try {
    await carry(turn, card);
  } catch (error) {
    tell(error, turn, card);
  } finally {
    running = null;
    showRunning(false);
    follow();
  }
}

/** Reads frames until the last one, over as many connections as it takes. */
async function carry(turn, card) {
  for (let tries = 0; ; tries += 1) {
    try {
      for await (const frame of frames(turn, card)) {
        tries = 0;
        card.note(null);
        card.take(frame);
        accepted(turn, frame);
        follow();
        if (isLast(frame)) return ended(turn, card, frame.body);
      }
    } catch (error) {
      if (turn.stopped) return card.stop();
      const passing = error instanceof Problem && card.request && ["draining", "broker_away"].includes(error.code);
      if (error instanceof Problem && !passing) throw error;
    }
    if (turn.stopped) return card.stop();
    if (tries >= RECONNECTS_MAX) throw new Problem({ code: "network" });
    card.note(words.reconnecting);
    await pause(tries);
  }
}

function frames(turn, card) {
  const { signal } = turn.control;
  if (card.request) return desk.resume({ request: card.request, after: card.after, signal });
  return desk.ask({ text: turn.text, conversation: store.conversation, key: turn.key, signal });
}

function accepted(turn, { request, body }) {
  if (body.type !== "accepted") return;
  turn.request = request;
  store.conversation = body.conversation;
  store.pending = { text: turn.text, request, conversation: body.conversation };
  if (turn.stopped) desk.cancel(request).catch(() => {});
}

function ended(turn, card, body) {
  store.pending = null;
  if (body.problem) throw new Problem(body.problem);
  const { type, ...rest } = body;
  const outcome = { ...rest, outcome: type === "done" ? "answered" : type };
  store.keepTurn({ id: card.request, question: turn.text, outcome });
  say(card.text);
  if (body.type === "done") offerFeedback(card);
}

function offerFeedback(card) {
  card.offerFeedback(async (verdict) => {
    try {
      await desk.feedback(card.request, verdict);
      say(words.thanks);
      return true;
    } catch {
      return false;
    }
  });
}

function tell(error, turn, card) {
  const problem = error instanceof Problem ? error : new Problem({});
  // What was accepted has its outcome; another try is another question. Otherwise the key keeps it from being asked twice.
  const key = turn.request ? newKey() : turn.key;
  store.pending = null;
  if (problem.code === "not_found" && !turn.request) store.conversation = null;
  const sentence = words.problems[problem.code] ?? words.problems.other;
  card.fail(sentence, problem.retryAfterMs, problem.code === "bad_text" ? null : () => {
    if (running) return;
    card.element.remove();
    answer({ text: turn.text, key });
    $("question").focus();
  });
  say(sentence);
}

async function stop() {
  if (!running) return;
  const { turn, card } = running;
  if (turn.stopped) return;
  turn.stopped = true;
  if (!card.request) return turn.control.abort();
  // The frame `cancelled` ends the answer; when even the wish does not get through, this page stops listening.
  await desk.cancel(card.request).catch(() => turn.control.abort());
}

// Coming back.

async function comeBack() {
  const { conversation, pending } = store;
  $("welcome").hidden = Boolean(conversation);
  if (!conversation) return;
  const turns = await turnsOf(conversation);
  for (const turn of turns) showTurn(turn);
  const open = pending && pending.conversation === store.conversation && !turns.some(({ id }) => id === pending.request);
  if (open) {
    $("log").append(make("li", { class: "question" }, make("p", { class: "text", text: pending.text })));
    await answer({ text: pending.text, request: pending.request, key: newKey() });
  } else if (turns.length === 0 && $("notice").hidden) {
    startAfresh();
  }
  follow(true);
}

/** What the desk remembers, and after it what only this browser does. */
async function turnsOf(conversation) {
  const kept = store.turns;
  const told = await desk.history(conversation).catch((error) => {
    if (error.code !== "not_found" && kept.length === 0) showNotice(words.historyAway);
    return [];
  });
  const known = new Set(told.map(({ id }) => id));
  // A token that has run out takes its conversation with it.
  return store.conversation ? [...told, ...kept.filter(({ id }) => !known.has(id))] : [];
}

function showTurn({ id, question, outcome }) {
  const card = new Card(words);
  $("log").append(make("li", { class: "question" }, make("p", { class: "text", text: question })), card.element);
  card.showOutcome(id, outcome);
  if (outcome.problem) card.fail(words.problems[outcome.problem.code] ?? words.problems.other, 0, null);
  if (outcome.outcome === "answered") offerFeedback(card);
}

function startAfresh() {
  stop();
  store.conversation = null;
  store.pending = null;
  $("log").replaceChildren();
  $("notice").hidden = true;
  $("welcome").hidden = false;
  $("question").focus();
}

// What is seen and heard.

function showRunning(is) {
  $("stop-button").hidden = !is;
  $("send-button").hidden = is;
  enableSend();
}

function enableSend() {
  $("send-button").disabled = $("question").value.trim() === "";
}

function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

function say(text) {
  $("spoken").textContent = text;
}

function follow(always = false) {
  const scroller = $("scroller");
  const left = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  if (always || left < FOLLOW_PX) scroller.scrollTop = scroller.scrollHeight;
}

function speak() {
  document.documentElement.lang = words.lang;
  for (const element of document.querySelectorAll("[data-says]")) element.textContent = words[element.dataset.says];
  for (const element of document.querySelectorAll("[data-names]")) {
    element.setAttribute("aria-label", words[element.dataset.names]);
    if (element.matches("button")) element.title = words[element.dataset.names];
  }
  for (const element of document.querySelectorAll("[data-hints]")) element.placeholder = words[element.dataset.hints];
  $("tongue").textContent = words.other;
  $("tongue").lang = words.lang === "en" ? "zh-CN" : "en";
  $("suggestions").replaceChildren(...words.suggestions.map((text) => {
    const button = make("button", { type: "button", text });
    button.addEventListener("click", () => {
      send(text);
      $("question").focus();
    });
    return make("li", {}, button);
  }));
}

// Small things.

/** A key that no other question has; `crypto.randomUUID` is missing on pages without TLS. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Longer with each try and never the same, so that a server that comes back is not met by everybody at once. */
function pause(tries) {
  const most = Math.min(RECONNECT_FIRST_MS * 2 ** tries, RECONNECT_MOST_MS);
  return new Promise((resolve) => setTimeout(resolve, most * (0.5 + Math.random() / 2)));
}

/** Browsers without `field-sizing` are told how tall the box is. */
function fit(box) {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function submit() {
  const text = $("question").value;
  if (running || !text.trim()) return;
  $("question").value = "";
  fit($("question"));
  send(text);
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("question").addEventListener("input", () => {
  enableSend();
  fit($("question"));
});
$("question").addEventListener("keydown", (event) => {
  // Enter that confirms a Chinese input method's candidate is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});
$("stop-button").addEventListener("click", () => {
  stop();
  $("question").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});
$("fresh-start").addEventListener("click", startAfresh);
$("tongue").addEventListener("click", () => {
  words = wordsFor(words.lang === "en" ? "zh" : "en");
  store.language = words.lang;
  speak();
});

speak();
comeBack();
