// SPDX-License-Identifier: Apache-2.0
// The list of clips: how far each is, search, and which are shown.

const WORDS = { new: "", half: "half", done: "done", broken: "unreadable" };

export class ClipList {
  constructor(page) {
    this.page = page;
    this.list = document.querySelector("#clip-list");
    this.search = document.querySelector("#clip-search");
    this.filter = document.querySelector("#clip-filter");
    this.search.addEventListener("input", () => this.draw());
    this.filter.addEventListener("change", () => this.draw());
    this.clips = [];
  }

  open(clips) {
    this.clips = clips;
    this.draw();
  }

  /** Clips that search and filter leave. */
  get visible() {
    const words = this.search.value.toLowerCase().split(/\s+/);
    return this.clips.filter((clip) => {
      const text = `${clip.name} ${clip.objects.join(" ")}`.toLowerCase();
      const fits = !this.filter.value || clip.state === this.filter.value;
      return fits && words.every((word) => text.includes(word));
    });
  }

  update(state) {
    const place = this.clips.findIndex((clip) => clip.number === state.number);
    if (place < 0 || JSON.stringify(this.clips[place]) === JSON.stringify(state)) return;
    this.clips[place] = state;
    this.draw();
  }

  /** The clip before or after another one in what is shown. */
  beside(number, shift) {
    const clips = this.visible;
    const place = clips.findIndex((clip) => clip.number === number);
    return clips[place + shift]?.number ?? null;
  }

  draw() {
    const done = this.clips.filter((clip) => clip.state === "done").length;
    document.querySelector("#progress").textContent = `${done} of ${this.clips.length} done`;
    this.list.replaceChildren(
      ...this.visible.slice(0, 2000).map((clip) => {
        const row = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-current", clip.number === this.page.clip?.number);
        const dot = document.createElement("span");
        dot.className = `dot ${clip.state}`;
        const name = document.createElement("span");
        name.className = "name";
        name.textContent = clip.name;
        const word = document.createElement("span");
        word.className = "word";
        word.textContent = clip.match === "no" ? "no match" : WORDS[clip.state];
        button.append(dot, name, word);
        button.title = [clip.name, ...clip.gaps].join("\n");
        button.addEventListener("click", () => this.page.openClip(clip.number));
        row.append(button);
        return row;
      }),
    );
  }

  showCurrent() {
    this.draw();
    const current = this.list.querySelector('[aria-current="true"]');
    if (!current) return;
    const room = this.list.getBoundingClientRect();
    const place = current.getBoundingClientRect();
    if (place.top < room.top || place.bottom > room.bottom) this.list.scrollTop += place.top - room.top - room.height / 2;
  }
}
