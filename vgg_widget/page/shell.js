// What every page without a kernel has: a layer and a channel to choose, an address that says what is on
// show, and keys. What is shown of a layer and a channel is the page's own.

export const byId = (id) => document.getElementById(id);
export const page = JSON.parse(byId("page").textContent);

const STEPS_REST_MS = 200;
// More buttons would fill the page: the list has all layers.
const MOST_BUTTONS = 30;

export function made(tag, attributes = {}, words = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = words;
  return element;
}

// As people write numbers: the same as the explorer's words.
export function plain(value, digits = 4) {
  if (!value) return "0";
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  const options = { maximumFractionDigits: Math.min(20, places), useGrouping: size >= 1000 };
  return new Intl.NumberFormat("en", options).format(rounded);
}

export const numbersIn = (words) => (words.match(/\d{1,6}/g) ?? []).map(Number);
export const oneNumber = (words) => (/^\d{1,6}$/.test(words) ? Number(words) : undefined);

export function pressed(element, is) {
  element.setAttribute("aria-pressed", String(is));
}

export const placeOfLayer = (name) => page.layers.findIndex((one) => one.name === name);

// --- what is on show

// A value for each of the view's traits.
export let state;
let view;
let steps = 0;

export const layerNow = () => page.layers[placeOfLayer(state.layer)];

export function choose(changes, { replace = false } = {}) {
  const before = state;
  state = view.fitted({ ...state, ...changes }, state);
  if (JSON.stringify(state) !== JSON.stringify(before)) writeAddress(replace, before);
  return view.show();
}

// --- the address

function addressOf(one) {
  const words = new URLSearchParams();
  for (const name of Object.keys(view.reads)) {
    const value = one[name];
    if (value === view.unnamed[name] || (Array.isArray(value) && !value.length)) continue;
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

function wordsInAddress() {
  const words = location.hash.slice(1);
  // Pages of strongest images had addresses of this form before.
  const former = /^([^=&]*)\/(\d+)$/.exec(words);
  return new URLSearchParams(former ? `layer=${former[1]}&channel=${former[2]}` : words);
}

// What is wrong in an address gives way to what is shown first.
function readAddress() {
  const words = wordsInAddress();
  const reads = { ...view.reads, layer: (name) => (placeOfLayer(name) >= 0 ? name : undefined) };
  const isNamed = [...words.keys()].some((name) => name in reads);
  const found = isNamed ? { ...page.first, ...view.unnamed } : { ...page.first };
  for (const [name, read] of Object.entries(reads)) {
    const value = words.has(name) ? read(words.get(name)) : undefined;
    if (value !== undefined) found[name] = value;
  }
  state = view.fitted(found, null);
}

// --- the layer and the channel

// Shows which layer and which channel are chosen.
export function showChosen() {
  const place = placeOfLayer(state.layer);
  byId("layer").selectedIndex = place;
  for (const button of document.querySelectorAll("#network button"))
    pressed(button, Number(button.dataset.layer) === place);
  for (const id of ["slider", "channel"]) {
    byId(id).max = layerNow().channels - 1;
    byId(id).value = state.channel;
  }
}

const chooseLayer = (place) => choose({ layer: page.layers[place].name });

// A button for each layer, by blocks; `hasPictures` says whether each block has a picture beside them.
function buildNetwork(hasPictures) {
  const layerButton = (words, place, name) => {
    const button = made("button", { type: "button", class: name }, words);
    button.dataset.layer = place;
    button.addEventListener("click", () => chooseLayer(Number(button.dataset.layer)));
    return button;
  };
  for (const { title, buttons } of page.blocks) {
    const block = made("div", { class: "block" });
    if (hasPictures) {
      const picture = layerButton("", buttons[0][1], "picture");
      picture.append(made("canvas"));
      block.append(picture);
    }
    const words = made("div");
    const row = made("div", { class: "buttons", role: "group", "aria-label": title });
    for (const [label, place] of buttons) {
      const button = layerButton(label, place, "");
      button.title = page.layers[place].words;
      button.setAttribute("aria-label", button.title);
      row.append(button);
    }
    words.append(made("b", {}, title), row, made("span", { class: "note quiet" }));
    block.append(words);
    byId("network").append(block);
  }
  byId("network").hidden = page.layers.length > MOST_BUTTONS;
  const option = ({ name, words }) => made("option", { value: name }, words);
  byId("layer").append(...page.layers.map(option));
  byId("layer").addEventListener("change", () => chooseLayer(byId("layer").selectedIndex));
}

function buildChannel() {
  for (const id of ["slider", "channel"]) {
    byId(id).addEventListener("input", () => {
      const channel = byId(id).valueAsNumber;
      // Half a number is no channel yet.
      if (!Number.isInteger(channel) || channel < 0 || channel >= layerNow().channels) return;
      choose({ channel }, { replace: true });
    });
  }
  // What was left unfinished gives way to the channel on view.
  byId("channel").addEventListener("change", showChosen);
}

export function stepChannel(step) {
  const channel = state.channel + step;
  if (view.hasChannel() && channel >= 0 && channel < layerNow().channels)
    choose({ channel }, { replace: true });
}

function stepLayer(step) {
  const place = placeOfLayer(state.layer) + step;
  if (place >= 0 && place < page.layers.length) chooseLayer(place);
}

const SHARED_KEYS = {
  ArrowLeft: () => stepChannel(-1),
  ArrowRight: () => stepChannel(1),
  ArrowUp: () => stepLayer(-1),
  ArrowDown: () => stepLayer(1),
  Backspace: () => steps > 0 && history.back(),
  r: () => choose(page.first),
};

// Begins the page. A view has `show()`, which shows the state; `fitted(asked, before)`, the nearest state
// that there is; `reads`, how the address's word for each trait becomes a value; `unnamed`, what traits are
// where an address names others alone; `hasChannel()`, whether one channel is on show; and `keys`.
export function start(hasPictures, itself) {
  view = itself;
  byId("waiting").remove();
  for (const element of document.querySelectorAll(".controls")) element.hidden = false;
  buildNetwork(hasPictures);
  buildChannel();
  const keys = { ...SHARED_KEYS, ...view.keys };
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, key)) return;
    // Fields and lists have the keys for themselves.
    if (["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) && key !== "Escape") return;
    event.preventDefault();
    keys[key]();
  });
  window.addEventListener("popstate", () => {
    clearTimeout(waiting);
    waiting = undefined;
    readAddress();
    view.show();
  });
  readAddress();
  view.show();
}
