// SPDX-License-Identifier: Apache-2.0
// Masks as lengths of runs along rows, outside and inside in turn.

/** Pixels of a mask's value, 1 inside. */
export function pixelsOf(value) {
  const [height, width] = value.size;
  const pixels = new Uint8Array(height * width);
  let place = 0;
  value.runs.forEach((run, k) => {
    if (k % 2) pixels.fill(1, place, place + run);
    place += run;
  });
  return pixels;
}

/** The value of a mask's pixels. */
export function valueOf(pixels, size) {
  const runs = [];
  let start = 0;
  let inside = 0;
  for (let place = 0; place < pixels.length; place++) {
    if (pixels[place] !== inside) {
      runs.push(place - start);
      start = place;
      inside = pixels[place];
    }
  }
  runs.push(pixels.length - start);
  return { size: [...size], runs };
}

export function emptyMask(size) {
  return { size: [...size], runs: [size[0] * size[1]] };
}

export function isEmpty(value) {
  return value.runs.length < 2;
}
