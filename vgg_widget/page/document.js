// The explorer as a page without a kernel: its pictures, its controls, and the values under the mouse.

import { mapKeeper, shareOf } from "./maps.js";
import { fieldOf, paintBar, paintFrame, paintList, seenWords } from "./painter.js";
import {
  byId, choose, complaint, layerNow, made, numbersIn, oneNumber, page, placeOfLayer, plain, pressed, showChosen,
  start, state, stepChannel,
} from "./shell.js";
import { inFrame, inPicture, LEAST, moved, transformOf, WHOLE, zoomed } from "./zoom.js";

const keeper = mapKeeper(page);

const HINT = "Point at a picture to read its values; click to keep a location.";
const TILE_HINT = "Point at a picture to read its values; click on a tile to open its channel.";
const MEANINGS = {
  channel: "one feature map",
  grid: "every channel, side by side",
  max: "the largest value of all channels at each location",
  mean: "the mean of all channels at each location",
  argmax: "which channel is the largest at each location",
  composite: "some channels, each in the colormap, averaged",
  rgb: "three channels as red, green and blue",
  rainbow: "some channels, each in its own hue, added",
};
const BUTTONS = { channel: "One channel", grid: "All", max: "Strongest", rgb: "Mix" };
const RANGES = {
  auto: "this picture", channel: "this picture, to the max", layer: "the layer", network: "the network",
};
// CSS pixels per typographic point.
const POINT = 4 / 3;
const PLAY_MS = 200;
// The opacity of the map over the input when a key turns it on.
const OVERLAY = 0.5;
const ZOOM_STEP = 2;
const MOVE_STEP = 0.25;
// A hand is not steady, but a drag is not a click.
const CLICK_PIXELS = 4;
// A saved picture should be printable: pixels per CSS pixel, and CSS pixels for the margin and for a line
// of text.
const SAVED_SCALE = 2;
const SAVED_EDGE = 8;
const SAVED_LINE = 20;

// --- current state

let shown = null;
let painting = 0;
// The mouse position, on one of the frames; null outside both.
let pointer = null;
let beforeGrid = "channel";
// Whether the keys move from tile to tile of a grid.
let isPicking = false;

const takesSome = (mode) => ["composite", "rgb", "rainbow"].includes(mode);

function channelsOf({ mode, channels }, layer) {
  const wanted = mode === "rgb" ? 3 : page.some;
  const left = channels.filter((channel) => channel < layer.shape[2]);
  if (mode === "rgb") return left.length >= 3 ? left.slice(0, 3) : layer.telling.slice(0, 3);
  return left.length ? left : layer.telling.slice(0, wanted);
}

const stepOf = ({ mode }, layer) => (["max", "mean", "argmax"].includes(mode) ? layer.modes : layer).step;

// Returns the nearest valid state for the layer and mode; a location keeps its place on the input.
function fitted(asked, before) {
  const layer = page.layers[placeOfLayer(asked.layer)];
  const [rows, columns, count] = layer.shape;
  // An address without a channel leads to the most telling one.
  const telling = asked.layer === page.first.layer ? page.first.channel : layer.telling[0];
  const channel = Math.min(Math.max(0, asked.channel ?? telling), count - 1);
  // A layer with too few channels cannot show the mode.
  const mode = asked.mode === "rgb" && count < 3 ? "channel" : asked.mode;
  let { location } = asked;
  if (location) {
    if (before && before.layer !== asked.layer && String(before.location) === String(location)) {
      const [left, top, across, down] = page.layers[placeOfLayer(before.layer)].placement;
      const at = [top + (location[0] + 0.5) * down, left + (location[1] + 0.5) * across];
      location = at.map((value, n) => {
        const pixel = Math.min(Math.max(0, Math.round(value)), page.image[n] - 1);
        return layer.units[n][pixel];
      });
    }
    const step = stepOf(asked, layer);
    location = location.map((value, n) => {
      const inside = Math.min(value, [rows, columns][n] - 1);
      return inside - (inside % step);
    });
  }
  return { ...asked, channel, mode, cmap: cmapFor(asked, before, layer), location };
}

// Values of both signs have their own default colormap. A colormap named in an address is kept.
function cmapFor({ cmap }, before, layer) {
  const { layer: name, cmap: former } = before ?? page.first;
  const { signed } = page.layers[placeOfLayer(name)];
  const isMeant = cmap !== null && !(before && cmap === former && former === page.usual[Number(signed)]);
  if (isMeant) return cmap;
  return signed === layer.signed ? former : page.usual[Number(layer.signed)];
}

// --- texts

function who(layer) {
  const chosen = takesSome(state.mode) ? channelsOf(state, layer) : null;
  if (state.mode === "channel") return `channel ${state.channel}`;
  if (!chosen) return `all ${layer.shape[2]} channels`;
  return chosen.length <= 8 ? `channels ${chosen.join(", ")}` : `${chosen.length} channels`;
}

function titleOf(layer) {
  let numbers = takesSome(state.mode) ? channelsOf(state, layer) : [state.channel];
  if (numbers.length > 8) numbers = [...numbers.slice(0, 7), "…"];
  const phrase = page.phrases[state.mode].replace("{channels}", numbers.join(", "));
  return `${layer.label} · ${phrase.replace("{count}", layer.shape[2])}`;
}

// Returns the range over which activations became colours, and gamma if it is not 1.
function rangeParts() {
  if (state.mode === "argmax") return [];
  const gamma = state.gamma ?? page.scales[state.scale];
  const bent = gamma === 1 ? [] : [`gamma ${plain(gamma)}`];
  if (state.mode === "composite") {
    return state.scale === "auto"
      ? ["each channel over its own range, and the whole made brighter", ...bent]
      : ["each channel over its own maximum"];
  }
  const ranges = shown.range ? page.ranges : { ...page.ranges, ...page.tile_ranges };
  return [ranges[state.scale], ...bent];
}

function sourceWords() {
  if (shown.range && shown.range[0] === shown.range[1])
    return `weights: ${[page.weights, layerNow().label, `mode ${state.mode}`, page.no_range].join(" · ")}`;
  const [words, ...gamma] = rangeParts();
  const extent = shown.range && `${plain(shown.range[0], 3)} to ${plain(shown.range[1], 3)}`;
  const range = [words, extent].filter(Boolean).join(", ");
  const parts = [page.weights, layerNow().label, `mode ${state.mode}`, range, ...gamma];
  return `weights: ${parts.filter(Boolean).join(" · ")}`;
}

// --- the colorbar

function ticksOf([low, high, gamma]) {
  const span = high - low;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  // The finest step with at most four intervals; a coarser one may leave only two numbers.
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => span / one <= 4.0001) ?? span;
  const first = Math.ceil(low / step - 1e-9);
  const values = Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, n) => (first + n) * step);
  const digits = 3 + Math.floor(Math.log10(Math.max(Math.abs(low), high) / step) + 1e-9);
  return values.map((value) => [shareOf(value, [low, high, gamma]), plain(value, Math.max(2, digits))]);
}

function spaced(numbers, room) {
  const kept = [];
  for (const one of numbers)
    if (!kept.length || one[0] - kept.at(-1)[0] >= room(kept.at(-1)[1], one[1])) kept.push(one);
  return kept;
}

// A list no longer than the picture beside it.
const LINE = 17;
const MOST_LINES = 16;
function shortened(list, most) {
  if (list.length <= most) return list;
  return [...list.slice(0, most - 1), [`and ${list.length - most + 1} more`, "transparent"]];
}

// Canvas pixels per CSS pixel; increased while the picture is saved.
let density = null;
const scaleNow = () => density ?? (devicePixelRatio || 1);

function paintBeside() {
  const bar = byId("bar");
  const hasBar = shown.bar && shown.range && shown.range[1] > shown.range[0];
  bar.hidden = !hasBar && !shown.list.length;
  byId("pictures").classList.toggle("bare", bar.hidden && Boolean(shown.tile));
  if (bar.hidden) return;
  const isLying = matchMedia("(max-width: 600px)").matches;
  const list = shortened(shown.list, Math.max(MOST_LINES, Math.floor((byId("output").clientHeight - 8) / LINE)));
  const tall = list.length ? LINE * list.length + 8 : byId("output").clientHeight;
  if (isLying) bar.style.height = shown.list.length ? `${tall}px` : "";
  else bar.style.height = `${shown.list.length ? Math.max(tall, byId("output").clientHeight) : tall}px`;
  const scale = scaleNow();
  const points = POINT * scale;
  [bar.width, bar.height] = [bar.clientWidth * scale, bar.clientHeight * scale].map(Math.round);
  const context = bar.getContext("2d");
  const ink = getComputedStyle(document.body).color;
  if (shown.list.length) {
    const lines = list.map(([words, colour], n) => [words, colour, points, (n * LINE + 9) * scale]);
    paintList(context, lines, { points, list_points: 8, swatch: 8, beside_swatch: 12 }, ink);
    bar.setAttribute("aria-label", `colours: ${shown.list.map(([words]) => words).join(", ")}`);
    return;
  }
  const [width, height] = [bar.width, bar.height];
  const box = isLying
    ? [points, points, width - points, 13 * points]
    : [points, points * 4, 13 * points, height - points * 4];
  const length = isLying ? box[2] - box[0] : box[3] - box[1];
  const letters = (words) => words.length * 5.1 * points;
  const room = (one, other) =>
    (isLying ? (letters(one) + letters(other)) / 2 + 6 * points : 12 * points) / length;
  const numbers = spaced(ticksOf(shown.range), room);
  const words = rangeParts().join(" · ");
  const lines = !isLying && letters(words) > length ? rangeParts() : [words];
  const label = ["activation", ...lines];
  paintBar(context, box, keeper.entries(state.cmap), { clipped: shown.clipped, numbers, label }, ink, points);
  bar.setAttribute(
    "aria-label",
    `colorbar: activation, ${plain(shown.range[0], 3)} to ${plain(shown.range[1], 3)}, ${words}`
  );
}

// --- the pictures

// A grid has its own window; input and map share one.
const windows = { pictures: WHOLE, tiles: WHOLE };
const windowOf = (frame) => (frame.id === "output" && shown.tile ? "tiles" : "pictures");
const frames = () => [byId("input"), byId("output")];

// Lays a canvas of the map over its units' positions on the input.
function placeOver(canvas, layer) {
  const [height, width] = page.image;
  const [left, top, across, down] = layer.placement;
  Object.assign(canvas.style, {
    left: `${(100 * (left + 0.5)) / width}%`,
    top: `${(100 * (top + 0.5)) / height}%`,
    width: `${(100 * across * shown.step * shown.size[1]) / width}%`,
    height: `${(100 * down * shown.step * shown.size[0]) / height}%`,
  });
}

function placeMap(layer) {
  const [canvas, frame] = [byId("map"), byId("output")];
  const [high, wide] = shown.tile ? shown.size : page.image;
  byId("pictures").style.setProperty("--ratio", wide / high);
  [canvas.height, canvas.width] = shown.size;
  if (shown.tile) {
    frame.style.aspectRatio = `${shown.size[1]} / ${shown.size[0]}`;
    Object.assign(canvas.style, { left: 0, top: 0, width: "100%", height: "100%" });
  } else {
    frame.style.aspectRatio = `${page.image[1]} / ${page.image[0]}`;
    placeOver(canvas, layer);
  }
}

function enlarge() {
  for (const frame of frames()) {
    const part = windows[windowOf(frame)];
    frame.querySelector(".sheet").style.transform = transformOf(part);
    frame.classList.toggle("zoomed", part.size < 1);
  }
  for (const canvas of [byId("map"), byId("over")]) {
    const { size } = windows[windowOf(canvas.closest(".frame"))];
    const wide = canvas.clientWidth * (devicePixelRatio || 1);
    canvas.classList.toggle("reduced", wide / size < shown.size[1]);
  }
  const { size } = windows[windowOf(byId("output"))];
  // Disabling the button would lose the keyboard's focus.
  const off = (id, is) => byId(id).setAttribute("aria-disabled", String(is));
  off("closer", size === LEAST);
  off("farther", size === WHOLE.size);
  off("whole", Object.values(windows).every((part) => part.size === WHOLE.size));
}

function paint() {
  const [canvas, over] = [byId("map"), byId("over")];
  shown.paint(canvas.getContext("2d"));
  over.hidden = Boolean(shown.tile) || !state.overlay;
  if (over.hidden) return;
  [over.width, over.height] = [canvas.width, canvas.height];
  placeOver(over, shown.layer);
  over.style.opacity = state.overlay;
  over.getContext("2d").drawImage(canvas, 0, 0);
}

function draw() {
  placeMap(shown.layer);
  paint();
  enlarge();
  paintBeside();
  mark();
}

async function show() {
  const turn = ++painting;
  const layer = layerNow();
  byId("explorer").setAttribute("aria-busy", "true");
  showControls(layer);
  const channels = channelsOf(state, layer);
  const found = await keeper.picture({ ...state, channels }, placeOfLayer(state.layer));
  if (turn !== painting) return;
  shown = { ...found, layer };
  byId("pictures").classList.toggle("tiled", Boolean(shown.tile));
  const title = titleOf(layer);
  byId("title").textContent = title;
  byId("map").setAttribute("aria-label", title);
  draw();
  const [rows, columns, count] = layer.shape;
  const parts = [layer.label, `${rows} × ${columns} × ${count}`, who(layer), shown.note];
  byId("caption").textContent = parts.filter(Boolean).join(" · ");
  byId("source").textContent = sourceWords();
  byId("code").textContent = codeOf(layer);
  byId("explorer").setAttribute("aria-busy", "false");
  showSmall(layer);
}

// --- values under the mouse

// Until another layer's maps are unpacked, the previous layer is still visible.
const isReady = () => shown !== null && shown.layer === layerNow();

// Returns the mouse position as shares of a frame's sides; null outside the frame.
function shareAt(frame, event) {
  const box = frame.getBoundingClientRect();
  const place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  return place.every((share) => share >= 0 && share < 1) ? place : null;
}

// Returns the unit there, in a grid also its channel, and on the input also the pixel.
function hitAt(frame, event) {
  const place = isReady() && shareAt(frame, event);
  if (!place) return null;
  const { layer } = shown;
  const [x, y] = inPicture(windows[windowOf(frame)], place);
  if (frame.id === "input") {
    const pixel = [Math.floor(y * page.image[0]), Math.floor(x * page.image[1])];
    const unit = pixel.map((at, n) => layer.units[n][at]);
    return { pixel, unit: unit.map((at) => at - (at % shown.step)) };
  }
  if (shown.tile) {
    const tile = shown.tile(Math.floor(y * shown.size[0]), Math.floor(x * shown.size[1]));
    return tile && { unit: [tile.row * shown.step, tile.column * shown.step], channel: tile.channel };
  }
  const [left, top, across, down] = layer.placement;
  const row = Math.floor((y * page.image[0] - 0.5 - top) / down);
  const column = Math.floor((x * page.image[1] - 0.5 - left) / across);
  if (row < 0 || column < 0 || row >= layer.shape[0] || column >= layer.shape[1]) return null;
  return { unit: [row, column].map((at) => at - (at % shown.step)) };
}

const hitNow = () => pointer && hitAt(pointer.frame, pointer);

let pixels = null;
function pixelWords([row, column]) {
  if (!pixels) {
    const canvas = made("canvas");
    [canvas.height, canvas.width] = page.image;
    pixels = canvas.getContext("2d", { willReadFrequently: true });
    pixels.drawImage(byId("picture"), 0, 0);
  }
  return `RGB ${[...pixels.getImageData(column, row, 1, 1).data.slice(0, 3)].join(", ")}`;
}

function wordsFor({ unit, channel, pixel }) {
  const stored = unit.map((at) => at / shown.step);
  const where = `row ${unit[0]}, column ${unit[1]}`;
  let what = "";
  // In a grid, the unit nearest to an input pixel exists in every tile.
  if (shown.value && !(shown.tile && channel === undefined)) {
    const value = shown.value(...stored, channel);
    what = typeof value === "number" ? `≈ ${plain(value)}` : value;
  }
  if (shown.winner) {
    const strongest = shown.winner(...stored);
    what = strongest === undefined ? "no channel is active" : `${what}, of channel ${strongest}`;
  }
  const here = channel === undefined ? where : `channel ${channel}, ${where}`;
  const field = fieldOf(layerNow(), unit);
  const words = [what ? `${here}: ${what}` : here, field ? seenWords(field) : ""].filter(Boolean).join(" · ");
  if (!pixel) return words;
  return `input row ${pixel[0]}, column ${pixel[1]}: ${pixelWords(pixel)} · nearest unit ${words}`;
}

// `box` is left, top, right and bottom as shares of the picture in the frame.
function paintUnit(frame, box) {
  const canvas = frame.querySelector(".marks");
  const scale = scaleNow();
  const size = [frame.clientWidth, frame.clientHeight].map((side) => Math.round(side * scale));
  [canvas.width, canvas.height] = size;
  if (!box) return;
  const part = windows[windowOf(frame)];
  const edges = [box.slice(0, 2), box.slice(2)].flatMap((corner) => inFrame(part, corner));
  const pixels = edges.map((at, n) => at * size[n % 2]);
  paintFrame(canvas.getContext("2d"), pixels, [0, 0, ...size], POINT * scale);
}

function mark() {
  if (!isReady()) return;
  const { layer } = shown;
  const under = hitNow();
  const hit = under ?? (state.location && { unit: state.location });
  const [height, width] = page.image;
  const field = hit && fieldOf(layer, hit.unit);
  const sides = (top, left, bottom, right) => [left / width, top / height, right / width, bottom / height];
  paintUnit(byId("input"), field && sides(...field));
  let box = null;
  if (hit && shown.tile && hit.channel !== undefined) {
    const [top, left] = shown.boxOf(hit.channel);
    const [row, column] = hit.unit.map((at, n) => at / shown.step + [top, left][n]);
    const [rows, columns] = shown.size;
    box = [column / columns, row / rows, (column + 1) / columns, (row + 1) / rows];
  } else if (hit && !shown.tile) {
    const [left, top, across, down] = layer.placement;
    const [row, column] = hit.unit;
    const at = (n) => [top + 0.5 + n * down, left + 0.5 + n * across];
    box = sides(at(row)[0], at(column)[1], at(row + shown.step)[0], at(column + shown.step)[1]);
  }
  paintUnit(byId("output"), box);
  const hint = complaint ? "" : shown.tile ? TILE_HINT : HINT;
  const words = hit ? wordsFor(hit) : hint;
  const said = hit && !under ? `location: ${words}` : words;
  byId("place").textContent = under ? said : `${complaint} ${said}`.trim();
  const strongest = state.location && shown.winner?.(...state.location.map((at) => at / shown.step));
  byId("open").hidden = !Number.isInteger(strongest);
  byId("open").dataset.channel = strongest;
  byId("open").textContent = `open channel ${strongest}`;
  if (!hit && shown.tile && isPicking) pickTile();
}

// Frames the tile of the channel chosen by the keys.
function pickTile() {
  const { channel } = state;
  const [top, left] = shown.boxOf(channel);
  const [rows, columns] = shown.size;
  const [high, wide] = shown.layer.stored;
  paintUnit(byId("output"), [left / columns, top / rows, (left + wide) / columns, (top + high) / rows]);
  const { low, high: most } = shown.layer;
  const [least, largest] = [low[channel], most[channel]].map((value) => (value === null ? "?" : plain(value)));
  byId("place").textContent = `channel ${channel}, from ${least} to ${largest}: Enter opens it.`;
}

function setWindow(name, part) {
  windows[name] = part;
  enlarge();
  mark();
}

// Zooms around the location if it is visible, otherwise around the middle.
function middleOf(part) {
  if (!state.location || shown.tile) return [0.5, 0.5];
  const [left, top, across, down] = shown.layer.placement;
  const [row, column] = state.location.map((at) => at + shown.step / 2);
  const at = [left + 0.5 + column * across, top + 0.5 + row * down].map((pixel, n) => pixel / page.image[1 - n]);
  const place = inFrame(part, at);
  return place.every((share) => share >= 0 && share <= 1) ? place : [0.5, 0.5];
}

function enlargeBy(factor, frame = byId("output"), place = null) {
  if (!isReady()) return;
  const name = windowOf(frame);
  setWindow(name, zoomed(windows[name], factor, place ?? middleOf(windows[name])));
}

function showWhole() {
  if (!shown) return;
  for (const name of Object.keys(windows)) setWindow(name, WHOLE);
}

// Moves by shares of the frame's sides.
function moveBy(place, frame = byId("output")) {
  if (!shown) return;
  const name = windowOf(frame);
  setWindow(name, moved(windows[name], place));
}

function listen(frame) {
  // Where the mouse button was pressed, and whether the mouse has moved away from there.
  let from = null;
  let isDrag = false;
  frame.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) return;
    from = [event.clientX, event.clientY];
    isDrag = false;
    // A drag continues outside the frame.
    if (shown && windows[windowOf(frame)].size < WHOLE.size) frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!event.isPrimary || !shown) return;
    const before = JSON.stringify(hitNow());
    isPicking = false;
    pointer = { frame, clientX: event.clientX, clientY: event.clientY };
    if (from && event.buttons === 1) {
      const by = [event.clientX - from[0], event.clientY - from[1]];
      isDrag ||= Math.hypot(...by) >= CLICK_PIXELS;
      if (isDrag && windows[windowOf(frame)].size < WHOLE.size) {
        from = [event.clientX, event.clientY];
        moveBy([by[0] / frame.clientWidth, by[1] / frame.clientHeight], frame);
        return;
      }
    }
    if (JSON.stringify(hitNow()) !== before) mark();
  });
  frame.addEventListener("pointerup", () => (from = null));
  frame.addEventListener("pointerleave", () => {
    from = pointer = null;
    if (shown) mark();
  });
  // A plain wheel scrolls the page; a touchpad's pinch arrives as a wheel with Ctrl.
  const wheel = (event) => {
    const place = shown && shareAt(frame, event);
    if (!place || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    enlargeBy(Math.exp(-event.deltaY / 200), frame, place);
  };
  frame.addEventListener("wheel", wheel, { passive: false });
  frame.addEventListener("click", (event) => {
    if (isDrag) return;
    // A click's position is in whole pixels, so the marked unit takes precedence.
    const hit = hitNow() ?? hitAt(frame, event);
    if (!hit) return;
    if (hit.channel !== undefined) choose({ mode: "channel", channel: hit.channel });
    else choose({ location: String(hit.unit) === String(state.location) ? null : hit.unit });
  });
}

// --- export

function nameOfPicture() {
  const who = state.mode === "channel" ? `channel-${state.channel}` : state.mode;
  return `${layerNow().label}-${who}.png`.replace(/[^\p{L}\p{N}._-]+/gu, "-");
}

// Breaks a text into lines of at most a width.
function wrapped(context, words, width) {
  const lines = [""];
  for (const word of words.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (!lines.at(-1) || context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

// Draws input, map and colorbar as displayed, with the texts above and below them.
function pictureToSave() {
  const around = byId("pictures").getBoundingClientRect();
  const canvas = made("canvas");
  const context = canvas.getContext("2d");
  const below = [byId("caption"), byId("source")].flatMap((element) => {
    const { font } = getComputedStyle(element);
    context.font = font;
    return wrapped(context, element.textContent, around.width).map((words) => [words, font]);
  });
  canvas.width = SAVED_SCALE * (around.width + 2 * SAVED_EDGE);
  canvas.height = SAVED_SCALE * (around.height + 2 * SAVED_EDGE + SAVED_LINE * below.length);
  const { backgroundColor, color } = getComputedStyle(document.body);
  context.fillStyle = backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(SAVED_SCALE, SAVED_SCALE);
  context.translate(SAVED_EDGE, SAVED_EDGE);
  const placeOf = (element) => {
    const box = element.getBoundingClientRect();
    return [box.left - around.left, box.top - around.top, box.width, box.height];
  };
  for (const frame of [...frames(), byId("bar")]) {
    if (frame.hidden) continue;
    context.save();
    context.beginPath();
    context.rect(...placeOf(frame));
    context.clip();
    for (const part of frame.matches("canvas") ? [frame] : frame.querySelectorAll("img, canvas")) {
      const { opacity, imageRendering } = getComputedStyle(part);
      if (part.hidden || !part.width || !part.height) continue;
      context.globalAlpha = Number(opacity);
      context.imageSmoothingEnabled = imageRendering !== "pixelated";
      context.drawImage(part, ...placeOf(part));
    }
    context.restore();
  }
  context.fillStyle = color;
  context.textBaseline = "middle";
  for (const caption of document.querySelectorAll("#pictures figcaption")) {
    const [left, top, wide, high] = placeOf(caption);
    context.font = getComputedStyle(caption).font;
    context.fillText(caption.textContent, left, top + high / 2, wide);
  }
  below.forEach(([words, font], n) => {
    context.font = font;
    context.fillText(words, 0, around.height + SAVED_LINE * (n + 0.6));
  });
  return canvas;
}

async function savePicture() {
  if (!shown) return;
  // Frames and colorbar are redrawn at the resolution of the saved picture.
  density = Math.max(SAVED_SCALE, scaleNow());
  paintBeside();
  mark();
  const canvas = pictureToSave();
  density = null;
  paintBeside();
  mark();
  const blob = await new Promise((done) => canvas.toBlob(done));
  if (!blob) {
    byId("place").textContent = "The picture is too large to be saved: make the window smaller.";
    return;
  }
  const href = URL.createObjectURL(blob);
  made("a", { href, download: nameOfPicture() }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
  byId("place").textContent = `Saved as ${nameOfPicture()}.`;
}

// Returns the Python code that reproduces the picture.
function codeOf(layer) {
  const { mode, scale, gamma, cmap } = state;
  const words = [JSON.stringify(layer.name), JSON.stringify(mode)];
  const isBent = gamma !== null && !byId("gamma").disabled;
  if (mode === "channel") words.push(`channel=${state.channel}`);
  if (takesSome(mode)) words.push(`channels=[${channelsOf(state, layer).join(", ")}]`);
  if (!byId("cmap").disabled) words.push(`cmap=${JSON.stringify(cmap)}`);
  if (isBent) words.push(`scale=Scale(${JSON.stringify(scale)}, ${page.percentiles[scale]}, ${gamma})`);
  else if (mode !== "argmax") words.push(`scale=${JSON.stringify(scale)}`);
  const more = isBent ? "from vgg_widget.pictures.scaling import Scale\n" : "";
  return `from vgg_widget import FeatureExtractor, plot\n${more}\n${page.code}plot(activations, ${words.join(", ")})\n`;
}

async function copyCode() {
  byId("code-box").open = true;
  try {
    await navigator.clipboard.writeText(byId("code").textContent);
    byId("place").textContent = "The code is on the clipboard.";
  } catch {
    // Some browsers and pages do not allow it.
    getSelection().selectAllChildren(byId("code"));
    byId("place").textContent = "The code is selected: copy it with Ctrl+C.";
  }
}

// --- the controls

let player = null;
function play(on = player === null) {
  clearInterval(player);
  player = on && state.mode === "channel" ? setInterval(playOn, PLAY_MS) : null;
  pressed(byId("play"), player !== null);
  // Announcing each channel's value would be too much.
  byId("place").setAttribute("aria-live", player === null ? "polite" : "off");
}

function playOn() {
  if (document.hidden) return;
  if (state.mode !== "channel") play(false);
  else if (state.channel + 1 < layerNow().channels) stepChannel(1);
  else choose({ channel: 0 }, { replace: true });
}

function showControls(layer) {
  showChosen();
  for (const button of document.querySelectorAll("#modes button"))
    pressed(button, button.dataset.mode === state.mode);
  byId("more").value = state.mode in BUTTONS ? "" : state.mode;
  byId("cmap").value = state.cmap;
  byId("cmap").disabled = ["argmax", "rgb", "rainbow"].includes(state.mode);
  byId("scale").value = state.scale;
  byId("scale").disabled = state.mode === "argmax";
  byId("gamma").disabled = state.mode === "argmax" || (state.mode === "composite" && state.scale !== "auto");
  byId("gamma").value = state.gamma ?? page.scales[state.scale];
  byId("gamma-said").textContent = plain(state.gamma ?? page.scales[state.scale]);
  byId("overlay").value = state.overlay;
  byId("overlay").disabled = state.mode === "grid";
  byId("one").hidden = byId("film").hidden = state.mode !== "channel";
  byId("some").hidden = !takesSome(state.mode);
  byId("relu").hidden = layer.other === null;
  pressed(byId("relu"), layer.signed);
  for (const [n, id] of ["row", "column"].entries()) {
    byId(id).max = layer.shape[n] - 1;
    // A half-typed location is kept.
    if (state.location || !byId("unit").contains(document.activeElement)) byId(id).value = state.location?.[n] ?? "";
  }
  byId("channels").value = state.channels.join(", ");
  byId("channels").placeholder = `the most telling ${state.mode === "rgb" ? 3 : "few"} (or type numbers, such as 0, 5, 12)`;
}

// The network's pictures and the filmstrip follow the main picture, which is more urgent.
let strip = "";
let network = "";
async function showSmall(layer) {
  const place = placeOfLayer(state.layer);
  // A colormap for both signs does not suit values of one sign.
  const cmapOf = (one) => (state.cmap === page.usual[1] && !one.signed ? page.usual[0] : state.cmap);
  if (strip !== `${place} ${state.cmap}` && state.mode === "channel") {
    strip = `${place} ${state.cmap}`;
    const { telling, shape } = layer;
    byId("film-said").textContent =
      shape[2] > 1 ? `${telling.length} channels that differ most here: click on one` : "";
    byId("all").textContent = `all ${shape[2]} ▸`;
    byId("all").hidden = shape[2] < 2;
    const buttons = telling.map((channel) => {
      const words = `channel ${channel}`;
      const button = made("button", { type: "button", class: "film small", title: words, "aria-label": words });
      button.dataset.channel = channel;
      button.addEventListener("click", () => choose({ channel }));
      button.append(made("canvas"));
      return button;
    });
    // The keyboard's focus stays at its position.
    const focused = [...byId("strip").children].indexOf(document.activeElement);
    byId("strip").replaceChildren(...buttons);
    buttons[focused]?.focus();
    await Promise.all(
      buttons.map((button, n) => keeper.thumbnail(button.firstChild, place, telling[n], cmapOf(layer)))
    );
  }
  for (const button of byId("strip").children) pressed(button, Number(button.dataset.channel) === state.channel);
  if (network === `${place} ${state.cmap}`) return;
  network = `${place} ${state.cmap}`;
  const blocks = [...byId("network").children];
  for (const [n, { buttons }] of page.blocks.entries()) {
    const members = buttons.map(([, one]) => one);
    const face = members.includes(place) ? place : members[0];
    const about = page.layers[face];
    const picture = blocks[n].querySelector(".picture");
    picture.dataset.layer = face;
    pressed(picture, face === place);
    picture.title = about.words;
    picture.setAttribute("aria-label", about.words);
    blocks[n].querySelector(".note").textContent = about.shape.join(" × ");
    await keeper.thumbnail(picture.firstChild, face, about.telling[0], cmapOf(about));
  }
}

function build() {
  const option = (value, words) => made("option", { value }, words);
  for (const [mode, words] of Object.entries(BUTTONS)) {
    const button = made("button", { type: "button", title: `${mode}: ${MEANINGS[mode]}` }, words);
    button.dataset.mode = mode;
    button.addEventListener("click", () => choose({ mode }));
    byId("modes").append(button);
  }
  const others = Object.keys(page.phrases).filter((mode) => !(mode in BUTTONS));
  byId("more").append(option("", "more …"), ...others.map((mode) => option(mode, mode)));
  for (const one of byId("more").options) one.title = MEANINGS[one.value] ?? "";
  byId("cmap").append(...Object.keys(page.cmaps).map((name) => option(name, name)));
  byId("scale").append(...Object.entries(RANGES).map(([name, words]) => option(name, words)));

  byId("more").addEventListener("change", () => choose({ mode: byId("more").value || state.mode }));
  byId("cmap").addEventListener("change", () => choose({ cmap: byId("cmap").value }));
  // Each range has its own gamma.
  byId("scale").addEventListener("change", () => choose({ scale: byId("scale").value, gamma: null }));
  for (const trait of ["gamma", "overlay"])
    byId(trait).addEventListener("input", () => choose({ [trait]: byId(trait).valueAsNumber }, { replace: true }));
  byId("channels").addEventListener("change", () => {
    const words = byId("channels").value.split(/[\s,]+/).filter(Boolean);
    const wrong = whyNot(words);
    byId("place").textContent = wrong;
    if (!wrong) choose({ channels: [...new Set(words.map(Number))] });
  });
  for (const id of ["row", "column"]) byId(id).addEventListener("change", chooseUnit);
  const clicks = {
    all: () => choose({ mode: "grid" }),
    closer: () => enlargeBy(ZOOM_STEP),
    farther: () => enlargeBy(1 / ZOOM_STEP),
    whole: showWhole,
    save: savePicture,
    "copy-code": copyCode,
    play: () => play(),
    relu: turnRelu,
    open: () => choose({ mode: "channel", channel: Number(byId("open").dataset.channel) }),
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  // Choosing a channel stops playback.
  for (const id of ["slider", "channel", "strip"])
    for (const kind of ["pointerdown", "focusin", "input"]) byId(id).addEventListener(kind, () => play(false));
  for (const frame of frames()) listen(frame);
}

// Returns what is wrong with the typed channels, or an empty text. Invalid input stays in the field.
function whyNot(words) {
  const last = layerNow().channels - 1;
  const odd = words.find((word) => !/^\d{1,6}$/.test(word) || Number(word) > last);
  if (odd !== undefined) return `“${odd}” is not a channel of this layer: type numbers from 0 to ${last}.`;
  const count = new Set(words.map(Number)).size;
  return state.mode === "rgb" && count && count < 3 ? `Mix needs three channels, but these are ${count}.` : "";
}

// Chooses a unit by its numbers, without a mouse; a field without a number clears the location.
function chooseUnit() {
  const unit = [byId("row"), byId("column")].map((field) => field.valueAsNumber);
  if (unit.every((at) => Number.isInteger(at) && at >= 0)) choose({ location: unit });
  else if (state.location) choose({ location: null });
}

function turnGrid() {
  if (state.mode === "grid") {
    choose({ mode: beforeGrid });
    return;
  }
  beforeGrid = state.mode;
  choose({ mode: "grid" });
}

function turnRelu() {
  const { other } = layerNow();
  if (other !== null) choose({ layer: page.layers[other].name });
}

function step(by) {
  play(false);
  isPicking = state.mode === "grid";
  stepChannel(by);
}

function openPicked() {
  if (state.mode === "grid" && isPicking) choose({ mode: "channel" });
}

const KEYS = {
  Enter: openPicked,
  Escape: () => choose({ location: null }),
  "+": () => enlargeBy(ZOOM_STEP),
  "=": () => enlargeBy(ZOOM_STEP),
  "-": () => enlargeBy(1 / ZOOM_STEP),
  0: showWhole,
  "Shift+ArrowLeft": () => moveBy([MOVE_STEP, 0]),
  "Shift+ArrowRight": () => moveBy([-MOVE_STEP, 0]),
  "Shift+ArrowUp": () => moveBy([0, MOVE_STEP]),
  "Shift+ArrowDown": () => moveBy([0, -MOVE_STEP]),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  b: turnRelu,
  c: copyCode,
  g: turnGrid,
  o: () => choose({ overlay: state.overlay ? 0 : OVERLAY }),
  p: () => play(),
  s: savePicture,
};

const numberWithin = (low, high) => (words) => {
  const value = words.trim() === "" ? NaN : Number(words);
  return value >= low && value <= high ? value : undefined;
};

byId("halved").hidden = !byId("halved").textContent;
// The line under the picture includes these words.
byId("made").textContent = byId("made").textContent.split(" · ").at(-1);
build();
start({
  show,
  fitted,
  keys: KEYS,
  hasPictures: true,
  hasChannel: () => ["channel", "grid"].includes(state.mode),
  unnamed: { channel: null, cmap: null, channels: [], gamma: null, location: null, overlay: 0 },
  reads: {
    layer: String,
    channel: oneNumber,
    channels: (words) => [...new Set(numbersIn(words))],
    mode: (value) => (Object.hasOwn(page.phrases, value) ? value : undefined),
    cmap: (value) => (Object.hasOwn(page.cmaps, value) ? value : undefined),
    scale: (value) => (Object.hasOwn(RANGES, value) ? value : undefined),
    gamma: numberWithin(0.01, 100),
    overlay: numberWithin(0, 1),
    location: (value) => (/^\d{1,6},\d{1,6}$/.test(value) ? numbersIn(value) : undefined),
  },
});

// Sizes and colours of the drawing follow the page's.
const redraw = () => shown && draw();
new ResizeObserver(redraw).observe(byId("pictures"));
// Paper is white.
for (const [event, on] of [["beforeprint", true], ["afterprint", false]])
  window.addEventListener(event, () => {
    document.documentElement.classList.toggle("printing", on);
    redraw();
  });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
