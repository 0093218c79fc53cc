// What the browser keeps over a reload: who the visitor is, which conversation is open, and the answer still under way.

const PREFIX = "talkfleet.";

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
    for (const key of ["visitor", "conversation", "pending"]) this.#kept.removeItem(PREFIX + key);
  }

  get conversation() {
    return this.#get("conversation") ?? undefined;
  }

  set conversation(id) {
    this.#set("conversation", id);
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
    if (value === undefined || value === null) this.#kept.removeItem(PREFIX + key);
    else this.#kept.setItem(PREFIX + key, JSON.stringify(value));
  }
}
