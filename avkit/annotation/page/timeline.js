// SPDX-License-Identifier: Apache-2.0
// Steps, waveform, spectrogram, and a lane per object; spans of the selected object are dragged on the sound.

import { read } from "./api.js";
import { isEmpty } from "./runs.js";

const THUMBNAILS = 60;
const MIN_STEP = 26;

function element(name, className, parent) {
  const made = document.createElement(name);
  made.className = className;
  parent.append(made);
  return made;
}

export class Timeline {
  constructor(page) {
    this.page = page;
    this.track = document.querySelector("#track");
    this.steps = document.querySelector("#steps");
    this.sound = document.querySelector("#sound");
    this.waveform = document.querySelector("#waveform");
    this.spans = document.querySelector("#spans");
    this.lanes = document.querySelector("#lanes");
    this.playhead = document.querySelector("#playhead");
    this.sound.addEventListener("pointerdown", (event) => this.#pressed(event));
    this.sound.addEventListener("pointermove", (event) => this.#moved(event));
    this.sound.addEventListener("pointerup", (event) => this.#released(event));
    this.sound.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    new ResizeObserver(() => this.#drawWaveform()).observe(this.sound);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#drawWaveform());
  }

  async open(clip) {
    this.drag = null;
    this.peaks = null;
    this.#drawWaveform();
    this.track.style.width = "100%";
    this.track.style.minWidth = `${clip.steps * MIN_STEP}px`;
    this.steps.replaceChildren();
    for (let step = 0; step < clip.steps; step++) {
      const button = element("button", "", this.steps);
      button.type = "button";
      button.tabIndex = -1;
      button.setAttribute("aria-label", `Step ${step + 1}`);
      button.addEventListener("click", () => this.page.go(step));
      if (clip.steps <= THUMBNAILS) button.style.backgroundImage = `url("/api/clips/${clip.number}/frames/${step}")`;
      element("span", "number", button).textContent = step + 1;
      element("span", "dots", button);
    }
    document.querySelector("#spectrogram").src = `/api/clips/${clip.number}/spectrogram`;
    const peaks = await read(`/api/clips/${clip.number}/peaks?columns=1600`);
    if (this.page.clip === clip) this.peaks = peaks;
    this.#drawWaveform();
  }

  #drawWaveform() {
    const canvas = this.waveform;
    const width = Math.min(16000, Math.round(canvas.clientWidth * devicePixelRatio)); // canvases have a limit
    if (!width) return;
    canvas.width = width;
    canvas.height = Math.round(60 * devicePixelRatio);
    if (!this.peaks) return;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    const loudest = Math.max(0.05, ...this.peaks.map(([low, high]) => Math.max(-low, high)));
    const half = canvas.height / 2;
    const column = width / this.peaks.length;
    this.peaks.forEach(([low, high], k) => {
      const top = half - (high / loudest) * half * 0.95;
      context.fillRect(k * column, top, Math.max(1, column), Math.max(1, half - (low / loudest) * half * 0.95 - top));
    });
  }

  /** Draw what depends on labels. */
  draw() {
    const { clip, step, selected } = this.page;
    if (!clip) return;
    const objects = clip.objects();
    [...this.steps.children].forEach((button, k) => {
      button.setAttribute("aria-current", k === step);
      const dots = button.querySelector(".dots");
      dots.replaceChildren();
      for (const object of objects) {
        const mask = clip.value("mask", object.number, k);
        if (!mask) continue;
        const dot = element("i", "", dots);
        dot.style.borderColor = object.colour;
        if (!mask.proposed && !isEmpty(mask)) dot.style.background = object.colour;
        dot.title = `${object.name}: ${mask.proposed ? "proposed" : isEmpty(mask) ? "not in view" : "mask"}`;
      }
    });
    this.#drawSpans(objects.find((object) => object.number === selected));
    this.lanes.replaceChildren();
    for (const object of objects) this.#drawLane(object);
    if (clip.items("sentence", 0).length || selected === 0) this.#drawLane({ number: 0, name: "everything", colour: "#8f9aa5" });
  }

  #share(time) {
    return `${(100 * Math.min(Math.max(time / this.page.clip.duration, 0), 1)).toFixed(3)}%`;
  }

  #drawSpans(object) {
    this.spans.replaceChildren();
    if (!object) return;
    const { clip } = this.page;
    const spans = this.drag?.spans ?? clip.spans(object.number);
    spans.forEach(([start, end], k) => {
      const span = element("div", clip.value("spans", object.number)?.proposed ? "span proposed" : "span", this.spans);
      span.dataset.number = k;
      span.title = `${object.name} sounds from ${start.toFixed(2)} to ${end.toFixed(2)} s; double click deletes`;
      span.style.left = this.#share(start);
      span.style.width = this.#share(end - start);
      span.style.color = object.colour;
      span.style.borderColor = object.colour;
      element("b", "start", span);
      element("b", "end", span);
      span.addEventListener("dblclick", (event) => {
        event.stopPropagation();
        this.page.setSpans(clip.spans(object.number).filter((_, other) => other !== k));
      });
    });
  }

  #drawLane(object) {
    const { clip, selected } = this.page;
    const lane = element("div", object.number === selected ? "lane selected" : "lane", this.lanes);
    lane.addEventListener("click", (event) => {
      this.page.select(object.number);
      this.page.go(Math.min(clip.steps - 1, Math.floor(this.#time(event, lane) / clip.hop)));
    });
    const isProposed = clip.value("spans", object.number)?.proposed;
    for (const [start, end] of clip.spans(object.number)) {
      const bar = element("div", isProposed ? "bar proposed" : "bar", lane);
      bar.style.left = this.#share(start);
      bar.style.width = this.#share(end - start);
      bar.style.background = object.colour;
    }
    const sentences = clip.items("sentence", object.number);
    sentences.forEach((item, k) => {
      if (!item.value.text) return;
      const text = element("div", item.value.proposed ? "text proposed" : "text", lane);
      const end = k + 1 < sentences.length ? sentences[k + 1].step * clip.hop : clip.duration;
      text.style.left = this.#share(item.step * clip.hop);
      text.style.width = this.#share(end - item.step * clip.hop);
      text.style.borderColor = object.colour;
      text.textContent = item.value.text;
      text.title = item.value.text;
    });
    if (!sentences.length) element("div", "empty", lane).textContent = `${object.name}: no sentence`;
  }

  #time(event, inside = this.sound) {
    const room = inside.getBoundingClientRect();
    const time = ((event.clientX - room.left) / room.width) * this.page.clip.duration;
    return Math.min(Math.max(time, 0), this.page.clip.duration);
  }

  #pressed(event) {
    const { clip, selected } = this.page;
    if (!clip || event.button) return;
    this.sound.setPointerCapture(event.pointerId);
    const time = this.#time(event);
    const span = event.target.closest(".span");
    const part = event.target.className === "start" ? "start" : event.target.className === "end" ? "end" : "middle";
    const number = span ? Number(span.dataset.number) : -1;
    this.drag = { time, number, part, before: selected ? clip.spans(selected) : [], spans: null };
  }

  #moved(event) {
    if (!this.drag) return;
    const { clip, selected } = this.page;
    const { number, part, before } = this.drag;
    const time = this.#time(event);
    const reach = (4 * clip.duration) / this.sound.clientWidth;
    if (!this.drag.spans && Math.abs(time - this.drag.time) < reach) return;
    if (!selected) {
      this.drag = null;
      this.page.say("Select or make an object first; then drag on the sound where it sounds.");
      return;
    }
    const spans = before.map((span) => [...span]);
    if (number < 0) spans.push([Math.min(time, this.drag.time), Math.max(time, this.drag.time)]);
    else {
      const [start, end] = before[number];
      if (part === "start") spans[number] = [Math.min(time, end - 0.02), end];
      else if (part === "end") spans[number] = [start, Math.max(time, start + 0.02)];
      else {
        const shift = Math.min(Math.max(time - this.drag.time, -start), clip.duration - end);
        spans[number] = [start + shift, end + shift];
      }
    }
    this.drag.spans = spans;
    this.draw();
  }

  #released(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.spans) this.page.setSpans(drag.spans);
    else this.page.seek(this.#time(event));
  }

  showTime(time) {
    this.playhead.style.left = this.#share(time);
  }

  /** Scroll the step into view in long clips. */
  follow(step) {
    const scroller = this.track.parentElement;
    if (this.track.clientWidth <= scroller.clientWidth) return;
    const width = this.track.clientWidth / this.page.clip.steps;
    const left = step * width;
    if (left < scroller.scrollLeft || left + width > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = left - scroller.clientWidth / 2;
    }
  }
}
