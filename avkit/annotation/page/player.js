// SPDX-License-Identifier: Apache-2.0
// Playing the video with its sound, and the place in time.

import { send } from "./api.js";

export class Player {
  constructor(page) {
    this.page = page;
    this.video = document.querySelector("#video");
    this.note = document.querySelector("#stage-note");
    this.source = "";
    this.video.addEventListener("play", () => this.#follow());
    this.video.addEventListener("pause", () => this.#stopped());
    this.video.addEventListener("ended", () => this.#stopped());
    this.video.addEventListener("error", () => this.#failed());
  }

  open(clip) {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.source = "";
    this.asked = false;
    this.time = 0;
    this.update(clip);
  }

  /** Load the video once it can be played. */
  update(clip) {
    const ready = clip.video === "ready";
    if (ready && !this.source) {
      this.source = `/api/clips/${clip.number}/video?${this.asked ? "copy" : "own"}`;
      this.video.src = this.source;
      this.video.currentTime = this.time;
    }
    let words = "";
    if (clip.video === "making") words = "A copy that this browser can play is being made; labelling works meanwhile.";
    else if (!ready) words = `It cannot be played: ${clip.video}`;
    this.note.hidden = !words;
    this.note.textContent = words;
  }

  async #failed() {
    const { clip } = this.page;
    if (!clip || !this.source || this.asked) return;
    this.asked = true;
    this.source = "";
    clip.video = (await send(`/api/clips/${clip.number}/copy`, { author: clip.author })).video;
    if (clip === this.page.clip) this.update(clip);
  }

  get playing() {
    return !this.video.paused && !this.video.ended;
  }

  toggle() {
    if (this.playing) this.video.pause();
    else if (this.source) {
      if (this.video.ended || this.video.currentTime >= this.page.clip.duration - 0.05) this.video.currentTime = 0;
      this.video.play().catch(() => this.page.say("The browser does not play it yet; try again in a moment."));
    }
  }

  seek(time) {
    this.time = time;
    if (this.source) this.video.currentTime = time;
  }

  #follow() {
    document.querySelector("#picture").classList.add("playing");
    const tick = () => {
      if (!this.playing) return;
      this.time = this.video.currentTime;
      this.page.showTime(this.time);
      requestAnimationFrame(tick);
    };
    tick();
    this.page.drawTransport();
  }

  #stopped() {
    document.querySelector("#picture").classList.remove("playing");
    this.page.drawTransport();
  }
}
