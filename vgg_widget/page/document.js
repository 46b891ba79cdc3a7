// The explorer as a page without a kernel: its controls, its address, and what is under the mouse.

import { mapKeeper, shareOf } from "./maps.js";
import { fieldOf, paintBar, paintFrame, paintList, seenWords } from "./painter.js";

const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("page").textContent);
const keeper = mapKeeper(page);

const HINT = "Point at a picture to read its values; click to keep a location.";
const TILE_HINT = "Point at a picture to read its values; click on a tile to open its channel.";
const BUTTONS = { channel: "One channel", grid: "All", max: "Strongest", rgb: "Mix" };
const RANGES = {
  auto: "this picture", channel: "this picture, to the max", layer: "the layer", network: "the network",
};
// Pixels of the page that a point of type has.
const POINT = 4 / 3;
const STEPS_REST_MS = 200;
const MOST_LAYERS = 30;
const TRAITS = ["layer", "channel", "channels", "mode", "cmap", "scale", "gamma", "location"];

const placeOfLayer = (name) => page.layers.findIndex((one) => one.name === name);

function made(tag, attributes = {}, words = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = words;
  return element;
}

// As people write numbers: the same as the explorer's words.
function plain(value, digits = 4) {
  if (!value) return "0";
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  const options = { maximumFractionDigits: Math.min(20, places), useGrouping: size >= 1000 };
  return new Intl.NumberFormat("en", options).format(rounded);
}

// --- what is on show

let state = { ...page.first };
let shown = null;
let painting = 0;
let under = null;
let beforeGrid = "channel";
let steps = 0;

const layerNow = () => page.layers[placeOfLayer(state.layer)];
const takesSome = (mode) => ["composite", "rgb", "rainbow"].includes(mode);

function channelsOf({ mode, channels }, layer) {
  const wanted = mode === "rgb" ? 3 : page.some;
  const left = channels.filter((channel) => channel < layer.shape[2]);
  if (mode === "rgb") return left.length >= 3 ? left.slice(0, 3) : layer.telling.slice(0, 3);
  return left.length ? left : layer.telling.slice(0, wanted);
}

const stepOf = ({ mode }, layer) => (["max", "mean", "argmax"].includes(mode) ? 1 : layer.step);

// The nearest that the layer and the mode can show; a location stays where it is on the input.
function fitted(asked, before) {
  const layer = page.layers[placeOfLayer(asked.layer)];
  const [rows, columns, count] = layer.shape;
  const channel = Math.min(Math.max(0, asked.channel), count - 1);
  // Of a layer with fewer channels the mode needs enough.
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
  return { ...asked, channel, mode, location };
}

function choose(changes, { replace = false } = {}) {
  const before = state;
  state = fitted({ ...state, ...changes }, state);
  if (JSON.stringify(state) !== JSON.stringify(before)) writeAddress(replace, before);
  return show();
}

// --- the address

function addressOf(one) {
  const words = new URLSearchParams();
  for (const name of TRAITS) {
    const value = one[name];
    if (value === null || (Array.isArray(value) && !value.length)) continue;
    words.set(name, String(value));
  }
  // A comma is read by people.
  return `#${words.toString().replaceAll("%2C", ",")}`;
}

// A browser takes only so many addresses in a second: those of steps are written when the steps rest.
let waiting;
function writeAddress(replace, before) {
  if (replace) {
    clearTimeout(waiting);
    waiting = setTimeout(() => putAddress("replaceState", state), STEPS_REST_MS);
    return;
  }
  if (waiting) putAddress("replaceState", before);
  putAddress("pushState", state);
  steps++;
}

function putAddress(how, what) {
  clearTimeout(waiting);
  waiting = undefined;
  try {
    history[how](null, "", addressOf(what));
  } catch {
    // Within another page there may be no address of its own.
  }
}

const numbersIn = (words) => (words.match(/\d{1,6}/g) ?? []).map(Number);

// What is wrong in an address gives way to what is shown first.
function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const found = { ...page.first };
  const reads = {
    layer: (value) => (placeOfLayer(value) >= 0 ? value : undefined),
    channel: (value) => (/^\d{1,6}$/.test(value) ? Number(value) : undefined),
    channels: (value) => numbersIn(value),
    mode: (value) => (value in page.phrases ? value : undefined),
    cmap: (value) => (Object.hasOwn(page.cmaps, value) ? value : undefined),
    scale: (value) => (Object.hasOwn(RANGES, value) ? value : undefined),
    gamma: (value) => (Number(value) > 0 && Number(value) < 100 ? Number(value) : undefined),
    location: (value) => (/^\d{1,6},\d{1,6}$/.test(value) ? numbersIn(value) : undefined),
  };
  if ([...words.keys()].some((name) => name in reads)) found.location = found.gamma = null;
  for (const [name, read] of Object.entries(reads)) {
    const value = words.has(name) ? read(words.get(name)) : undefined;
    if (value !== undefined) found[name] = value;
  }
  state = fitted(found, null);
}

// --- words

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

// Over which range activations became colours, and the gamma where there is one.
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
  // The finest step of which there are no more than four; a coarser one may leave two numbers.
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

function paintBeside() {
  const bar = byId("bar");
  const hasBar = shown.bar && shown.range && shown.range[1] > shown.range[0];
  bar.hidden = !hasBar && !shown.list.length;
  byId("pictures").classList.toggle("bare", bar.hidden && Boolean(shown.tile));
  if (bar.hidden) return;
  const isLying = matchMedia("(max-width: 600px)").matches;
  const tall = shown.list.length ? 17 * shown.list.length + 8 : byId("output").clientHeight;
  if (isLying) bar.style.height = shown.list.length ? `${tall}px` : "";
  else bar.style.height = `${shown.list.length ? Math.max(tall, byId("output").clientHeight) : tall}px`;
  const scale = devicePixelRatio || 1;
  const points = POINT * scale;
  [bar.width, bar.height] = [bar.clientWidth * scale, bar.clientHeight * scale].map(Math.round);
  const context = bar.getContext("2d");
  const ink = getComputedStyle(document.body).color;
  if (shown.list.length) {
    const lines = shown.list.map(([words, colour], n) => [words, colour, points, (n * 17 + 9) * scale]);
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

function placeMap(layer) {
  const [canvas, frame] = [byId("map"), byId("output")];
  const [height, width] = page.image;
  [canvas.height, canvas.width] = shown.size;
  if (shown.tile) {
    frame.style.aspectRatio = `${shown.size[1]} / ${shown.size[0]}`;
    Object.assign(canvas.style, { left: 0, top: 0, width: "100%", height: "100%" });
  } else {
    frame.style.aspectRatio = `${width} / ${height}`;
    const [left, top, across, down] = layer.placement;
    Object.assign(canvas.style, {
      left: `${(100 * (left + 0.5)) / width}%`,
      top: `${(100 * (top + 0.5)) / height}%`,
      width: `${(100 * across * shown.step * shown.size[1]) / width}%`,
      height: `${(100 * down * shown.step * shown.size[0]) / height}%`,
    });
  }
  const scale = devicePixelRatio || 1;
  canvas.classList.toggle("reduced", canvas.clientWidth * scale < shown.size[1]);
}

async function show() {
  const turn = ++painting;
  const layer = layerNow();
  byId("explorer").setAttribute("aria-busy", "true");
  showControls(layer);
  const channels = channelsOf(state, layer);
  const found = await keeper.picture({ ...state, channels }, placeOfLayer(state.layer));
  if (turn !== painting) return;
  shown = found;
  byId("pictures").classList.toggle("tiled", Boolean(shown.tile));
  const title = titleOf(layer);
  byId("title").textContent = title;
  byId("map").setAttribute("aria-label", title);
  placeMap(layer);
  shown.paint(byId("map").getContext("2d"));
  const [rows, columns, count] = layer.shape;
  const parts = [layer.label, `${rows} × ${columns} × ${count}`, who(layer), shown.note];
  byId("caption").textContent = parts.filter(Boolean).join(" · ");
  byId("source").textContent = sourceWords();
  paintBeside();
  mark();
  byId("explorer").setAttribute("aria-busy", "false");
  showSmall(layer);
}

// --- what is under the mouse

// Returns the unit there, on a grid its channel, and on the input the pixel.
function hitAt(frame, event) {
  if (!shown) return null;
  const layer = layerNow();
  const box = frame.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
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

function wordsFor({ unit, channel, pixel }) {
  const stored = unit.map((at) => at / shown.step);
  const where = `row ${unit[0]}, column ${unit[1]}`;
  let what = shown.words?.(...stored) ?? "";
  // On a grid, the nearest unit of the input is one of every tile.
  if (shown.value && !(shown.tile && channel === undefined)) {
    const value = shown.value(...stored, channel);
    what = typeof value === "number" ? `≈ ${plain(value)}` : value;
  }
  const here = channel === undefined ? where : `channel ${channel}, ${where}`;
  const field = fieldOf(layerNow(), unit);
  const words = [what ? `${here}: ${what}` : here, field ? seenWords(field) : ""].filter(Boolean).join(" · ");
  return pixel ? `input row ${pixel[0]}, column ${pixel[1]} · nearest unit ${words}` : words;
}

function paintUnit(frame, box, clip) {
  const canvas = frame.querySelector(".marks");
  const scale = devicePixelRatio || 1;
  const size = [frame.clientWidth, frame.clientHeight].map((side) => Math.round(side * scale));
  [canvas.width, canvas.height] = size;
  if (!box) return;
  const edges = box.map((at, n) => at * size[n % 2]);
  paintFrame(canvas.getContext("2d"), edges, clip ?? [0, 0, ...size], POINT * scale);
}

function mark() {
  const layer = layerNow();
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
  const hint = shown.tile ? TILE_HINT : HINT;
  const words = hit ? wordsFor(hit) : hint;
  byId("place").textContent = hit && !under ? `location: ${words}` : words;
}

function listen(frame) {
  frame.addEventListener("pointermove", (event) => {
    const hit = hitAt(frame, event);
    if (JSON.stringify(hit) === JSON.stringify(under)) return;
    under = hit;
    mark();
  });
  frame.addEventListener("pointerleave", () => {
    under = null;
    if (shown) mark();
  });
  frame.addEventListener("click", (event) => {
    // A click's place is in whole pixels; what is marked is meant.
    const hit = under ?? hitAt(frame, event);
    if (!hit) return;
    if (hit.channel !== undefined) {
      under = null;
      choose({ mode: "channel", channel: hit.channel });
    } else choose({ location: String(hit.unit) === String(state.location) ? null : hit.unit });
  });
}

// --- the controls

function pressed(element, is) {
  element.setAttribute("aria-pressed", String(is));
}

function showControls(layer) {
  const place = placeOfLayer(state.layer);
  byId("layer").selectedIndex = place;
  for (const button of document.querySelectorAll("#network button"))
    pressed(button, Number(button.dataset.layer) === place);
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
  byId("one").hidden = byId("film").hidden = state.mode !== "channel";
  byId("some").hidden = !takesSome(state.mode);
  for (const id of ["slider", "channel"]) {
    byId(id).max = layer.shape[2] - 1;
    byId(id).value = state.channel;
  }
  byId("channels").value = state.channels.join(", ");
  byId("channels").placeholder = `the most telling ${state.mode === "rgb" ? 3 : "few"} (or type for instance 0, 5, 12)`;
}

// The network's pictures and the filmstrip come after the picture: nobody waits for them.
let strip = "";
let network = "";
async function showSmall(layer) {
  const place = placeOfLayer(state.layer);
  // A colormap of two signs has no room for values of one.
  const cmapFor = (one) => (state.cmap === "coolwarm" && !one.signed ? "magma" : state.cmap);
  if (strip !== `${place} ${state.cmap}` && state.mode === "channel") {
    strip = `${place} ${state.cmap}`;
    const { telling, shape } = layer;
    byId("film-said").textContent =
      shape[2] > 1 ? `${telling.length} channels that differ most here: click on one` : "";
    byId("all").textContent = `all ${shape[2]} ▸`;
    byId("all").hidden = shape[2] < 2;
    const buttons = telling.map((channel) => {
      const words = `channel ${channel}`;
      const button = made("button", { type: "button", class: "film", title: words, "aria-label": words });
      button.dataset.channel = channel;
      button.addEventListener("click", () => choose({ channel }));
      button.append(made("canvas"));
      return button;
    });
    byId("strip").replaceChildren(...buttons);
    await Promise.all(
      buttons.map((button, n) => keeper.thumbnail(button.firstChild, place, telling[n], cmapFor(layer)))
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
    const words = `${about.label} · ${about.shape.join(" × ")}`;
    picture.title = words;
    picture.setAttribute("aria-label", words);
    blocks[n].querySelector(".note").textContent = about.shape.join(" × ");
    await keeper.thumbnail(picture.firstChild, face, about.telling[0], cmapFor(about));
  }
}

const chooseLayer = (place) => choose({ layer: page.layers[place].name });

function build() {
  const layerButton = (words, place, name) => {
    const button = made("button", { type: "button", class: name }, words);
    button.dataset.layer = place;
    button.addEventListener("click", () => chooseLayer(Number(button.dataset.layer)));
    return button;
  };
  for (const { title, buttons } of page.blocks) {
    const block = made("div", { class: "block" });
    const picture = layerButton("", buttons[0][1], "picture");
    picture.append(made("canvas"));
    const words = made("div");
    const row = made("div", { class: "buttons", role: "group", "aria-label": title });
    for (const [label, place] of buttons) {
      const { label: name, shape } = page.layers[place];
      const button = layerButton(label, place, "");
      button.title = `${name} · ${shape.join(" × ")}`;
      button.setAttribute("aria-label", button.title);
      row.append(button);
    }
    words.append(made("b", {}, title), row, made("span", { class: "note quiet" }));
    block.append(picture, words);
    byId("network").append(block);
  }
  // More buttons would fill the page: the list has all layers.
  byId("network").hidden = page.layers.length > MOST_LAYERS;
  const option = (value, words) => made("option", { value }, words);
  byId("layer").append(...page.layers.map(({ name, label, shape }) => option(name, `${label} · ${shape.join(" × ")}`)));
  for (const [mode, words] of Object.entries(BUTTONS)) {
    const button = made("button", { type: "button" }, words);
    button.dataset.mode = mode;
    button.addEventListener("click", () => choose({ mode }));
    byId("modes").append(button);
  }
  const others = Object.keys(page.phrases).filter((mode) => !(mode in BUTTONS));
  byId("more").append(option("", "more …"), ...others.map((mode) => option(mode, mode)));
  byId("cmap").append(...Object.keys(page.cmaps).map((name) => option(name, name)));
  byId("scale").append(...Object.entries(RANGES).map(([name, words]) => option(name, words)));

  byId("layer").addEventListener("change", () => chooseLayer(byId("layer").selectedIndex));
  byId("more").addEventListener("change", () => choose({ mode: byId("more").value || state.mode }));
  byId("cmap").addEventListener("change", () => choose({ cmap: byId("cmap").value }));
  // Each range has a gamma of its own.
  byId("scale").addEventListener("change", () => choose({ scale: byId("scale").value, gamma: null }));
  byId("gamma").addEventListener("input", () => choose({ gamma: byId("gamma").valueAsNumber }, { replace: true }));
  for (const id of ["slider", "channel"]) {
    byId(id).addEventListener("input", () => {
      const channel = byId(id).valueAsNumber;
      // Half a number is no channel yet.
      if (!Number.isInteger(channel) || channel < 0 || channel >= layerNow().shape[2]) return;
      choose({ channel }, { replace: true });
    });
  }
  // What was left unfinished gives way to the channel on view.
  byId("channel").addEventListener("change", () => showControls(layerNow()));
  byId("channels").addEventListener("change", () => choose({ channels: [...new Set(numbersIn(byId("channels").value))] }));
  byId("all").addEventListener("click", () => choose({ mode: "grid" }));
}

function stepChannel(step) {
  const channel = state.channel + step;
  if (state.mode === "channel" && channel >= 0 && channel < layerNow().shape[2])
    choose({ channel }, { replace: true });
}

function stepLayer(step) {
  const place = placeOfLayer(state.layer) + step;
  if (place >= 0 && place < page.layers.length) chooseLayer(place);
}

function turnGrid() {
  if (state.mode === "grid") {
    choose({ mode: beforeGrid });
    return;
  }
  beforeGrid = state.mode;
  choose({ mode: "grid" });
}

const KEYS = {
  ArrowLeft: () => stepChannel(-1),
  ArrowRight: () => stepChannel(1),
  ArrowUp: () => stepLayer(-1),
  ArrowDown: () => stepLayer(1),
  Backspace: () => steps > 0 && history.back(),
  Escape: () => choose({ location: null }),
  g: turnGrid,
  r: () => choose(page.first),
};

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, key)) return;
  // Fields and lists have the keys for themselves.
  if (["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) && key !== "Escape") return;
  event.preventDefault();
  KEYS[key]();
});

window.addEventListener("popstate", () => {
  clearTimeout(waiting);
  waiting = undefined;
  readAddress();
  show();
});

byId("waiting").remove();
byId("notice").hidden = !byId("notice").querySelector("b").textContent;
byId("halved").hidden = !byId("halved").textContent;
// The line under the picture says it, and more.
byId("made").textContent = byId("made").textContent.split(" · ").at(-1);
for (const element of document.querySelectorAll(".controls")) element.hidden = false;
build();
readAddress();
listen(byId("input"));
listen(byId("output"));
show();

// Sizes and colours of what is drawn follow the page's.
const redraw = () => {
  if (!shown) return;
  placeMap(layerNow());
  shown.paint(byId("map").getContext("2d"));
  paintBeside();
  mark();
};
new ResizeObserver(redraw).observe(byId("pictures"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
