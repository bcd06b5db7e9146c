// SPDX-License-Identifier: Apache-2.0
// What can be said of a clip: each method makes one edit.

import { send } from "./api.js";
import { COLOURS } from "./model.js";
import { emptyMask, isEmpty } from "./runs.js";

const accepted = ({ proposed, ...value }) => value;

export class Edits {
  setMatch(match) {
    const facts = this.clip.value("clip") ?? { note: "" };
    return this.clip.edit(["clip", 0, 0, { ...facts, match: facts.match === match ? null : match }]);
  }

  setNote(note) {
    const facts = this.clip.value("clip") ?? { match: null };
    return this.clip.edit(["clip", 0, 0, { ...facts, note }]);
  }

  /** Make an object and select it; a promise of its number, or of 0 where it was refused. */
  async newObject() {
    const count = this.clip.objects().length;
    const names = this.folder.classes;
    const value = { name: names.length ? names[0] : `object ${count + 1}`, colour: COLOURS[count % COLOURS.length] };
    const items = await this.clip.edit(["object", -1, 0, value]);
    if (!items) return 0;
    this.select(items[0][1]);
    this.focus("#object-name");
    return this.selected;
  }

  /** Whether an object is selected; makes the first one. */
  async needObject() {
    if (this.selected) return true;
    if (this.clip.objects().length) {
      this.say("Select an object first: what is drawn belongs to it.");
      return false;
    }
    const made = await this.newObject();
    document.activeElement.blur();
    return made > 0;
  }

  changeObject(change) {
    const value = this.clip.value("object", this.selected);
    if (value) this.clip.edit(["object", this.selected, 0, { ...accepted(value), ...change }]);
  }

  deleteObject() {
    const name = this.clip.value("object", this.selected)?.name;
    if (!name) return;
    this.clip.edit(["object", this.selected, 0, null]);
    this.say(`“${name}” and all that was said of it is deleted. Undo brings it back.`);
  }

  setMask(value) {
    return this.clip.edit(["mask", this.selected, this.step, value]);
  }

  deleteMask() {
    if (this.clip.value("mask", this.selected, this.step)) this.clip.edit(["mask", this.selected, this.step, null]);
  }

  notInView() {
    if (this.selected) this.setMask(emptyMask(this.clip.size));
  }

  copyMask() {
    const before = this.selected && this.step && this.clip.value("mask", this.selected, this.step - 1);
    if (before) this.setMask(accepted(before));
    else this.say("There is no mask in the step before to copy.");
  }

  /** Proposals about an object, its masks of all steps with them. */
  proposals(object) {
    return [...this.clip.shown.values()].filter((item) => item.object === object && item.value?.proposed && item.kind !== "clip");
  }

  /** Whether a proposal is about this step, or about no step. */
  #isHere(item) {
    const holds = item.kind === "sentence" && this.clip.sentence(item.object, this.step)?.step === item.step;
    return item.step === this.step || item.kind === "object" || item.kind === "spans" || holds;
  }

  /** Accept proposals about the selected object: those of this step and of no step, or all. */
  accept(all) {
    const found = this.proposals(this.selected).filter((item) => all || this.#isHere(item));
    if (!found.length) return false;
    this.clip.edit(...found.map((item) => [item.kind, item.object, item.step, accepted(item.value)]));
    this.stage.clear();
    this.stage.drawMarks();
    return true;
  }

  /** Delete proposals of this step, or the object where it is a proposal itself. */
  reject() {
    const found = this.proposals(this.selected);
    if (found.some((item) => item.kind === "object")) return this.deleteObject();
    const here = found.filter((item) => this.#isHere(item));
    const chosen = here.length ? here : found;
    if (chosen.length) this.clip.edit(...chosen.map((item) => [item.kind, item.object, item.step, null]));
  }

  /** Reject the proposals of this step, or delete its mask where there are none. */
  deleteHere() {
    if (this.proposals(this.selected).some((item) => this.#isHere(item))) this.reject();
    else this.deleteMask();
  }

  /** Show the next proposal of the clip, or the one before. */
  goToProposal(direction) {
    const all = [...this.clip.shown.values()].filter((item) => item.value?.proposed && item.kind !== "clip");
    if (!all.length) return this.say("There are no proposals in this clip.");
    const order = (a, b) => a.object - b.object || a.step - b.step;
    const here = { object: this.selected, step: this.step };
    const sorted = all.sort(order);
    const next = direction > 0 ? sorted.find((item) => order(item, here) > 0) : sorted.findLast((item) => order(item, here) < 0);
    const chosen = next ?? (direction > 0 ? sorted[0] : sorted[sorted.length - 1]);
    this.select(chosen.object);
    this.go(chosen.step);
  }

  nextColour() {
    const value = this.clip.value("object", this.selected);
    if (value) this.changeObject({ colour: COLOURS[(COLOURS.indexOf(value.colour) + 1) % COLOURS.length] });
  }

  setSpans(spans) {
    if (!this.selected) return;
    const { duration } = this.clip;
    const inside = spans.map(([start, end]) => [Math.max(0, start), Math.min(duration, end)]);
    this.clip.edit(["spans", this.selected, 0, { spans: joined(inside) }]);
  }

  /** Have the object sound in this step, or fall silent in it. */
  toggleSound() {
    if (!this.selected) return;
    const start = this.step * this.clip.hop;
    const end = this.step + 1 === this.clip.steps ? this.clip.duration : start + this.clip.hop;
    const spans = this.clip.spans(this.selected);
    if (!this.clip.sounds(this.selected, this.step)) return this.setSpans([...spans, [start, end]]);
    const parts = spans.flatMap(([first, last]) => [[first, Math.min(last, start)], [Math.max(first, end), last]]);
    this.setSpans(parts.filter(([first, last]) => last - first > 0.01));
  }

  /** Start or end a span at the playhead. */
  markSpan(side) {
    if (!this.selected) return;
    const time = this.player.time ?? 0;
    if (side === "start") {
      this.spanStart = time;
      this.say(`A span starts at ${time.toFixed(2)} s; ] ends it.`);
    } else if (this.spanStart === undefined || time <= this.spanStart) this.say("Press [ first where the sound begins.");
    else {
      this.setSpans([...this.clip.spans(this.selected), [this.spanStart, time]]);
      this.spanStart = undefined;
    }
  }

  /** Number of the span of the selected object that is nearest to the playhead, -1 where there is none. */
  #nearestSpan() {
    const time = this.player.time ?? 0;
    const away = this.clip.spans(this.selected).map(([start, end]) => Math.max(start - time, time - end, 0));
    return away.length ? away.indexOf(Math.min(...away)) : -1;
  }

  /** Move the start or the end of the nearest span to the playhead. */
  moveSpan(side) {
    const number = this.#nearestSpan();
    if (number < 0) return this.say("The object has no span. [ and ] make one.");
    const time = this.player.time ?? 0;
    const spans = this.clip.spans(this.selected).map((span) => [...span]);
    spans[number][side === "start" ? 0 : 1] = time;
    if (spans[number][1] - spans[number][0] < 0.02) return this.say("A span ends after its start. Move the playhead first.");
    this.setSpans(spans);
  }

  deleteSpan() {
    const number = this.#nearestSpan();
    const time = this.player.time ?? 0;
    const [start, end] = this.clip.spans(this.selected)[number] ?? [Infinity, -Infinity];
    if (time < start || time > end) return this.say("No span of the object is at the playhead.");
    this.setSpans(this.clip.spans(this.selected).filter((_, other) => other !== number));
  }

  /** Say something from this step on; null takes back what was said in it. */
  setSentence(text) {
    this.panel.save = null;
    this.sentenceSaver()(text);
  }

  /** Saves a sentence of the object and step of now, also when others are shown by then. */
  sentenceSaver() {
    const { clip, selected, step } = this;
    return (text) => {
      const holds = clip.sentence(selected, step);
      const plain = text === null ? null : text.replace(/\s+/g, " ").trim();
      if (plain === null ? holds?.step !== step : plain === (holds?.value.text ?? "") && !holds?.value.proposed) return;
      const drops = plain === "" && !clip.items("sentence", selected).some((item) => item.step < step && item.value.text);
      clip.edit(["sentence", selected, step, plain === null || drops ? null : { text: plain }]);
    };
  }

  async undo() {
    this.panel.flush();
    const items = await this.clip.undo();
    if (items && !items.length) this.say("There is nothing of yours to undo in this clip.");
    this.poll();
  }

  async redo() {
    const items = await this.clip.redo();
    if (items && !items.length) this.say("There is nothing to redo.");
    this.poll();
  }

  /** Ask for a mask when no further point is placed for a moment. */
  askSoon() {
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.ask("masks"), 350);
  }

  async ask(task, more = {}) {
    const { clip, stage } = this;
    if (!clip) return;
    if (task !== "names" && !this.selected && task !== "sentences") return this.say("Select or make an object first.");
    if (task === "masks" && !stage.box && !stage.points.length) return this.say("Draw a box around the object, or click on it.");
    if (task === "masks" && (await this.#waitsForSaving())) return;
    const wish = { author: this.author, task, object: this.selected, step: this.step, ...more };
    if (task === "masks") Object.assign(wish, { box: stage.box, points: stage.points });
    try {
      await send(`/api/clips/${clip.number}/jobs`, wish);
    } catch (error) {
      this.say(error.message);
    }
    this.poll();
  }

  async #waitsForSaving() {
    for (let k = 0; k < 100 && this.clip.waiting; k++) await new Promise((done) => setTimeout(done, 50));
    return this.clip.waiting > 0;
  }

  /** Follow the mask of this step up to the next step with a mask that a person made. */
  async track(direction) {
    const { clip, selected, step } = this;
    const mask = selected && clip.value("mask", selected, step);
    if (!mask || isEmpty(mask)) return this.say("There is no mask in this step to follow. Draw one first.");
    let last = step;
    for (let next = step + direction; next >= 0 && next < clip.steps; next += direction) {
      const there = clip.value("mask", selected, next);
      if (there && !there.proposed) break;
      last = next;
    }
    if (last === step) return this.say(`Step ${step + direction + 1} has a mask already, or there is no such step.`);
    if (await this.#waitsForSaving()) return;
    this.ask("tracker", { last });
  }
}

/** Spans in order, those that touch joined. */
function joined(spans) {
  const found = [];
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    if (end <= start) continue;
    const last = found[found.length - 1];
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else found.push([start, end]);
  }
  return found;
}
