// What every page without a kernel has: a layer and a channel to choose, an address that says what is on
// show, and keys. What is shown of a layer and a channel is the page's own.

export const byId = (id) => document.getElementById(id);
export const page = JSON.parse(byId("page").textContent);

const STEPS_REST_MS = 400;
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
// What the address asked for and the page has not; empty where nothing is wrong.
export let complaint = "";
let view;
// How many steps of this page lie before what is on show: going back further would leave it.
let steps = history.state?.steps ?? 0;

export const layerNow = () => page.layers[placeOfLayer(state.layer)];

export function choose(changes, { replace = false } = {}) {
  const before = state;
  complaint = "";
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

// Steps from channel to channel are one entry of the browser's history, whose address is written when they
// rest: a browser takes only so many in a second.
let waiting;
let isStepping = Boolean(history.state?.isStepping);
function writeAddress(isStep, before) {
  if (isStep && isStepping) {
    clearTimeout(waiting);
    waiting = setTimeout(() => putAddress("replaceState", state), STEPS_REST_MS);
    return;
  }
  if (waiting) putAddress("replaceState", before);
  isStepping = isStep;
  putAddress("pushState", state);
}

function putAddress(how, what) {
  clearTimeout(waiting);
  waiting = undefined;
  const next = steps + (how === "pushState");
  try {
    history[how]({ steps: next, isStepping }, "", addressOf(what));
    steps = next;
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

// By any of a layer's names.
const layerCalled = (name) => page.layers.find((one) => one.name === name || one.names?.includes(name))?.name;

// What is wrong in an address gives way to what is shown first, and is told.
function readAddress() {
  const words = wordsInAddress();
  const reads = { ...view.reads, layer: layerCalled };
  const isNamed = [...words.keys()].some((name) => name in reads);
  const found = isNamed ? { ...page.first, ...view.unnamed } : { ...page.first };
  const lacking = [];
  for (const [name, read] of Object.entries(reads)) {
    if (!words.has(name)) continue;
    const value = read(words.get(name));
    if (value === undefined) lacking.push(`${name} “${words.get(name).slice(0, 60)}”`);
    // Channels and places are those of the layer that was meant.
    else if (!(lacking.length && ["channel", "channels", "location"].includes(name))) found[name] = value;
  }
  state = view.fitted(found, null);
  for (const name of ["channel", "location"]) {
    const asked = found[name];
    if (asked != null && String(state[name]) !== String(asked)) lacking.push(`${name} ${asked} in ${state.layer}`);
  }
  complaint = lacking.length ? `This page has no ${lacking.join(", and no ")}. It shows what is nearest.` : "";
  // The address then says what is on show.
  if (isNamed) putAddress("replaceState", state);
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

// A button for each layer, by blocks.
function buildNetwork() {
  const layerButton = (words, place, name) => {
    const button = made("button", { type: "button", class: name }, words);
    button.dataset.layer = place;
    button.addEventListener("click", () => chooseLayer(Number(button.dataset.layer)));
    return button;
  };
  for (const { title, buttons } of page.blocks) {
    const block = made("div", { class: "block" });
    const words = made("div");
    const row = made("div", { class: "buttons", role: "group", "aria-label": title });
    for (const [label, place] of buttons) {
      const button = layerButton(label, place, "");
      button.title = page.layers[place].words;
      button.setAttribute("aria-label", button.title);
      row.append(button);
    }
    words.append(made("b", {}, title), row);
    block.append(words);
    if (view.hasPictures) {
      const picture = layerButton("", buttons[0][1], "picture small");
      picture.append(made("canvas"));
      // The button beside it does the same for the keyboard.
      picture.tabIndex = -1;
      block.prepend(picture);
      words.append(made("span", { class: "note quiet" }));
    }
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

// Of layers that are there before and after their ReLU, only the side on show comes next.
function stepLayer(step) {
  const { signed } = layerNow();
  let place = placeOfLayer(state.layer) + step;
  while (Number.isInteger(page.layers[place]?.other) && page.layers[place].signed !== signed) place += step;
  if (page.layers[place]) chooseLayer(place);
}

function goBack() {
  if (steps < 1) return;
  // The browser goes some time later, and may be asked again before.
  steps--;
  history.back();
}

const SHARED_KEYS = {
  ArrowLeft: () => stepChannel(-1),
  ArrowRight: () => stepChannel(1),
  ArrowUp: () => stepLayer(-1),
  ArrowDown: () => stepLayer(1),
  Backspace: goBack,
  r: () => choose(page.first),
};

// A list finds its lines by letters, and sliders move by arrows and the like.
const isKept = ({ tagName, type }, key) =>
  ["SELECT", "TEXTAREA"].includes(tagName) || (tagName === "INPUT" && (type !== "range" || key.length > 1));

// With Caps Lock on, a letter is still that letter.
function nameOfKey({ key, shiftKey }) {
  if (key.length > 1) return shiftKey ? `Shift+${key}` : key;
  return shiftKey ? key : key.toLowerCase();
}

// Begins the page. A view has
// - show(): shows the state;
// - fitted(asked, before): the nearest state that there is;
// - reads: for each trait a function from its word in an address to its value;
// - unnamed: what traits are where an address names others alone;
// - hasChannel(): whether one channel is on show;
// - hasPictures: whether each block of the network has a picture;
// - keys: what they do, beside those of every page.
export function start(itself) {
  view = { unnamed: {}, keys: {}, hasPictures: false, hasChannel: () => true, ...itself };
  byId("waiting").remove();
  for (const element of document.querySelectorAll(".controls")) element.hidden = false;
  buildNetwork();
  buildChannel();
  const keys = { ...SHARED_KEYS, ...view.keys };
  document.addEventListener("keydown", (event) => {
    const key = nameOfKey(event);
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, key)) return;
    if (isKept(event.target, event.key) && key !== "Escape") return;
    // Buttons, links and what unfolds have this key for themselves.
    if (key === "Enter" && event.target.matches("button, summary, a")) return;
    event.preventDefault();
    // An arrow that is held goes on; what a letter does is done once.
    if (!event.repeat || event.key.length > 1) keys[key]();
  });
  window.addEventListener("popstate", () => {
    clearTimeout(waiting);
    waiting = undefined;
    steps = history.state?.steps ?? 0;
    isStepping = Boolean(history.state?.isStepping);
    readAddress();
    view.show();
  });
  readAddress();
  view.show();
}
