// SPDX-License-Identifier: Apache-2.0
// Who labels, and writing files.

import { send } from "./api.js";

const at = (selector) => document.querySelector(selector);

export function bindDialogs(page) {
  const names = at("#name-dialog");
  const exports = at("#export-dialog");
  const askName = () =>
    new Promise((resolve) => {
      at("#name-input").value = page.author;
      names.showModal();
      names.oncancel = (event) => event.preventDefault();
      at("#name-form").onsubmit = () => {
        page.author = at("#name-input").value.trim() || "me";
        localStorage.setItem("avkit-annotate-name", page.author);
        if (page.clip) page.clip.author = page.author;
        page.drawSaved();
        resolve();
      };
    });
  at("#author").addEventListener("click", askName);

  const about = () => (at("#export-about").textContent = page.folder.formats[at("#export-format").value]);
  at("#export-format").addEventListener("change", about);
  at("#export-close").addEventListener("click", () => exports.close());
  at("#open-export").addEventListener("click", () => {
    page.panel.flush();
    if (!at("#export-format").options.length) {
      at("#export-format").replaceChildren(...Object.keys(page.folder.formats).map((name) => new Option(name, name)));
    }
    about();
    at("#export-result").textContent = "";
    exports.showModal();
  });
  at("#export-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const result = at("#export-result");
    result.textContent = "Writing …";
    at("#export-go").disabled = true;
    const body = { author: page.author, format: at("#export-format").value, partial: at("#export-partial").checked };
    try {
      const { out, clips, notes } = await send("/api/export", body);
      result.textContent = [`${out}: ${clips} clips`, ...notes].join("\n");
    } catch (error) {
      result.textContent = error.message;
    }
    at("#export-go").disabled = false;
  });
  return { askName };
}
