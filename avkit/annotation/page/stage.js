// SPDX-License-Identifier: Apache-2.0
// The picture of a step with masks over it, and the tools that draw: points, box, brush, eraser, polygon.

import { drawn, paintable, painted } from "./masks.js";
import { valueOf } from "./runs.js";

const SVG = "http://www.w3.org/2000/svg";
export const TOOLS = {
  point: ["Points", "V", "click on the object; Alt or right click beside it"],
  box: ["Box", "B", "drag around the object"],
  brush: ["Brush", "R", "paint the mask"],
  eraser: ["Eraser", "E", "rub the mask out"],
  polygon: ["Polygon", "G", "click corners, Enter closes; Alt cuts out"],
};

export class Stage {
  constructor(page) {
    this.page = page;
    this.element = document.querySelector("#picture");
    this.frame = document.querySelector("#frame");
    this.overlay = document.querySelector("#overlay");
    this.marks = document.querySelector("#marks");
    this.tool = "box";
    this.brush = 12;
    this.cursor = null;
    this.shown = true;
    this.clear();
    this.marks.addEventListener("pointerdown", (event) => this.#pressed(event));
    this.marks.addEventListener("pointermove", (event) => this.#moved(event));
    this.marks.addEventListener("pointerup", (event) => this.#released(event));
    this.marks.addEventListener("pointercancel", () => this.cancel());
    this.marks.addEventListener("pointerleave", () => { this.hover = null; this.drawMarks(); });
    this.marks.addEventListener("contextmenu", (event) => event.preventDefault());
    this.marks.addEventListener("dblclick", () => this.closePolygon());
    new ResizeObserver(() => this.fit()).observe(document.querySelector("#stage"));
  }

  /** Forget box, points and corners. */
  clear() {
    this.box = null;
    this.points = [];
    this.corners = [];
    this.drag = null;
  }

  /** Show a clip. */
  open(clip) {
    this.size = clip.size;
    this.overlay.width = clip.size[1];
    this.overlay.height = clip.size[0];
    this.clear();
    this.fit();
  }

  fit() {
    if (!this.size) return;
    const room = document.querySelector("#stage").getBoundingClientRect();
    const narrow = matchMedia("(max-width: 700px)").matches;
    const scale = Math.min(room.width / this.size[1], (narrow ? innerHeight * 0.5 : room.height) / this.size[0]);
    this.scale = scale;
    this.element.style.width = `${Math.round(this.size[1] * scale)}px`;
    this.element.style.height = `${Math.round(this.size[0] * scale)}px`;
    this.drawMarks();
  }

  showFrame(address) {
    if (this.frame.getAttribute("src") !== address) this.frame.src = address;
  }

  /** Draw the masks of a step. */
  draw() {
    const { clip, step, selected } = this.page;
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    if (!clip || !this.shown) return;
    for (const object of clip.objects()) {
      const isPainted = this.drag?.paint && object.number === selected;
      const value = clip.value("mask", object.number, step);
      if (isPainted) this.#drawPaint(context, object.colour);
      else if (value) {
        const isSilent = clip.spans(object.number).length && !clip.sounds(object.number, step);
        const look = value.proposed ? "proposed" : isSilent ? "silent" : "sounding";
        context.globalAlpha = object.number === selected ? 1 : 0.8;
        context.drawImage(drawn(value, object.colour, look), 0, 0);
        context.globalAlpha = 1;
      }
    }
  }

  #drawPaint(context, colour) {
    const tinted = document.createElement("canvas");
    tinted.width = this.overlay.width;
    tinted.height = this.overlay.height;
    const tint = tinted.getContext("2d");
    tint.drawImage(this.drag.paint.canvas, 0, 0);
    tint.globalCompositeOperation = "source-in";
    tint.fillStyle = colour;
    tint.fillRect(0, 0, tinted.width, tinted.height);
    context.globalAlpha = 0.55;
    context.drawImage(tinted, 0, 0);
    context.globalAlpha = 1;
  }

  /** Draw box, points, corners, brush and keyboard pointer. */
  drawMarks() {
    this.marks.replaceChildren();
    if (!this.size) return;
    this.marks.setAttribute("viewBox", `0 0 ${this.size[1]} ${this.size[0]}`);
    const thin = 1.6 / (this.scale || 1);
    const add = (name, attributes, colour = "#fff", width = thin) => {
      for (const [stroke, breadth] of [["#000", width * 2.2], [colour, width]]) {
        const shape = document.createElementNS(SVG, name);
        const all = { fill: "none", stroke, "stroke-width": breadth, ...attributes };
        for (const [key, value] of Object.entries(all)) shape.setAttribute(key, value);
        this.marks.append(shape);
      }
    };
    const box = this.drag?.box ?? this.box;
    if (box) add("rect", { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1], "stroke-dasharray": 6 * thin });
    for (const [x, y, inside] of this.points) add("circle", { cx: x, cy: y, r: 5 * thin }, inside ? "#5df08f" : "#ff6b5e", 2 * thin);
    if (this.corners.length) {
      add("polyline", { points: [...this.corners, ...(this.hover ? [this.hover] : [])].map((corner) => corner.join(",")).join(" ") });
      add("circle", { cx: this.corners[0][0], cy: this.corners[0][1], r: 4 * thin });
    }
    const place = this.cursor ?? this.hover;
    if (place && ["brush", "eraser"].includes(this.tool)) add("circle", { cx: place[0], cy: place[1], r: this.brush / 2 });
    if (this.cursor) {
      const [x, y] = this.cursor;
      add("path", { d: `M${x - 14 * thin} ${y}H${x + 14 * thin}M${x} ${y - 14 * thin}V${y + 14 * thin}` }, "#ffe14d");
    }
  }

  #place(event) {
    const room = this.marks.getBoundingClientRect();
    const x = ((event.clientX - room.left) / room.width) * this.size[1];
    const y = ((event.clientY - room.top) / room.height) * this.size[0];
    return this.#inside([x, y]);
  }

  #inside([x, y]) {
    return [Math.min(Math.max(x, 0), this.size[1]), Math.min(Math.max(y, 0), this.size[0])];
  }

  #pressed(event) {
    if (!this.page.clip) return;
    event.preventDefault();
    this.marks.setPointerCapture(event.pointerId);
    this.isDown = true;
    this.press(this.#place(event), event.altKey || event.button === 2);
  }

  #moved(event) {
    if (!this.size) return;
    this.hover = event.pointerType === "mouse" || this.drag ? this.#place(event) : null;
    if (this.drag) for (const part of event.getCoalescedEvents?.() ?? [event]) this.move(this.#place(part));
    this.drawMarks();
  }

  #released(event) {
    this.isDown = false;
    if (this.drag) this.release(this.#place(event));
  }

  /** Begin to draw at a place; `other` for points beside the object and polygons that cut out. */
  async press(place, other = false) {
    this.page.pause();
    if (!(await this.page.needObject())) return;
    const isDrag = !["point", "polygon"].includes(this.tool);
    if (isDrag && !this.isDown && !this.cursor) return; // it was let go while the object was made
    if (this.tool === "point") {
      this.points.push([...place, !other]);
      this.drawMarks();
      this.page.askSoon();
    } else if (this.tool === "box") this.drag = { start: place, box: null };
    else if (this.tool === "polygon") this.#addCorner(place, other);
    else this.#startPaint(place);
  }

  move(place) {
    if (!this.drag) return;
    if (this.drag.paint) this.#paint(place);
    else {
      const [x, y] = this.drag.start;
      this.drag.box = [Math.min(x, place[0]), Math.min(y, place[1]), Math.max(x, place[0]), Math.max(y, place[1])];
    }
    this.drawMarks();
  }

  release(place) {
    if (!this.drag) return;
    this.move(place);
    const { paint, box } = this.drag;
    this.drag = null;
    if (paint) this.page.setMask(valueOf(painted(paint), this.size));
    else if (box && box[2] - box[0] > 2 && box[3] - box[1] > 2) {
      this.box = box;
      this.page.askSoon();
    }
    this.draw();
    this.drawMarks();
  }

  #startPaint(place) {
    const { clip, step, selected } = this.page;
    const paint = paintable(clip.value("mask", selected, step), this.size);
    paint.lineCap = "round";
    paint.lineJoin = "round";
    paint.globalCompositeOperation = this.tool === "eraser" ? "destination-out" : "source-over";
    this.drag = { paint, last: place };
    this.#paint(place);
  }

  #paint(place) {
    const { paint, last } = this.drag;
    paint.lineWidth = this.brush;
    paint.beginPath();
    paint.moveTo(...last);
    paint.lineTo(place[0] + 0.01, place[1]);
    paint.stroke();
    this.drag.last = place;
    this.drag.due ??= requestAnimationFrame(() => {
      if (this.drag) this.drag.due = null;
      this.draw();
    });
  }

  #addCorner(place, other) {
    if (!this.corners.length) this.cutsOut = other;
    const first = this.corners[0];
    const near = first && Math.hypot(first[0] - place[0], first[1] - place[1]) * this.scale < 9;
    if (near && this.corners.length > 2) this.closePolygon();
    else this.corners.push(place);
    this.drawMarks();
  }

  /** Fill the polygon; whether there was one. */
  closePolygon() {
    if (this.corners.length < 3) return false;
    const { clip, step, selected } = this.page;
    const paint = paintable(clip.value("mask", selected, step), this.size);
    paint.globalCompositeOperation = this.cutsOut ? "destination-out" : "source-over";
    paint.beginPath();
    this.corners.forEach((corner) => paint.lineTo(...corner));
    paint.fill("evenodd");
    this.corners = [];
    this.page.setMask(valueOf(painted(paint), this.size));
    this.drawMarks();
    return true;
  }

  /** Leave off drawing; whether there was something. */
  cancel() {
    const something = this.drag || this.corners.length || this.box || this.points.length || this.cursor;
    this.clear();
    this.cursor = null;
    this.draw();
    this.drawMarks();
    return Boolean(something);
  }

  /** Move the keyboard's pointer; with a drawing under way it draws. */
  moveCursor(x, y) {
    this.cursor = this.#inside([this.cursor[0] + x, this.cursor[1] + y]);
    this.hover = this.cursor;
    this.move(this.cursor);
    this.drawMarks();
  }

  toggleCursor() {
    this.cursor = this.cursor ? null : [this.size[1] / 2, this.size[0] / 2];
    this.drawMarks();
  }

  pressCursor(other) {
    if (this.drag) this.release(this.cursor);
    else this.press(this.cursor, other);
  }
}
