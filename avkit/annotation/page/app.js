// SPDX-License-Identifier: Apache-2.0
// The page: one clip at a time, with everything that can be done to it.

import { read } from "./api.js";
import { ClipList } from "./clips.js";
import { bindDialogs } from "./dialogs.js";
import { JobList } from "./jobs.js";
import { bindKeys } from "./keys.js";
import { Clip } from "./model.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Stage, TOOLS } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Edits } from "./edits.js";

const at = (selector) => document.querySelector(selector);

class Page extends Edits {
  constructor() {
    super();
    this.step = 0;
    this.selected = 0;
    this.author = localStorage.getItem("avkit-annotate-name") ?? "";
    this.stage = new Stage(this);
    this.timeline = new Timeline(this);
    this.panel = new Panel(this);
    this.player = new Player(this);
    this.jobs = new JobList(this);
    this.list = new ClipList(this);
    this.#bind();
    bindKeys(this);
    this.dialogs = bindDialogs(this);
  }

  #bind() {
    const clicks = {
      "#previous-clip": () => this.otherClip(-1),
      "#next-clip": () => this.otherClip(1),
      "#undo": () => this.undo(),
      "#redo": () => this.redo(),
      "#play": () => this.toggle(),
      "#step-back": () => this.go(this.step - 1),
      "#step-on": () => this.go(this.step + 1),
      "#ask-masks": () => this.ask("masks"),
      "#ask-tracker": () => this.track(1),
      "#ask-back": () => this.track(-1),
      "#copy-mask": () => this.copyMask(),
      "#not-in-view": () => this.notInView(),
      "#open-keys": () => this.showKeys(),
      "#show-clips": () => this.#showClips(!at("#clips").classList.contains("open")),
    };
    for (const [selector, action] of Object.entries(clicks)) at(selector).addEventListener("click", action);
    for (const [name, [words, key, about]] of Object.entries(TOOLS)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.title = `${about} (${key})`;
      button.dataset.tool = name;
      button.addEventListener("click", () => this.setTool(name));
      at("#tool-buttons").append(button);
    }
    at("#brush-size").addEventListener("input", (event) => this.setBrush(Number(event.target.value)));
    at("#masks-shown").addEventListener("change", (event) => this.showMasks(event.target.checked));
    // a button that was clicked lets the keys go back to the clip
    document.addEventListener("click", (event) => {
      if (event.detail && !event.target.closest("dialog")) event.target.closest("button, input[type=checkbox], input[type=range]")?.blur();
    });
    addEventListener("beforeunload", (event) => {
      this.panel.flush();
      if (this.clip?.waiting) event.preventDefault();
    });
    addEventListener("hashchange", () => this.#openAddress());
  }

  async start() {
    if (!this.author) await this.dialogs.askName();
    this.folder = await read("/api/folder");
    at("#folder-name").textContent = this.folder.name;
    document.title = `${this.folder.name} · avkit annotate`;
    this.panel.open(this.folder);
    this.list.open(this.folder.clips);
    this.setTool("box");
    await this.#openAddress();
    const again = async () => {
      await this.poll();
      setTimeout(again, this.jobs.running || this.clip?.video === "making" ? 350 : 2000);
    };
    again();
  }

  async #openAddress() {
    const number = Number(location.hash.slice(1));
    const known = this.list.clips.some((clip) => clip.number === number);
    const first = this.list.clips.find((clip) => clip.state !== "broken") ?? this.list.clips[0];
    await this.openClip(known ? number : first.number);
  }

  #showClips(open) {
    at("#clips").classList.toggle("open", open);
    at("#show-clips").setAttribute("aria-expanded", open);
  }

  async openClip(number) {
    this.#showClips(false);
    if (this.clip?.number === number) return;
    this.panel.flush();
    let clip;
    try {
      clip = await Clip.open(number, this.author);
    } catch (error) {
      this.say(error.message);
      return;
    }
    this.clip = clip;
    clip.addEventListener("change", () => clip === this.clip && this.draw());
    clip.addEventListener("refused", (event) => this.say(event.detail));
    history.replaceState(null, "", `#${number}`);
    at("#clip-name").textContent = clip.name;
    at("#clip-name").title = clip.name;
    this.step = 0;
    this.selected = clip.objects()[0]?.number ?? 0;
    this.stage.open(clip);
    this.player.open(clip);
    this.list.showCurrent();
    this.timeline.open(clip).catch((error) => this.say(error.message));
    this.go(0);
    await this.poll();
  }

  otherClip(shift) {
    const number = this.list.beside(this.clip?.number, shift);
    if (number !== null) this.openClip(number);
  }

  /** Ask what others and helpers have changed. */
  async poll() {
    const { clip } = this;
    if (!clip) return;
    try {
      const news = await clip.news();
      if (clip !== this.clip) return;
      this.jobs.update(news.jobs);
      this.list.update(news.state);
      this.panel.drawGaps(news.state);
      this.player.update(clip);
      this.offline = false;
    } catch (error) {
      this.offline = !error.status;
    }
    this.drawSaved();
  }

  /** Show a step, and move the playhead to its middle. */
  go(step) {
    if (!this.clip) return;
    this.pause();
    const wanted = Math.min(Math.max(step, 0), this.clip.steps - 1);
    if (wanted !== this.step) {
      this.panel.flush();
      this.stage.clear();
    }
    this.step = wanted;
    this.player.seek(this.clip.middle(wanted));
    this.stage.showFrame(`/api/clips/${this.clip.number}/frames/${wanted}`);
    this.timeline.follow(wanted);
    this.draw();
    this.stage.drawMarks();
  }

  seek(time) {
    this.go(Math.floor(time / this.clip.hop));
    this.player.seek(time);
    this.drawTransport();
  }

  /** While playing: the playhead, and the step that it is in. */
  showTime(time) {
    const step = Math.min(Math.floor(time / this.clip.hop), this.clip.steps - 1);
    if (step !== this.step) {
      this.panel.flush();
      this.step = step;
      this.stage.clear();
      this.stage.showFrame(`/api/clips/${this.clip.number}/frames/${step}`);
      this.timeline.follow(step);
      this.draw();
      this.stage.drawMarks();
    } else this.drawTransport();
  }

  toggle() {
    this.player.toggle();
  }

  pause() {
    this.player.video.pause();
  }

  select(number) {
    if (number === this.selected) return;
    this.panel.flush();
    this.selected = number;
    this.stage.clear();
    this.draw();
    this.stage.drawMarks();
  }

  selectPlace(place) {
    const object = this.clip?.objects()[place];
    if (object) this.select(object.number);
  }

  setTool(name) {
    this.stage.tool = name;
    this.stage.corners = [];
    for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === name);
    at("#brush-size-label").hidden = !["brush", "eraser"].includes(name);
    this.stage.drawMarks();
  }

  setBrush(size) {
    this.stage.brush = Math.min(Math.max(size, 1), 80);
    at("#brush-size").value = this.stage.brush;
    this.stage.drawMarks();
  }

  showMasks(shown) {
    this.stage.shown = shown;
    at("#masks-shown").checked = shown;
    this.stage.draw();
  }

  searchClips() {
    this.#showClips(true);
    this.focus("#clip-search");
  }

  focus(selector) {
    at(selector).focus();
    at(selector).select();
  }

  draw() {
    if (!this.clip) return;
    if (this.selected && !this.clip.value("object", this.selected)) this.selected = this.clip.objects()[0]?.number ?? 0;
    this.stage.draw();
    this.timeline.draw();
    this.panel.draw();
    this.drawTransport();
    this.drawSaved();
  }

  drawTransport() {
    const { clip, step } = this;
    if (!clip) return;
    const time = this.player.time ?? 0;
    at("#play").textContent = this.player.playing ? "❚❚" : "▶";
    at("#step-number").textContent = `step ${step + 1} of ${clip.steps}`;
    at("#clock").textContent = `${time.toFixed(2)} / ${clip.duration.toFixed(2)} s`;
    this.timeline.showTime(time);
  }

  drawSaved() {
    const waits = this.clip?.waiting ?? 0;
    const trouble = this.clip?.trouble || this.offline;
    at("#saved").classList.toggle("trouble", Boolean(trouble));
    at("#saved").textContent = trouble ? `${this.clip?.trouble || "no answer from the server"}; ${waits} edits wait` : waits ? "saving" : "saved";
    at("#author").textContent = this.author;
  }

  showKeys() {
    at("#keys").showModal();
    at("#keys").scrollTop = 0; // the button at its end has the focus
  }

  say(words) {
    at("#message").textContent = words;
    at("#message").hidden = false;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => (at("#message").hidden = true), 6000);
  }
}

new Page().start();
