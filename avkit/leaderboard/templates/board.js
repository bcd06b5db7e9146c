"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const rows = all("tr.row");
  const more = (row) => document.getElementById(row.dataset.more);

  const close = (row, open) => {
    row.querySelector("button").setAttribute("aria-expanded", String(open));
    more(row).hidden = row.hidden || !open;
  };
  const isOpen = (row) => row.querySelector("button").getAttribute("aria-expanded") === "true";
  for (const row of rows) {
    close(row, false);
    row.querySelector("button").addEventListener("click", () => close(row, !isOpen(row)));
  }

  const sort = (header, index) => {
    const body = header.closest("table").tBodies[0];
    const wasDown = header.getAttribute("aria-sort") === "descending";
    const down = header.hasAttribute("aria-sort") ? !wasDown : header.classList.contains("n");
    const key = (row) => row.cells[index].dataset.value;
    const sorted = all("tr.row", body).sort((a, b) => {
      const apart = (a.dataset.kind === "ablation") - (b.dataset.kind === "ablation");
      if (apart) return apart;
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = header.classList.contains("n") ? Number(x) - Number(y) : x.localeCompare(y);
      return down ? -order : order;
    });
    for (const row of sorted) body.append(row, more(row));
    all("th", header.parentNode).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  };
  for (const header of all("th")) {
    const button = header.querySelector("button");
    if (button) button.addEventListener("click", () => sort(header, header.cellIndex));
  }

  const search = document.getElementById("search");
  const setting = document.getElementById("setting");
  const verdict = document.getElementById("verdict");
  const ablations = document.getElementById("ablations");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const part = row.closest("article");
      const hidden = (setting.value !== "" && part.id !== setting.value)
        || (verdict.value !== "" && row.dataset.word !== verdict.value)
        || (!ablations.checked && row.dataset.kind === "ablation")
        || !words.every((word) => row.dataset.text.includes(word));
      row.hidden = hidden;
      more(row).hidden = hidden || !isOpen(row);
      shown += !hidden;
    }
    for (const part of all("article, section.protocol")) part.hidden = !all("tr.row", part).some((row) => !row.hidden);
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
    document.getElementById("empty").hidden = shown > 0;
  };
  for (const control of [search, setting, verdict, ablations]) control.addEventListener("input", filter);
  document.getElementById("figures").addEventListener("input", (event) => {
    document.body.classList.toggle("figures", event.target.checked);
  });
  filter();
})();
