// SPDX-License-Identifier: Apache-2.0
// Masks as pictures in the colour of their object: filled, striped while proposed, faint while the object is silent.

import { pixelsOf } from "./runs.js";

const cache = new WeakMap();

function channels(colour) {
  return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
}

/** A canvas of a mask's value. */
export function drawn(value, colour, look) {
  const key = `${colour} ${look}`;
  const there = cache.get(value);
  if (there?.key === key) return there.canvas;
  const [height, width] = value.size;
  const pixels = pixelsOf(value);
  const image = new ImageData(width, height);
  const [red, green, blue] = channels(colour);
  const stripe = Math.max(4, Math.round(width / 90));
  const edge = Math.max(1, Math.round(width / 420));
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      if (!pixels[place]) continue;
      let alpha = look === "silent" ? 45 : 115;
      if (look === "proposed") alpha = (x + y) % (2 * stripe) < stripe ? 150 : 50;
      const outside = x < edge || y < edge || x >= width - edge || y >= height - edge
        || !pixels[place - edge] || !pixels[place + edge] || !pixels[place - edge * width] || !pixels[place + edge * width];
      image.data.set([red, green, blue, outside ? 255 : alpha], 4 * place);
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  cache.set(value, { key, canvas });
  return canvas;
}

/** A canvas with a mask's pixels opaque, to paint on. */
export function paintable(value, size) {
  const canvas = document.createElement("canvas");
  canvas.height = size[0];
  canvas.width = size[1];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (value) {
    const image = new ImageData(size[1], size[0]);
    pixelsOf(value).forEach((inside, place) => {
      if (inside) image.data[4 * place + 3] = 255;
    });
    context.putImageData(image, 0, 0);
  }
  return context;
}

/** Pixels of a canvas that was painted on, 1 where it is more opaque than not. */
export function painted(context) {
  const { width, height } = context.canvas;
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height);
  for (let place = 0; place < pixels.length; place++) pixels[place] = data[4 * place + 3] > 127 ? 1 : 0;
  return pixels;
}
