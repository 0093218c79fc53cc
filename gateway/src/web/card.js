// One answer on the page: what its frames say becomes text, chips, links and buttons. Text only ever enters as textContent.

/** An element with a class, a text and children. */
export function make(tag, { class: name, text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** The address if a customer may be sent there: http, https, or a path of this site. */
export function safeLink(address) {
  if (typeof address !== "string" || !/^(https?:\/\/|\/(?![/\\]))/i.test(address)) return null;
  try {
    const url = new URL(address, location.origin);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

const percent = (share) => Math.round(Math.min(Math.max(share, 0), 1) * 100);

export class Card {
  /** `seen` is the last frame shown; whoever resumes asks for what follows it. */
  seen = { attempt: 0, seq: 0 };
  request = null;
  element = make("li", { class: "answer streaming" });
  #words;
  #parts = {};

  constructor(words) {
    this.#words = words;
    const waiting = make("span", { class: "waiting", role: "img", "aria-label": words.thinking });
    waiting.append(make("i"), make("i"), make("i"));
    this.#parts = {
      waiting,
      text: make("p", { class: "text" }),
      sources: make("div", { class: "sources", hidden: "" }),
      problem: make("div", { class: "trouble", hidden: "" }),
      margin: make("div", { class: "margin" }),
    };
    const { text, sources, problem, margin } = this.#parts;
    this.element.append(make("div", { class: "bubble" }, waiting, text, sources, problem), margin);
    this.element.setAttribute("aria-busy", "true");
  }

  get after() {
    return `${this.seen.attempt}.${this.seen.seq}`;
  }

  get text() {
    return this.#parts.text.textContent;
  }

  /** Shows a frame unless it is a double or belongs to an attempt that was given up. */
  take({ request, attempt, seq, body }) {
    this.request = request;
    if (body.type === "accepted") return;
    const { seen } = this;
    if (attempt < seen.attempt || (attempt === seen.attempt && seq <= seen.seq)) return;
    if (attempt > seen.attempt) this.#clear();
    this.seen = { attempt, seq };
    this.#show(body);
  }

  /** The answer was read from the history. */
  showOutcome(request, outcome) {
    this.request = request;
    const type = outcome.outcome === "answered" ? "done" : outcome.outcome;
    this.#show({ ...outcome, type });
  }

  note(text) {
    this.#parts.note?.remove();
    this.#parts.note = text && make("span", { class: "chip warn", text });
    if (text) this.#parts.margin.append(this.#parts.note);
  }

  /** Tells what stood in the way; `again` is called when the customer wants to try once more. */
  fail(sentence, waitMs, again) {
    this.#end();
    this.element.classList.add("problem");
    const { problem } = this.#parts;
    problem.replaceChildren(make("p", { class: "sentence", text: sentence }));
    problem.hidden = false;
    if (!again) return;
    const button = make("button", { class: "again", type: "button", text: this.#words.again });
    button.addEventListener("click", again, { once: true });
    problem.append(button);
    this.#countDown(button, Math.ceil(waitMs / 1000));
  }

  /** The answer was stopped by the customer. */
  stop(text) {
    this.#end();
    if (text !== undefined) this.#say(text);
    this.note(this.#words.stopped);
  }

  /** Thumbs; `give` sends the verdict and says whether it arrived. */
  offerFeedback(give) {
    const thumbs = [["up", this.#words.helpful], ["down", this.#words.unhelpful]].map(([verdict, label]) => {
      const button = make("button", { class: "thumb", type: "button", "aria-label": label, title: label, "aria-pressed": "false" });
      button.append(icon(verdict));
      button.addEventListener("click", async () => {
        for (const thumb of thumbs) thumb.setAttribute("aria-pressed", String(thumb === button));
        if (!(await give(verdict))) button.setAttribute("aria-pressed", "false");
      });
      return button;
    });
    this.#parts.margin.append(make("span", { class: "thumbs" }, ...thumbs));
  }

  #show(body) {
    switch (body.type) {
      case "restart":
        this.#clear();
        break;
      case "intent":
        this.#intent(body.intent);
        break;
      case "parked":
        this.note(this.#words.parked(body.place));
        break;
      case "sources":
        this.#sources(body.citations);
        break;
      case "delta":
        this.#say(this.text + body.text);
        break;
      case "done":
        this.note("");
        this.#answer(body.answer);
        break;
      case "cancelled":
        this.stop(body.text);
        break;
    }
  }

  #answer(answer) {
    this.#end();
    this.#say(answer.text);
    this.#intent(answer.intent);
    this.#sources(answer.citations);
    this.element.lang = answer.language === "zh" ? "zh-CN" : answer.language === "en" ? "en" : "";
    const words = this.#words;
    const { margin } = this.#parts;
    if (answer.kind === "refusal") margin.prepend(make("span", { class: "chip warn", text: words.refusal }));
    if (answer.kind === "handover") margin.prepend(make("span", { class: "chip call", text: words.handover }));
    if (answer.kind === "refusal" || answer.kind === "handover") this.element.classList.add(answer.kind);
    if (answer.degraded?.length) {
      margin.append(make("span", { class: "chip", text: words.degraded, title: answer.degraded.join(", ") }));
    }
  }

  #say(text) {
    this.#parts.waiting.hidden = text !== "";
    this.#parts.text.textContent = text;
  }

  #intent(intent) {
    this.#parts.intent?.remove();
    this.#parts.intent = null;
    if (!intent || intent.name === "unknown") return;
    const name = intent.name === "out_of_scope" ? this.#words.outOfScope : intent.name.replaceAll("_", " ");
    const sure = percent(intent.confidence);
    const chip = make("span", { class: "chip", title: this.#words.sure(sure) }, make("b", { text: name }), ` ${sure}%`);
    this.#parts.intent = chip;
    this.#parts.margin.prepend(chip);
  }

  #sources(citations = []) {
    const { sources } = this.#parts;
    sources.hidden = citations.length === 0;
    const items = citations.map(({ title, url, snippet, score }) => {
      const link = safeLink(url);
      const name = link
        ? make("a", { href: link, target: "_blank", rel: "noopener noreferrer", text: title, title: snippet ?? "" })
        : make("span", { text: title, title: snippet ?? "" });
      return make("li", {}, name, make("span", { class: "score", text: this.#words.score(percent(score)) }));
    });
    sources.replaceChildren(make("h3", { text: this.#words.sources }), make("ol", {}, ...items));
  }

  #clear() {
    this.#say("");
    this.#intent(null);
    this.#sources([]);
  }

  #end() {
    this.note(null);
    this.#parts.waiting.remove();
    this.element.classList.remove("streaming");
    this.element.removeAttribute("aria-busy");
  }

  #countDown(button, seconds) {
    button.disabled = seconds > 0;
    button.textContent = seconds > 0 ? this.#words.againIn(seconds) : this.#words.again;
    if (seconds > 0) setTimeout(() => this.#countDown(button, seconds - 1), 1000);
  }
}
