// Describes and marks the unit under the mouse if the page knows it, and tells the kernel once it rests.

import { tellKernel } from "./live_albums.js";
import { fieldOf, paintFrame, seenWords } from "./painter.js";

// After this long without a move, the kernel gets the mouse position; then its text is requested.
const MOUSE_RESTS_MS = 200;
const WORDS_REST_MS = 260;

// Returns the value that a colormap entry stands for, as text; the ends stand for all values beyond them.
function valueOf(index, entries, [low, high, gamma], clipped) {
  if (index === 0 && clipped[0]) return `≤ ${plain(low)}`;
  if (index === entries - 1 && clipped[1]) return `≥ ${plain(high)}`;
  const share = index === 0 ? 0 : (index + 0.5) / entries;
  if (low >= 0) return `≈ ${plain(low + (high - low) * share ** (1 / gamma))}`;
  const signed = 2 * ((index + 0.5) / entries) - 1;
  const bent = Math.sign(signed) * Math.abs(signed) ** (1 / gamma);
  return `≈ ${plain((low + high) / 2 + ((high - low) / 2) * bent)}`;
}

function whatIs(index, plane, entries) {
  const channel = plane.channels[index];
  if (channel !== undefined) return channel < 0 ? "no channel is active" : `channel ${channel}`;
  // A value that is not finite has a colour, too.
  return plane.finite ? valueOf(index, entries, plane.range, plane.clipped) : "≈ …";
}

const plain = (value) => String(Number(value.toPrecision(2)));

const placeOn = ([x, across, y, down]) => (column, row) => [x + across * column, y + down * row];

// Returns the unit at a canvas pixel and, on the input, the input pixel.
function unitAt({ places }, { shape, placement, units }, x, y) {
  const { map, input, map_scale: onMap, input_scale: onInput } = places;
  const inside = ([left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom;
  const at = ([left, across, top, down]) => [(x - left) / across, (y - top) / down];
  if (inside(map)) {
    const [column, row] = at(onMap);
    const [left, top, across, down] = placement;
    const unit = [Math.floor((row - top) / down), Math.floor((column - left) / across)];
    return unit.every((number, n) => number >= 0 && number < shape[n]) ? { unit } : null;
  }
  if (!inside(input)) return null;
  const [column, row] = at(onInput).map((number) => Math.floor(number + 0.5));
  const unit = [units[0][row], units[1][column]];
  return unit.includes(undefined) ? null : { unit, pixel: [row, column] };
}

export function paintUnit(context, { places }, sheet, unit) {
  const { placement } = sheet;
  const [row, column] = unit;
  const onMap = placeOn(places.map_scale);
  const corner = [placement[0] + column * placement[2], placement[1] + row * placement[3]];
  const box = [...onMap(...corner), ...onMap(corner[0] + placement[2], corner[1] + placement[3])];
  paintFrame(context, box, places.map, places.points);
  const field = fieldOf(sheet, unit);
  if (!field) return;
  const onInput = placeOn(places.input_scale);
  const [top, left, bottom, right] = field.map((edge) => edge - 0.5);
  paintFrame(context, [...onInput(left, top), ...onInput(right, bottom)], places.input, places.points);
}

function wordsFor({ unit, pixel, chosen }, { plane, sheet, entries }) {
  const [row, column] = unit;
  const index = plane.indices[row * sheet.shape[1] + column];
  const words = [`row ${row}, column ${column}: ${whatIs(index, plane, entries)}`];
  const field = fieldOf(sheet, unit);
  if (field) words.push(seenWords(field));
  if (chosen) return `location: ${words.join(" · ")}`;
  if (!pixel) return words.join(" · ");
  return `input row ${pixel[0]}, column ${pixel[1]} · nearest unit ${words.join(" · ")}`;
}

// The kernel's own text returns when the kernel has a new one, and when the mouse leaves.
function say(root, words) {
  const place = root.querySelector(".vgg-place .widget-html-content");
  if (!place) return;
  const ours = place.querySelector(".vgg-here");
  if (words === null) {
    if (ours) place.innerHTML = ours.dataset.before;
    return;
  }
  if (ours) {
    ours.textContent = words;
    return;
  }
  const line = document.createElement("div");
  Object.assign(line, { className: "vgg-here", textContent: words });
  line.dataset.before = place.innerHTML;
  place.replaceChildren(line);
}

// `painted` returns what the page paints: stage, sheet, plane, its name, and the number of entries; null if
// it paints nothing. A kernel that `isBehind` the page would describe another picture: it gets the mouse
// position once it has followed.
export function mouseListener(model, { painted, paint, isBusy, isBehind, location, marks }) {
  // The unit under the mouse, in any view.
  let under = null;
  let asked = 0;
  const views = new Set();

  function point(view, found) {
    const before = String(under);
    if (found || view.isPointed) under = found ? found.unit : null;
    view.isPointed = Boolean(found);
    const now = painted();
    if (String(under) !== before && now) paint();
    const key = found && now && `${found.unit} ${found.pixel} ${now.name}`;
    // The kernel's text for the same unit is more exact.
    if (key === view.said) return;
    view.said = key;
    tellWords(view, found && now ? found : null, now);
  }

  function tellWords(view, found, now) {
    // Answers to earlier requests are outdated.
    view.number = ++asked;
    say(view.root, found ? wordsFor(found, now) : null);
    clearTimeout(view.wording);
    if (found) view.wording = setTimeout(askWhere, WORDS_REST_MS, view);
  }

  function askWhere(view) {
    if (isBehind()) {
      view.wording = setTimeout(askWhere, WORDS_REST_MS, view);
      return;
    }
    // The kernel forgets the mouse position when it shows another layer.
    view.hear();
    tellKernel(model, { kind: "where", number: view.number });
  }

  return {
    unit: () => under,

    // Updates the value under a resting mouse, or at the chosen location.
    look() {
      for (const { look } of views) look(true);
    },

    tell({ number, text }) {
      for (const view of views) {
        const line = view.root.querySelector(".vgg-place .vgg-here");
        if (line && text && view.number === number) line.textContent = text;
      }
    },

    close() {
      for (const { wording } of views) clearTimeout(wording);
    },

    listen(root, holder, signal) {
      const passed = new WeakSet();
      let last = null;
      let timer;
      const view = { root, said: null, number: 0, isPointed: false };
      // Returns whether the page knows the unit under the mouse.
      const look = (stepped = false) => {
        const now = painted();
        if (!last) {
          const unit = location();
          if (stepped && unit && now) tellWords(view, { unit, chosen: true }, now);
          return false;
        }
        const { target, buttons, clientX, clientY } = last;
        if (buttons || isBusy() || !now) {
          point(view, null);
          return false;
        }
        marks();
        const box = target.getBoundingClientRect();
        const ratio = now.stage.size[0] / box.width;
        const place = [(clientX - box.left) * ratio, (clientY - box.top) * ratio];
        point(view, unitAt(now.stage, now.sheet, ...place));
        return true;
      };
      const hear = () => {
        clearTimeout(timer);
        if (!last || last.buttons || isBusy()) return;
        const { target, clientX, clientY } = last;
        const rested = new MouseEvent("mousemove", { bubbles: true, view: window, clientX, clientY });
        passed.add(rested);
        target.dispatchEvent(rested);
      };
      const rest = () => {
        if (isBehind()) timer = setTimeout(rest, MOUSE_RESTS_MS);
        else hear();
      };
      const move = (event) => {
        if (passed.has(event) || !holder.contains(event.target)) return;
        clearTimeout(timer);
        last = event;
        if (!look()) return;
        event.stopPropagation();
        timer = setTimeout(rest, MOUSE_RESTS_MS);
      };
      const leave = () => {
        last = null;
        clearTimeout(timer);
        point(view, null);
      };
      root.addEventListener("mousemove", move, { capture: true, signal });
      holder.addEventListener("mouseleave", leave, { signal });
      Object.assign(view, { look, hear });
      views.add(view);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        clearTimeout(view.wording);
        views.delete(view);
      });
    },
  };
}
