// What the browser keeps over a reload: who the visitor is, the open conversation, and the answer still under way.

const PREFIX = "talkfleet.";

/** Turns that are kept here, since the desk's history is written a moment after the answer, and can be away. */
const TURNS_MAX = 50;

/** The browser's own storage, or a plain map where it is forbidden. */
function storage() {
  try {
    localStorage.setItem(`${PREFIX}probe`, "1");
    localStorage.removeItem(`${PREFIX}probe`);
    return localStorage;
  } catch {
    const map = new Map();
    return {
      getItem: (key) => map.get(key) ?? null,
      setItem: (key, value) => void map.set(key, value),
      removeItem: (key) => void map.delete(key),
    };
  }
}

export class Store {
  #kept = storage();

  visitor() {
    return this.#get("visitor");
  }

  keepVisitor(visitor) {
    this.#set("visitor", visitor);
  }

  /** A new visitor owns none of the old one's conversations. */
  forget() {
    for (const key of ["visitor", "conversation", "pending", "turns"]) this.#kept.removeItem(PREFIX + key);
  }

  get conversation() {
    return this.#get("conversation") ?? undefined;
  }

  set conversation(id) {
    if (id !== this.conversation) this.#set("turns", null);
    this.#set("conversation", id);
  }

  /** The newest turns of the open conversation, in the shape of the desk's history. */
  get turns() {
    return this.#get("turns") ?? [];
  }

  keepTurn(turn) {
    this.#set("turns", [...this.turns.filter(({ id }) => id !== turn.id), turn].slice(-TURNS_MAX));
  }

  /** `{text, request, conversation}` of an answer that was not finished. */
  get pending() {
    return this.#get("pending");
  }

  set pending(turn) {
    this.#set("pending", turn);
  }

  get language() {
    return this.#get("language");
  }

  set language(tag) {
    this.#set("language", tag);
  }

  #get(key) {
    try {
      return JSON.parse(this.#kept.getItem(PREFIX + key));
    } catch {
      return null;
    }
  }

  #set(key, value) {
    try {
      if (value === undefined || value === null) this.#kept.removeItem(PREFIX + key);
      else this.#kept.setItem(PREFIX + key, JSON.stringify(value));
    } catch {
      // The browser's room is used up: the conversation goes on, a reload shows less of it.
    }
  }
}
