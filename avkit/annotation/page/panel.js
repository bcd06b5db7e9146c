// SPDX-License-Identifier: Apache-2.0
// Review, objects, sentence and what is missing, beside the picture.

import { isEmpty } from "./runs.js";

const at = (selector) => document.querySelector(selector);

function fill(input, value) {
  if (document.activeElement !== input && input.value !== value) input.value = value;
}

export class Panel {
  constructor(page) {
    this.page = page;
    for (const button of document.querySelectorAll("[data-match]")) {
      button.addEventListener("click", () => page.setMatch(button.dataset.match));
    }
    at("#note").addEventListener("change", (event) => page.setNote(event.target.value));
    at("#add-object").addEventListener("click", () => page.newObject());
    at("#object-name").addEventListener("change", (event) => page.changeObject({ name: event.target.value }));
    at("#object-colour").addEventListener("change", (event) => page.changeObject({ colour: event.target.value }));
    at("#delete-object").addEventListener("click", () => page.deleteObject());
    at("#accept").addEventListener("click", () => page.accept(false));
    at("#accept-all").addEventListener("click", () => page.accept(true));
    at("#reject").addEventListener("click", () => page.reject());
    at("#sounds-here").addEventListener("click", () => page.toggleSound());
    at("#sounds-always").addEventListener("click", () => page.setSpans([[0, page.clip.duration]]));
    at("#end-sentence").addEventListener("click", () => page.setSentence(""));
    at("#drop-sentence").addEventListener("click", () => page.setSentence(null));
    const text = at("#sentence");
    text.addEventListener("input", () => {
      clearTimeout(this.timer);
      const save = page.sentenceSaver();
      this.save = () => save(text.value);
      this.timer = setTimeout(() => this.flush(), 700);
    });
    text.addEventListener("blur", () => this.flush());
    addEventListener("pagehide", () => this.flush());
    for (const task of ["names", "boxes", "sentences"]) at(`#ask-${task}`).addEventListener("click", () => page.ask(task));
  }

  /** Save the sentence that is being typed, before anything else is shown. */
  flush() {
    clearTimeout(this.timer);
    const { save } = this;
    this.save = null;
    save?.();
  }

  open(folder) {
    for (const task of ["names", "boxes", "sentences"]) {
      const helper = folder.helpers[task];
      at(`#ask-${task}`).hidden = !helper || helper === "none";
    }
    at("#names").replaceChildren(...folder.classes.map((name) => new Option(name, name)));
  }

  draw() {
    const { clip, step, selected } = this.page;
    if (!clip) return;
    const facts = clip.value("clip") ?? { match: null, note: "" };
    for (const button of document.querySelectorAll("[data-match]")) {
      button.setAttribute("aria-checked", button.dataset.match === facts.match);
    }
    fill(at("#note"), facts.note);
    this.#drawObjects(clip, step, selected);
    const object = clip.objects().find((entry) => entry.number === selected);
    at("#details").hidden = !object;
    if (object) this.#drawDetails(clip, step, object);
    this.#drawSentence(clip, step, object);
  }

  #drawObjects(clip, step, selected) {
    const rows = [{ number: 0, name: "everything that sounds", colour: null }, ...clip.objects()].map((object) => {
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", object.number === selected);
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = object.colour ?? "conic-gradient(#e6843c, #3f9bd8, #4fb477, #c964b5, #e6843c)";
      const name = document.createElement("span");
      name.className = "name";
      name.textContent = object.name;
      button.append(swatch, name);
      const proposals = object.number ? this.page.proposals(object.number).length : clip.items("sentence", 0).filter((item) => item.value.proposed).length;
      if (proposals) {
        const tag = document.createElement("span");
        tag.className = "tag";
        tag.textContent = `${proposals} proposed`;
        button.append(tag);
      }
      if (object.number && clip.sounds(object.number, step)) {
        const sounds = document.createElement("small");
        sounds.textContent = "♪";
        sounds.title = "sounds in this step";
        button.append(sounds);
      }
      button.addEventListener("click", () => this.page.select(object.number));
      row.append(button);
      return row;
    });
    at("#objects").replaceChildren(...rows);
  }

  #drawDetails(clip, step, object) {
    fill(at("#object-name"), object.name);
    at("#object-colour").value = object.colour;
    const mask = clip.value("mask", object.number, step);
    let words = "no mask in this step";
    if (mask) {
      const inside = mask.runs.reduce((sum, run, k) => sum + (k % 2 ? run : 0), 0);
      const share = (100 * inside) / (mask.size[0] * mask.size[1]);
      words = isEmpty(mask) ? "not in view in this step" : `mask of ${share.toFixed(1)} % of the picture`;
      if (mask.proposed) words += `, proposed by ${mask.proposed}`;
    }
    at("#mask-state").textContent = words;
    at("#proposal-buttons").hidden = this.page.proposals(object.number).length === 0;
    at("#sounds-here").setAttribute("aria-pressed", clip.sounds(object.number, step));
  }

  #drawSentence(clip, step, object) {
    at("#sentence-title").textContent = object ? `Sentence on ${object.name}` : "Sentence on everything that sounds";
    const item = clip.sentence(object?.number ?? 0, step);
    const text = at("#sentence");
    if (!this.save) fill(text, item?.value.text ?? "");
    text.classList.toggle("proposed", Boolean(item?.value.proposed));
    let words = "none yet; it will hold until another step says something else";
    if (item) {
      words = item.step === step ? "said in this step" : `holds since step ${item.step + 1}; typing begins a new one here`;
      if (!item.value.text) words = `nothing is said since step ${item.step + 1}`;
      if (item.value.proposed) words += `, proposed by ${item.value.proposed}`;
    }
    at("#sentence-state").textContent = words;
    at("#drop-sentence").disabled = !item || item.step !== step;
    at("#end-sentence").disabled = !item?.value.text;
  }

  drawGaps(state) {
    const gaps = state.gaps.length ? state.gaps : [state.state === "new" ? "nothing is labelled yet" : "nothing: this clip is labelled"];
    at("#gaps").replaceChildren(
      ...gaps.map((gap) => {
        const line = document.createElement("li");
        line.textContent = gap;
        if (state.state === "done") line.className = "ok";
        return line;
      }),
    );
  }
}
