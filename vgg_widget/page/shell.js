// The parts common to all pages without a kernel: choosing a layer and a channel, an address that describes
// the state, and keys. Each page itself shows the layer and the channel.

export const byId = (id) => document.getElementById(id);
export const page = JSON.parse(byId("page").textContent);

const STEPS_REST_MS = 400;
// More buttons would fill the page, so only the list has all layers.
const MOST_BUTTONS = 30;

export function made(tag, attributes = {}, words = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = words;
  return element;
}

// Returns a number in the same notation as the explorer's texts.
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

// --- current state

// A value for each of the view's traits.
export let state;
// The parts of the address that the page lacks; empty if nothing is wrong.
export let complaint = "";
let view;
// How many steps of this page precede the current one: going back further would leave the page.
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
  // Readable commas.
  return `#${words.toString().replaceAll("%2C", ",")}`;
}

// Steps from channel to channel form one entry of the browser's history. Its address is written once the
// steps pause, because browsers limit the number of changes per second.
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
    // Inside another page, the page may have no address of its own.
  }
}

function wordsInAddress() {
  const words = location.hash.slice(1);
  // Pages of strongest images once had addresses of this form.
  const former = /^([^=&]*)\/(\d+)$/.exec(words);
  return new URLSearchParams(former ? `layer=${former[1]}&channel=${former[2]}` : words);
}

// Accepts any of a layer's names.
const layerCalled = (name) => page.layers.find((one) => one.name === name || one.names?.includes(name))?.name;

// Invalid parts of an address are replaced by the first state, and reported.
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
    // Channels and locations belong to the layer that was asked for.
    else if (!(lacking.length && ["channel", "channels", "location"].includes(name))) found[name] = value;
  }
  state = view.fitted(found, null);
  for (const name of ["channel", "location"]) {
    const asked = found[name];
    if (asked != null && String(state[name]) !== String(asked)) lacking.push(`${name} ${asked} in ${state.layer}`);
  }
  complaint = lacking.length ? `This page has no ${lacking.join(", and no ")}. It shows the nearest match.` : "";
  // The address is then updated to the state.
  if (isNamed) putAddress("replaceState", state);
}

// --- the layer and the channel

// Shows the chosen layer and channel in the controls.
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

// Adds a button for each layer, grouped by blocks.
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
      // For the keyboard, the button beside it does the same.
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
      // An incomplete number is not a channel yet.
      if (!Number.isInteger(channel) || channel < 0 || channel >= layerNow().channels) return;
      choose({ channel }, { replace: true });
    });
  }
  // Unfinished input is replaced by the current channel.
  byId("channel").addEventListener("change", showChosen);
}

export function stepChannel(step) {
  const channel = state.channel + step;
  if (view.hasChannel() && channel >= 0 && channel < layerNow().channels)
    choose({ channel }, { replace: true });
}

// For layers available before and after their ReLU, only those on the current side are visited.
function stepLayer(step) {
  const { signed } = layerNow();
  let place = placeOfLayer(state.layer) + step;
  while (Number.isInteger(page.layers[place]?.other) && page.layers[place].signed !== signed) place += step;
  if (page.layers[place]) chooseLayer(place);
}

function goBack() {
  if (steps < 1) return;
  // The browser goes back later, and may be asked again before that.
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

// A list finds its lines by letters, and arrow keys and the like move sliders.
const isKept = ({ tagName, type }, key) =>
  ["SELECT", "TEXTAREA"].includes(tagName) || (tagName === "INPUT" && (type !== "range" || key.length > 1));

// Caps Lock does not change the meaning of a letter.
function nameOfKey({ key, shiftKey }) {
  if (key.length > 1) return shiftKey ? `Shift+${key}` : key;
  return shiftKey ? key : key.toLowerCase();
}

// Starts the page. A view has
// - show(): shows the state;
// - fitted(asked, before): the nearest valid state;
// - reads: for each trait a function from its text in an address to its value;
// - unnamed: the traits' values if an address names only others;
// - hasChannel(): whether a single channel is shown;
// - hasPictures: whether each block of the network has a picture;
// - keys: their actions, in addition to those of every page.
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
    // Buttons, links and foldable parts use this key themselves.
    if (key === "Enter" && event.target.matches("button, summary, a")) return;
    event.preventDefault();
    // A held arrow key repeats; a letter acts once.
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
