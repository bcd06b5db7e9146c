// SPDX-License-Identifier: Apache-2.0
// The labels of one clip: what the server has, with edits that are on their way. Every edit is sent at once and in order.

import { Refused, read, send } from "./api.js";

const keyOf = (kind, object, step) => `${kind} ${object} ${step}`;
export const COLOURS = ["#e6843c", "#3f9bd8", "#4fb477", "#c964b5", "#d9b72f", "#7c7ae0", "#d4504f", "#37b3b0", "#9a7b52", "#8f9aa5"];

export class Clip extends EventTarget {
  constructor(facts, author) {
    super();
    const { items, ...others } = facts;
    Object.assign(this, others);
    this.author = author;
    this.stored = new Map();
    this.shown = new Map();
    this.queue = [];
    this.sending = false;
    this.trouble = false;
    this.take(items);
  }

  static async open(number, author) {
    return new Clip(await read(`/api/clips/${number}`), author);
  }

  /** Take items of the server; an older revision never replaces a newer one. */
  take(items) {
    for (const [kind, object, step, value, revision, author] of items) {
      const key = keyOf(kind, object, step);
      const there = this.stored.get(key);
      if (!there || there.revision < revision) this.stored.set(key, { kind, object, step, value, revision, author });
    }
    this.compose();
  }

  /** What is shown: the server's items with the edits that wait. */
  compose() {
    this.shown = new Map([...this.stored].filter(([, item]) => item.value !== null));
    for (const edit of this.queue) {
      for (const [kind, object, step, value] of edit.changes) {
        if (object < 0) continue;
        if (value === null) this.shown.delete(keyOf(kind, object, step));
        else this.shown.set(keyOf(kind, object, step), { kind, object, step, value, author: this.author });
        if (value === null && kind === "object") this.#dropObject(object);
      }
    }
    this.dispatchEvent(new Event("change"));
  }

  #dropObject(object) {
    for (const [key, item] of this.shown) if (item.object === object) this.shown.delete(key);
  }

  value(kind, object = 0, step = 0) {
    return this.shown.get(keyOf(kind, object, step))?.value ?? null;
  }

  items(kind, object) {
    const found = [...this.shown.values()].filter((item) => item.kind === kind && (object === undefined || item.object === object));
    return found.sort((a, b) => a.object - b.object || a.step - b.step);
  }

  objects() {
    return this.items("object").map((item) => ({ number: item.object, ...item.value }));
  }

  spans(object) {
    return this.value("spans", object)?.spans ?? [];
  }

  middle(step) {
    return (step + 0.5) * this.hop;
  }

  sounds(object, step) {
    const middle = this.middle(step);
    return this.spans(object).some(([start, end]) => start <= middle && middle < end);
  }

  /** The sentence that holds in a step, with the step from which it does; null where nobody has said any. */
  sentence(object, step) {
    const earlier = this.items("sentence", object).filter((item) => item.step <= step);
    return earlier.length ? earlier[earlier.length - 1] : null;
  }

  /** Send changes as [kind, object, step, value]; a promise of the changed items, or of null where they were refused. */
  edit(...changes) {
    return new Promise((resolve) => {
      this.queue.push({ path: "edit", changes, resolve });
      this.compose();
      this.#send();
    });
  }

  undo() {
    return this.#reverse("undo");
  }

  redo() {
    return this.#reverse("redo");
  }

  #reverse(path) {
    return new Promise((resolve) => {
      this.queue.push({ path, changes: [], resolve });
      this.#send();
    });
  }

  /** Number of edits that the server does not have yet. */
  get waiting() {
    return this.queue.length;
  }

  async #send() {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length) {
      const edit = this.queue[0];
      const changes = edit.changes.map(([kind, object, step, value]) => {
        return [kind, object, step, value, this.stored.get(keyOf(kind, object, step))?.revision ?? 0];
      });
      const body = { author: this.author, ...(edit.path === "edit" ? { changes } : {}) };
      try {
        const { items } = await send(`/api/clips/${this.number}/${edit.path}`, body);
        this.queue.shift();
        this.trouble = false;
        this.take(items);
        edit.resolve(items);
      } catch (error) {
        if (error instanceof Refused && error.status < 500) {
          this.queue.shift();
          this.take(error.items);
          edit.resolve(null);
          this.dispatchEvent(new CustomEvent("refused", { detail: error.message }));
        } else {
          this.trouble = error instanceof Refused ? error.message : "no answer from the server";
          this.dispatchEvent(new Event("change"));
          await new Promise((done) => setTimeout(done, 1500));
        }
      }
    }
    this.sending = false;
    this.dispatchEvent(new Event("change"));
  }

  /** What others and helpers have changed since. */
  async news() {
    const news = await read(`/api/clips/${this.number}/news?since=${this.newest}`);
    this.newest = news.newest;
    if (news.items.length) this.take(news.items);
    this.video = news.video;
    return news;
  }
}
