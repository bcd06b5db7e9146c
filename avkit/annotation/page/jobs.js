// SPDX-License-Identifier: Apache-2.0
// Helpers at work: what they do, cancelling them, and what they had to say.

import { send } from "./api.js";

const DOING = { masks: "outlines the object", tracker: "follows the mask", names: "listens", boxes: "looks for the object", sentences: "writes a sentence" };
const OVER = ["done", "failed", "cancelled"];

export class JobList {
  constructor(page) {
    this.page = page;
    this.element = document.querySelector("#jobs");
    this.dismissed = new Set();
    this.jobs = [];
  }

  get running() {
    return this.jobs.some((job) => !OVER.includes(job.state));
  }

  update(jobs) {
    this.jobs = jobs;
    const rows = [];
    for (const job of jobs) {
      const over = OVER.includes(job.state);
      if (this.dismissed.has(job.number) || (over && !job.note)) continue;
      const row = document.createElement("div");
      row.className = job.state === "failed" ? "failed" : job.note ? "noted" : "";
      const words = document.createElement("span");
      const found = job.proposals > 1 ? `, ${job.proposals} proposals` : "";
      words.textContent = over ? `${job.helper}: ${job.note}` : `${job.helper} ${job.state === "waiting" ? "waits" : DOING[job.task]}${found} …`;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = over ? "OK" : "Cancel";
      button.addEventListener("click", () => (over ? this.#dismiss(job) : this.cancel(job)));
      row.append(words, button);
      rows.push(row);
    }
    this.element.replaceChildren(...rows.slice(-3));
  }

  #dismiss(job) {
    this.dismissed.add(job.number);
    this.update(this.jobs);
  }

  /** Cancel all that is not over. */
  cancelAll() {
    for (const job of this.jobs) if (!OVER.includes(job.state)) this.cancel(job);
  }

  async cancel(job) {
    await send(`/api/jobs/${job.number}/cancel`, { author: this.page.author });
    this.page.poll();
  }
}
