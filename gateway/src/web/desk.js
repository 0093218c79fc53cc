// The way to the desk: a visitor's token, questions, and frames read from an event stream.

/** Keep-alive comments come far more often than this; a longer silence means that the connection is dead. */
const SILENCE_MAX_MS = 40_000;

/** A token that is about to expire would run out in mid-question. */
const EXPIRY_MARGIN_MS = 60_000;

/** What stood in the way, as the server's problem+json tells it. */
export class Problem extends Error {
  constructor({ code = "other", message = "", retry_after_ms = 0 }, status = 0) {
    super(message || code);
    this.code = code;
    this.status = status;
    this.retryAfterMs = retry_after_ms;
  }
}

/** The last frame of an answer is one of these. */
const LAST = new Set(["done", "failed", "expired", "cancelled"]);
export const isLast = (frame) => LAST.has(frame.body.type);

export class Desk {
  #store;

  constructor(store) {
    this.#store = store;
  }

  /** Asks; yields the frames of the answer. The key lets the same question be sent twice and answered once. */
  ask({ text, conversation, key, signal }) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    return this.#frames("/v1/chat", { method: "POST", headers, body: JSON.stringify({ text, conversation }), signal });
  }

  /** Yields the frames that follow `after`, written `attempt.seq`. */
  resume({ request, after, signal }) {
    return this.#frames(`/v1/chat/${encodeURIComponent(request)}/stream?after=${encodeURIComponent(after)}`, { signal });
  }

  cancel(request) {
    return this.#call(`/v1/chat/${encodeURIComponent(request)}/cancel`, { method: "POST" });
  }

  feedback(request, verdict) {
    const headers = { "Content-Type": "application/json" };
    return this.#call("/v1/feedback", { method: "POST", headers, body: JSON.stringify({ id: request, verdict }) });
  }

  /** The turns of a conversation, oldest first. */
  async history(conversation) {
    const response = await this.#call(`/v1/conversations/${encodeURIComponent(conversation)}`, {});
    return (await response.json()).turns ?? [];
  }

  async *#frames(path, { headers, signal, ...rest }) {
    const silence = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
    };
    heard();
    try {
      const both = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
      const accept = { ...headers, Accept: "text/event-stream" };
      const response = await this.#call(path, { ...rest, headers: accept, signal: both });
      for await (const data of events(response.body, heard)) {
        const { request, attempt, seq, body } = JSON.parse(data);
        // An event that is no frame says that the server goes away: the stream ends, and is taken up elsewhere.
        if (request && body?.type) yield { request, attempt, seq, body };
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #call(path, options, again = true) {
    const headers = { ...options.headers, Authorization: `Bearer ${await this.#token()}` };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.code === "unauthenticated") this.#store.forget();
    // Only a question may go on as somebody new; everything else belongs to the visitor of before.
    if (problem.code === "unauthenticated" && again && path === "/v1/chat") {
      const body = JSON.stringify({ ...JSON.parse(options.body), conversation: undefined });
      return this.#call(path, { ...options, body }, false);
    }
    throw problem;
  }

  async #token() {
    const kept = this.#store.visitor();
    if (kept && expiry(kept) - Date.now() > EXPIRY_MARGIN_MS) return kept.token;
    this.#store.forget();
    const response = await fetch("/v1/visitors", { method: "POST", cache: "no-store" });
    if (!response.ok) throw await problemOf(response);
    const visitor = await response.json();
    this.#store.keepVisitor(visitor);
    return visitor.token;
  }
}

/** The data of each event in a stream of server-sent events. */
async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function problemOf(response) {
  const told = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return new Problem({ ...told, retry_after_ms: told.retry_after_ms ?? seconds * 1000 }, response.status);
}

/** When a visitor's token ends, in milliseconds; the server tells it as Unix seconds, milliseconds or a date. */
function expiry({ expires_at: at }) {
  if (typeof at === "number") return at < 1e12 ? at * 1000 : at;
  return Date.parse(at) || 0;
}
