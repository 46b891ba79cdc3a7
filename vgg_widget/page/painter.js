// Paints a layer's pictures onto a canvas, from the data on a page. It knows no widget; an explorer uses it
// before its kernel has answered.
//
// A plane is a channel's map as bytes: the colormap entry of each value. A placement maps the pixels of the
// canvas to those of a map.

const FONT = '"DejaVu Sans", Verdana, sans-serif';

// Colours of 4 bytes each, in the form for `paintMap`.
export const coloursOf = (view) =>
  new Uint32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

// Returns planes that were packed together, one after the other, of `size` bytes each.
export async function unpacked(bytes, size) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const all = new Uint8Array(await new Response(stream).arrayBuffer());
  return Array.from({ length: all.length / size }, (_, n) => all.subarray(n * size, (n + 1) * size));
}

// `table` holds a colour for each entry, as 32 bits in the canvas's own order.
export function paintMap(context, plane, width, table, { top, left, rows, columns, odd = [] }) {
  const image = context.createImageData(columns.length, rows.length);
  const pixels = new Uint32Array(image.data.buffer);
  const across = columns.length;
  for (let y = 0; y < rows.length; y++) {
    const to = y * across;
    if (y && rows[y] === rows[y - 1]) {
      pixels.copyWithin(to, to - across, to);
      continue;
    }
    const from = rows[y] * width;
    for (let x = 0; x < across; x++) pixels[to + x] = table[plane[from + columns[x]]];
  }
  // A few pixels come from another source than the rest of their row and column.
  for (const [y, x, from] of odd) pixels[y * across + x] = table[plane[from]];
  context.putImageData(image, left, top);
}

// Like the kernel's colorbar: the range's colours, arrows for values beyond it, and numbers. `points` is the
// number of canvas pixels per typographic point.
export function paintBar(context, box, table, { clipped, numbers, label }, ink, points) {
  const [left, top, right, bottom] = box;
  const upright = bottom - top > right - left;
  const along = Math.round(upright ? bottom - top : right - left);
  const strip = context.createImageData(upright ? 1 : along, upright ? along : 1);
  const pixels = new Uint32Array(strip.data.buffer);
  // The arrows take their space from the bar.
  const length = along / (1 + 0.05 * (clipped[0] + clipped[1]));
  const start = clipped[0] ? 0.05 * length : 0;
  const entryAt = (place) => Math.min(table.length - 1, Math.max(0, Math.floor(place * table.length)));
  for (let n = 0; n < along; n++) {
    const place = (n + 0.5 - start) / length;
    pixels[upright ? along - 1 - n : n] = table[entryAt(place)];
  }
  context.save();
  context.beginPath();
  const at = (place, beside) => {
    const n = start + place * length;
    return upright
      ? [left + beside * (right - left), bottom - n]
      : [left + n, bottom - beside * (bottom - top)];
  };
  const outline = [at(0, 0), at(1, 0), at(1, 1), at(0, 1)];
  if (clipped[1]) outline.splice(2, 0, at((along - start) / length, 0.5));
  if (clipped[0]) outline.push(at(-start / length, 0.5));
  outline.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.save();
  context.clip();
  const copy = new OffscreenCanvas(strip.width, strip.height);
  copy.getContext("2d").putImageData(strip, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(copy, left, top, right - left, bottom - top);
  context.restore();
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 0.8 * points;
  context.stroke();
  context.font = `${8 * points}px ${FONT}`;
  const mark = 3.5 * points;
  for (const [place, words] of numbers) {
    const [x, y] = at(place, upright ? 1 : 0);
    const beyond = upright ? [x + mark, y] : [x, y + mark];
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(...beyond);
    context.stroke();
    context.textBaseline = upright ? "middle" : "top";
    const near = place < 0.06 ? "left" : place > 0.94 ? "right" : "center";
    context.textAlign = upright ? "left" : near;
    context.fillText(words, beyond[0] + (upright ? 3 * points : 0), beyond[1] + (upright ? 0 : 3 * points));
  }
  context.textAlign = upright ? "center" : "left";
  context.textBaseline = "top";
  if (upright) {
    const longest = Math.max(...numbers.map(([, words]) => words.length));
    const away = mark + (4 + 4 + 5.04 * longest) * points;
    context.translate(right + away, (top + bottom) / 2);
    context.rotate(-Math.PI / 2);
  } else context.translate(left, bottom + mark + 15 * points);
  label.forEach((line, n) => context.fillText(line, 0, n * 9.6 * points));
  context.restore();
}

export function paintWords(context, words, [x, y], points, size, ink) {
  context.save();
  context.fillStyle = ink;
  context.font = `${size * points}px ${FONT}`;
  context.textBaseline = "alphabetic";
  context.fillText(words, x, y);
  context.restore();
}

// Paints a list of colours and texts, some without a colour. A line's position is that of its beginning and
// its middle.
export function paintList(context, lines, { points, list_points: size, swatch, beside_swatch: beside }, ink) {
  context.save();
  context.font = `${size * points}px ${FONT}`;
  context.textBaseline = "middle";
  for (const [words, colour, left, middle] of lines) {
    context.fillStyle = colour;
    const side = swatch * points;
    if (colour) context.fillRect(left, middle - side / 2, side, side);
    context.fillStyle = ink;
    context.fillText(words, left + (colour ? beside * points : 0), middle);
  }
  context.restore();
}

// A yellow frame with a dark edge, which is visible on any picture.
export function paintFrame(context, [left, top, right, bottom], clip, points) {
  context.save();
  context.beginPath();
  // On whole pixels; otherwise a line along the edge would be pale.
  const edges = clip.map(Math.round);
  context.rect(edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1]);
  context.clip();
  for (const [colour, width] of [["black", 3.2], ["#ffe14d", 1.4]]) {
    // On whole pixels; otherwise the line would be pale.
    const line = Math.max(1, Math.round(width * points));
    const [x, y, beyond, below] = [left, top, right, bottom].map((at) => Math.round(at) + (line % 2) / 2);
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x, y, beyond - x, below - y);
  }
  context.restore();
}

// Returns the input's rows and columns that a unit sees; null if it sees none or they are unknown.
export function fieldOf({ fields: { rows, columns } }, [row, column]) {
  if (!rows) return null;
  const [[top, bottom], [left, right]] = [rows[row], columns[column]];
  return top < bottom && left < right ? [top, left, bottom, right] : null;
}

export const seenWords = ([top, left, bottom, right]) =>
  `sees input rows ${top}–${bottom - 1}, columns ${left}–${right - 1}`;
