// The explorer's helper on the page, for what ipywidgets cannot do: keys, names for screen readers, the
// page's theme and width, the clipboard and downloads, and a faster canvas. It touches nothing outside its
// own explorer. An explorer shown twice has one model and two views.

import { tellKernel } from "./live_albums.js";
import { livePainter } from "./live_painter.js";

const ROOT = ".vgg-explorer";
const CANVAS = ".jupyter-matplotlib-canvas-div";

// JupyterLab and Notebook apply no shortcut to an element with this attribute. On the explorer itself it
// would come too late: they search outwards from the focused element.
const SUPPRESS = "data-lm-suppress-shortcuts";

// After this long, the answer to a key counts as lost, for example with the connection.
const PATIENCE_MS = 10_000;
// The interval for checking whether the kernel has been told of the steps before a key.
const TOLD_MS = 10;

const CLICKED = "[type=button], [type=checkbox], [type=file], [type=radio], [type=range]";
const isTyped = (element) =>
  element.isContentEditable || element.matches(`textarea, input:not(${CLICKED})`);

// A dropdown finds options by letters; arrow keys and the like move sliders and radio buttons, and scroll a
// long text.
const isKept = (element, key) =>
  element.matches("select") ||
  (key.length > 1 &&
    element.matches(".noUi-handle, [type=radio], [type=range], .vgg-details *"));
const isChord = (event) => event.ctrlKey || event.altKey || event.metaKey;
// Caps Lock does not change the meaning of a letter.
const nameOf = (event) =>
  event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
const isWanted = (event, keys) =>
  !isChord(event) &&
  !(event.shiftKey && event.key.length > 1) &&
  keys.includes(nameOf(event)) &&
  !isKept(event.target, event.key);

// Sends a key once the previous one is answered and the page `isTelling` the kernel nothing more, so that
// an earlier step never arrives after a later key. Presses are queued. Repeats of a held key are dropped
// meanwhile, so that the picture stops when the key is released, however slow the kernel.
function keySender(model, isTelling) {
  const waiting = [];
  let sent = -Infinity;
  const send = (key, begun = performance.now()) => {
    sent = performance.now();
    if (isTelling() && sent - begun <= PATIENCE_MS) setTimeout(send, TOLD_MS, key, begun);
    else tellKernel(model, { kind: "key", key });
  };
  const isWaiting = () => performance.now() - sent <= PATIENCE_MS;
  return {
    isWaiting,
    press(key, isRepeat) {
      if (!isWaiting()) {
        waiting.length = 0;
        send(key);
      } else if (!isRepeat) waiting.push(key);
    },
    answered() {
      sent = -Infinity;
      if (waiting.length) send(waiting.shift());
    },
  };
}

const CHANNELS = { ArrowLeft: -1, ArrowRight: 1 };
const LAYERS = { ArrowUp: -1, ArrowDown: 1 };

function listenToKeys(root, model, sender, painter, signal) {
  const isOurs = ({ target }) =>
    target instanceof Element && target.closest(ROOT) === root && !isTyped(target);
  // Notebook listens on the document in the capture phase: only the window is earlier.
  const early = (event) => {
    if (!isOurs(event)) return;
    // A letter would cut or insert cells. Chords, and Shift+Enter to run the cell, work as usual.
    const isRun = event.shiftKey && event.key === "Enter";
    event.target.toggleAttribute(SUPPRESS, !isChord(event) && !isRun);
    if (!isWanted(event, model.get("wanted"))) return;
    event.preventDefault();
    event.stopPropagation();
    const { key } = event;
    // A step from a state that the kernel has yet to reach, after an earlier key, is left to the kernel.
    const isDone =
      !sender.isWaiting() &&
      (key in CHANNELS ? painter.step(CHANNELS[key]) : key in LAYERS && painter.turnLayer(LAYERS[key]));
    if (!isDone) sender.press(nameOf(event), event.repeat);
  };
  // ipympl swallows every key: Tab would never leave the figure, and Ctrl+S would not save. Here ipympl
  // gets the keys, and so do the browser and the notebook.
  const share = (event) => {
    if (!isOurs(event) || !event.target.closest(CANVAS)) return;
    if (isChord(event) || event.key.length > 1)
      event.preventDefault = event.stopPropagation = () => {};
  };
  const unshare = (event) => delete event.preventDefault && delete event.stopPropagation;
  const release = (event) => {
    if (isOurs(event) && isWanted(event, model.get("wanted"))) event.stopPropagation();
  };
  window.addEventListener("keydown", early, { capture: true, signal });
  root.addEventListener("keydown", share, { capture: true, signal });
  root.addEventListener("keydown", unshare, { signal });
  root.addEventListener("keyup", release, { capture: true, signal });
  signal.addEventListener("abort", () =>
    root.querySelectorAll(`[${SUPPRESS}]`).forEach((left) => left.removeAttribute(SUPPRESS)));
}

function set(element, attributes) {
  for (const name in attributes)
    if (attributes[name]) element.setAttribute(name, attributes[name]);
}

const textOf = (element) => element?.textContent.trim() ?? "";

function nameField(field) {
  if ([...(field.labels ?? [])].some(textOf)) return;
  const widget = field.closest(".widget-inline-hbox");
  // Depending on the control, ipywidgets puts a tooltip on the field, the widget or its label.
  const titled = [field, widget, ...(widget?.querySelectorAll("[title]") ?? [])];
  const title = titled.find((element) => element?.title)?.title;
  set(field, { "aria-label": textOf(widget?.querySelector(".widget-label")) || title });
}

const PLAY = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Stop", "fa-retweet": "Repeat" };

function nameButton(button) {
  if (textOf(button)) return;
  const icon = button.closest(".widget-play") && button.querySelector("i");
  const played = icon && Object.keys(PLAY).find((name) => icon.classList.contains(name));
  set(button, { "aria-label": played ? PLAY[played] : button.title });
}

// ipywidgets shows which buttons are pressed by colour alone.
function tellPressed(button) {
  const attribute = button.closest(".vgg-unfold") ? "aria-expanded" : "aria-pressed";
  set(button, { [attribute]: String(button.classList.contains("mod-active")) });
}

function describe(root, model) {
  const all = (selector) => root.querySelectorAll(selector);
  for (const code of all(".vgg-code textarea")) set(code, { readonly: "true" });
  for (const problem of all(".vgg-problem")) set(problem, { role: "alert" });
  for (const readout of all(".widget-readout")) set(readout, { role: "textbox" });
  for (const caption of all(".vgg-caption")) {
    // The same explorer may be on the page twice.
    caption.id ||= `vgg-caption-${Math.random().toString(36).slice(2)}`;
    set(caption, { role: "status", "aria-live": "polite", "aria-atomic": "true" });
  }
  for (const place of all(".vgg-place"))
    set(place, { role: "status", "aria-live": place.getAttribute("aria-live") ?? "polite" });
  for (const canvas of all(CANVAS))
    set(canvas, {
      // An application, since on an image a screen reader would keep the arrow keys for itself.
      role: "application",
      "aria-label": model.get("description"),
      "aria-describedby": root.querySelector(".vgg-caption")?.id,
      "aria-keyshortcuts": model.get("wanted").join(" "),
    });
  all(".noUi-handle, .widget-readout, input, select, textarea").forEach(nameField);
  // The style sheet writes the text on these buttons.
  for (const button of all(".vgg-upload")) set(button, { "aria-label": button.title });
  all("button").forEach(nameButton);
  all(".widget-toggle-button, .widget-toggle-buttons button").forEach(tellPressed);
}

function observe(elements, options, update, signal) {
  const observer = new MutationObserver(update);
  for (const element of elements) observer.observe(element, options);
  signal.addEventListener("abort", () => observer.disconnect());
}

function keepDescribed(root, model, signal) {
  const update = () => describe(root, model);
  // Widgets arrive on the page one by one. Texts replaced by each step name no control.
  const notice = (records) => {
    if (records.some(({ target }) => !target.closest(".widget-html"))) update();
  };
  observe([root], { childList: true, subtree: true, attributeFilter: ["class"] }, notice, signal);
  model.on("change:description change:wanted", update);
  signal.addEventListener("abort", () => model.off("change:description change:wanted", update));
  update();
}

// Changes by the keyboard are announced; those by the mouse would be endless.
function announcePlaces(root, signal) {
  const announce = (live) => () =>
    root.querySelectorAll(".vgg-place").forEach((place) => set(place, { "aria-live": live }));
  // On the window, because the explorer's own keys do not propagate further.
  window.addEventListener("keydown", announce("polite"), { capture: true, signal });
  root.addEventListener("pointermove", announce("off"), { capture: true, signal });
}

// Time for a panel to arrive from the kernel and grow to its full height.
const UNFOLDING_MS = 1500;

// Scrolls an opened panel into view: it is below the figure, often below the window.
function showPanels(root, signal) {
  const show = ({ target }) => {
    // By now the button is marked as pressed, if it opens its panel.
    const stage = target.closest(".vgg-unfold.mod-active") && root.querySelector(".vgg-stage");
    if (!stage) return;
    const observer = new ResizeObserver(() => {
      if (stage.clientHeight) stage.scrollIntoView({ block: "nearest" });
    });
    observer.observe(stage);
    setTimeout(() => observer.disconnect(), UNFOLDING_MS);
  };
  root.addEventListener("click", show, { signal });
}

// A click on a bar works like its button, which the keyboard can reach.
function listenToBars(root, signal) {
  const press = ({ target }) => {
    if (!target.closest("button")) target.closest(".vgg-line")?.querySelector("button")?.click();
  };
  root.addEventListener("click", press, { signal });
}

// Drawn as a pixel, a colour in any notation becomes three numbers.
function isLight(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.299 * red + 0.587 * green + 0.114 * blue > 127;
}

function isDark(root) {
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
  const colabTheme = document.documentElement.getAttribute("theme");
  if (jpThemeLight) return jpThemeLight === "false";
  if (vscodeThemeKind) return !vscodeThemeKind.includes("light");
  if (colabTheme) return colabTheme === "dark";
  // Elsewhere: on a dark page the text around the explorer is light.
  return isLight(getComputedStyle(root.parentElement ?? document.body).color);
}

// Returns the colour behind the explorer: that of the nearest ancestor with an opaque one.
function backgroundOf(root) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  for (let element = root; element; element = element.parentElement) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = getComputedStyle(element).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    if (alpha === 255)
      return "#" + [red, green, blue].map((level) => level.toString(16).padStart(2, "0")).join("");
  }
  return "";
}

function keepTheme(root, model, signal) {
  const update = () => {
    const theme = isDark(root) ? "dark" : "light";
    const background = backgroundOf(root);
    if (model.get("theme") === theme && model.get("background") === background) return;
    model.set({ theme, background });
    model.save_changes();
  };
  observe([document.documentElement, document.body], { attributes: true }, update, signal);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update, { signal });
  update();
}

// Reports the available width after a short delay, since dragging a window causes a hundred sizes.
function keepRoom(root, model, signal) {
  let timer;
  const tell = () => {
    const room = Math.floor(root.clientWidth);
    // Hidden: on another tab, or collapsed.
    if (!room || model.get("room") === room) return;
    model.set("room", room);
    model.save_changes();
  };
  const observer = new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(tell, 150);
  });
  observer.observe(root);
  signal.addEventListener("abort", () => observer.disconnect() ?? clearTimeout(timer));
  tell();
}

// The older method, for pages loaded over plain HTTP, which have no clipboard.
function copySelected(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  Object.assign(area, { value: text, style: "position: fixed; opacity: 0" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

function download(name, data) {
  const href = URL.createObjectURL(new Blob([data]));
  const link = Object.assign(document.createElement("a"), { href, download: name });
  // VS Code saves the file itself when it sees the click on the page's body.
  document.body.append(link);
  link.click();
  link.remove();
  // Not at once: the browser reads it after this function has returned.
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

// After this long without a frame, the picture is encoded.
const REST_MS = 400;

// ipympl adds a resize handle to every connected canvas, whatever the kernel says.
function keepSize(figure) {
  const refuse = () => figure.set("resizable", false);
  figure.on("change:resizable", refuse);
  refuse();
}

// ipympl encodes its whole canvas at every frame, for saved widget state. That takes 10 ms of each step and
// encodes the previous frame, since the new one is not drawn yet. Here only the last frame is encoded.
function keepPicture(figure) {
  const canvas = figure.offscreen_canvas;
  const encode = canvas.toDataURL.bind(canvas);
  let timer;
  canvas.toDataURL = (...how) => {
    if (figure.image.complete) return encode(...how);
    clearTimeout(timer);
    timer = setTimeout(() => figure.set("_data_url", encode()), REST_MS);
    return figure.get("_data_url");
  };
}

async function mendFigure(model) {
  if (!model.get("figure")) return;
  const figure = await model.widget_manager.get_model(model.get("figure"));
  keepSize(figure);
  keepPicture(figure);
}

// Failures on the page are shown with the explorer's other errors, since few users have the browser's
// console open.
const tellFailure = (model, doing) => (error) =>
  tellKernel(model, { kind: "failed", doing, message: String(error) });

const DOING = { copy: "copy the code", download: "save the file", answered: "take the next key" };

// A view is rendered some moments before it is inserted into the page.
async function findRoot(el, signal) {
  for (let tries = 0; tries < 200 && !signal.aborted; tries++) {
    const root = el.closest(ROOT);
    if (root?.parentElement) return root;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return null;
}

export default () => {
  let sender;
  let painter;
  return {
    initialize({ model, signal }) {
      painter = livePainter(model);
      sender = keySender(model, painter.isTelling);
      signal?.addEventListener("abort", painter.close);
      const follow = async (message, buffers) => {
        const { kind, number, text, name } = message;
        if (kind === "planes") await painter.keep(message, buffers);
        if (kind === "kept") painter.keptBack();
        if (kind === "words") painter.tell(message);
        if (kind === "answered") sender.answered();
        if (kind === "download") download(name, buffers[0]);
        if (kind === "copy") tellKernel(model, { kind: "copied", number, ok: await copy(text) });
      };
      model.on("msg:custom", (message, buffers) =>
        follow(message, buffers).catch(tellFailure(model, DOING[message.kind] ?? "paint")));
      // With another front end or version of ipympl, the figure simply stays unchanged.
      mendFigure(model).catch(() => {});
    },
    render({ model, el, signal }) {
      // Not awaited: the explorer's other children need not wait for it.
      const served = findRoot(el, signal).then((root) => {
        if (!root || signal.aborted) return;
        listenToKeys(root, model, sender, painter, signal);
        painter.attach(root, CANVAS, signal).catch(tellFailure(model, "paint"));
        listenToBars(root, signal);
        showPanels(root, signal);
        keepDescribed(root, model, signal);
        announcePlaces(root, signal);
        keepTheme(root, model, signal);
        keepRoom(root, model, signal);
      });
      served.catch(tellFailure(model, "serve the explorer"));
    },
  };
};
