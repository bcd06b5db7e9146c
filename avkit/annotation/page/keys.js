// SPDX-License-Identifier: Apache-2.0
// Everything by keyboard; the sheet behind "?" is made of the same table.

const ctrl = (event) => event.ctrlKey || event.metaKey;

/** Name of a key press as the table writes it. */
function nameOf(event) {
  const key = event.key.length === 1 && event.key !== "?" ? event.key.toLowerCase() : event.key;
  const shifted = event.shiftKey && (key.length > 1 || /[a-z]/.test(key));
  return `${ctrl(event) ? "Ctrl+" : ""}${shifted ? "Shift+" : ""}${key === " " ? "Space" : key}`;
}

/** Keys with what they do: names, words, action. */
export function keyTable(page) {
  const { stage } = page;
  const tool = (name) => () => page.setTool(name);
  const move = (x, y) => () => (stage.cursor ? stage.moveCursor(x, y) : false);
  const table = [
    [["Space"], "play or pause; press and release the pointer", () => (stage.cursor ? stage.pressCursor(false) : page.toggle())],
    [["ArrowLeft"], "step before", () => (stage.cursor ? stage.moveCursor(-1, 0) : page.go(page.step - 1))],
    [["ArrowRight"], "step after", () => (stage.cursor ? stage.moveCursor(1, 0) : page.go(page.step + 1))],
    [["Home"], "first step", () => page.go(0)],
    [["End"], "last step", () => page.go(Infinity)],
    [[",", "PageUp"], "previous clip", () => page.otherClip(-1)],
    [[".", "PageDown"], "next clip", () => page.otherClip(1)],
    [["v"], "tool: points", tool("point")],
    [["b"], "tool: box", tool("box")],
    [["r"], "tool: brush", tool("brush")],
    [["e"], "tool: eraser", tool("eraser")],
    [["g"], "tool: polygon", tool("polygon")],
    [["-"], "thinner brush", () => page.setBrush(stage.brush / 1.25)],
    [["+", "="], "thicker brush", () => page.setBrush(stage.brush * 1.25)],
    [["k"], "pointer by keyboard: arrows move it, Space presses", () => stage.toggleCursor()],
    [["x"], "press the pointer beside the object", () => (stage.cursor ? stage.pressCursor(true) : false)],
    [["Shift+ArrowLeft"], "pointer: 10 pixels (and other arrows)", move(-10, 0)],
    [["a"], "new object", () => page.newObject()],
    [["1 to 9"], "select an object", null],
    [["0"], "select everything that sounds", () => page.select(0)],
    [["m"], "propose a mask from box and points", () => page.ask("masks")],
    [["t"], "track to later steps", () => page.track(1)],
    [["Shift+T"], "track to earlier steps", () => page.track(-1)],
    [["l"], "propose names of what is heard", () => page.ask("names")],
    [["f"], "find the object by its name", () => page.ask("boxes")],
    [["d"], "propose a sentence", () => page.ask("sentences")],
    [["Enter"], "close the polygon; accept the proposals of this step", () => stage.closePolygon() || page.accept(false)],
    [["Shift+Enter"], "accept all proposals of the object", () => page.accept(true)],
    [["Delete", "Backspace"], "reject the proposals of this step; without any, delete its mask", () => page.deleteHere()],
    [["Shift+Delete", "Shift+Backspace"], "delete the object", () => page.deleteObject()],
    [["j"], "next proposal", () => page.goToProposal(1)],
    [["Shift+J"], "proposal before", () => page.goToProposal(-1)],
    [["Shift+X"], "cancel what helpers do", () => page.jobs.cancelAll()],
    [["p"], "copy the mask of the step before", () => page.copyMask()],
    [["o"], "not in view in this step", () => page.notInView()],
    [["s"], "sounds in this step or not", () => page.toggleSound()],
    [["["], "a span starts at the playhead", () => page.markSpan("start")],
    [["]"], "the span ends at the playhead", () => page.markSpan("end")],
    [["{"], "move the start of the nearest span to the playhead", () => page.moveSpan("start")],
    [["}"], "move the end of the nearest span to the playhead", () => page.moveSpan("end")],
    [["Shift+S"], "delete the span at the playhead", () => page.deleteSpan()],
    [["Shift+W"], "sounds from start to end", () => page.selected && page.setSpans([[0, page.clip.duration]])],
    [["Ctrl+ArrowLeft"], "playhead back by 0.05 s", () => page.seek(Math.max(0, page.player.time - 0.05))],
    [["Ctrl+ArrowRight"], "playhead on by 0.05 s", () => page.seek(Math.min(page.clip.duration, page.player.time + 0.05))],
    [["c"], "write the sentence (Esc leaves)", () => page.focus("#sentence")],
    [["i"], "write the name", () => page.focus("#object-name")],
    [["Shift+C"], "next colour of the object", () => page.nextColour()],
    [["q"], "write a note on the clip (Esc leaves)", () => page.focus("#note")],
    [["/"], "search clips (Esc leaves)", () => page.searchClips()],
    [["Shift+E"], "export", () => document.querySelector("#open-export").click()],
    [["w"], "show masks or not", () => page.showMasks(!stage.shown)],
    [["y"], "sound and picture match", () => page.setMatch("yes")],
    [["n"], "they do not match", () => page.setMatch("no")],
    [["u"], "unclear whether they match", () => page.setMatch("unclear")],
    [["Ctrl+z"], "undo", () => page.undo()],
    [["Ctrl+Shift+Z", "Ctrl+y"], "redo", () => page.redo()],
    [["Escape"], "leave off drawing", () => stage.cancel()],
    [["?"], "this sheet", () => page.showKeys()],
  ];
  return table;
}

const SILENT = [
  ["ArrowUp", 0, -1], ["ArrowDown", 0, 1], ["Shift+ArrowUp", 0, -10], ["Shift+ArrowDown", 0, 10], ["Shift+ArrowRight", 10, 0],
];
const WRITTEN = { ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", Delete: "Del", Backspace: "⌫", PageUp: "PgUp", PageDown: "PgDn" };

export function bindKeys(page) {
  const table = keyTable(page);
  const actions = new Map();
  for (const [names, , action] of table) for (const name of names) if (action) actions.set(name.toLowerCase(), action);
  for (const [name, x, y] of SILENT) {
    actions.set(name.toLowerCase(), () => (page.stage.cursor ? page.stage.moveCursor(x, y) : false));
  }
  for (let number = 1; number <= 9; number++) actions.set(String(number), () => page.selectPlace(number - 1));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    const types = target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=color])");
    if (types) {
      if (event.key === "Escape" || (event.key === "Enter" && target.id === "object-name")) target.blur();
      return;
    }
    if (event.altKey && event.key !== "Alt") return;
    if ((event.key === " " || event.key === "Enter") && target.matches("button, input, select") && !page.stage.cursor) return;
    const action = actions.get(nameOf(event).toLowerCase());
    if (!action) return;
    if (action() !== false) event.preventDefault();
  });
  const list = document.querySelector("#key-list");
  for (const [names, words] of table) {
    const line = document.createElement("div");
    const key = document.createElement("kbd");
    key.textContent = names.map((name) => name.split("+").map((part) => WRITTEN[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+") || "+").join(" ");
    if (names[0] === "+") key.textContent = "+";
    line.append(key, words);
    list.append(line);
  }
}
