// Paints a channel on the page before the kernel has drawn it, on a canvas above ipympl's own. ipympl's
// frames stay as they are, below; where anything is not known exactly, this canvas is empty.

import { paintBar, paintFrame, paintMap, paintWords, unpacked } from "./painter.js";

// So long after the figure has changed, the page asks what is where: nobody waits for it.
const SCENE_MS = 120;
// So long without a step, and the frame that the kernel has kept back is asked for.
const STEPS_REST_MS = 250;
// So long without a move, and the kernel hears where the mouse is; then it is asked what is there.
const MOUSE_RESTS_MS = 200;
const WORDS_REST_MS = 260;
// A piece of planes that has not come by then is asked for again; steps go first.
const PATIENT_MS = 5000;
const AFTER_STEP_MS = 150;

const numbersOf = (view) =>
  new Uint16Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const coloursOf = (view) =>
  new Uint32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

// What an entry of the colormap stands for, as people write it; the ends stand for all beyond them.
function valueOf(index, entries, [low, high, gamma], clipped) {
  if (index === 0 && clipped[0]) return `≤ ${plain(low)}`;
  if (index === entries - 1 && clipped[1]) return `≥ ${plain(high)}`;
  const share = index === 0 ? 0 : (index + 0.5) / entries;
  if (low >= 0) return `≈ ${plain(low + (high - low) * share ** (1 / gamma))}`;
  const signed = 2 * ((index + 0.5) / entries) - 1;
  const bent = Math.sign(signed) * Math.abs(signed) ** (1 / gamma);
  return `≈ ${plain((low + high) / 2 + ((high - low) / 2) * bent)}`;
}

const plain = (value) => String(Number(value.toPrecision(2)));

export function livePainter(model) {
  // Planes by the number of their album, and channel; the oldest go first.
  const albums = new Map();
  const canvases = new Set();
  let scene = { number: 0, album: 0 };
  let slider;
  let figure;
  let shown = false;
  let painting = 0;
  let kept = false;
  let resting;
  let asking;
  let acted = -Infinity;
  // The unit under the mouse, and what looks again where the mouse is, by the canvas it is on.
  let under = null;
  let said = null;
  let words = 0;
  let wording;
  let marking = 0;
  const lookers = new Map();

  const album = () => albums.get(scene.album);
  const budget = () => 1e6 * model.get("budget");
  const whole = () => scene.album > 0 && album()?.planes.size === scene.count;

  function hide() {
    shown = false;
    under = null;
    for (const canvas of canvases) canvas.width = canvas.width;
  }

  function paintOn(canvas, plane) {
    const below = canvas.previousElementSibling;
    const [width, height] = scene.size;
    if (below?.width !== width || below.height !== height) return false;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    Object.assign(canvas.style, { width: below.style.width, height: below.style.height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const { map, bar, title, title_room: room, points } = scene.places;
    const clear = (left, top, right, bottom) => {
      context.fillStyle = scene.paper;
      context.fillRect(left, top, right - left, bottom - top);
    };
    const head = Math.floor(map[1]) - 1;
    clear(Math.floor(map[0]), 0, Math.floor(map[0] + room) - 1, head);
    paintWords(context, plane.title, title, points, 9.5, scene.ink);
    const upright = bar[3] - bar[1] > bar[2] - bar[0];
    if (upright) clear(Math.ceil(map[2]) + 2, head, width, height);
    else clear(Math.floor(map[0]) - 4, Math.ceil(map[3]) + 2, width, height);
    if (plane.numbers.length) paintBar(context, bar, scene.table, plane, scene.ink, points);
    paintMap(context, plane.indices, scene.shape[1], scene.table, scene.placed);
    paintMarks(context);
    return true;
  }

  function paintMarks(context) {
    if (!under) return;
    const { places, placement, fields } = scene;
    const [row, column] = under;
    const onMap = placeOn(places.map_scale);
    const corner = [placement[0] + column * placement[2], placement[1] + row * placement[3]];
    const box = [...onMap(...corner), ...onMap(corner[0] + placement[2], corner[1] + placement[3])];
    paintFrame(context, box, places.map, places.points);
    if (!fields.rows) return;
    const [top, bottom] = fields.rows[row];
    const [left, right] = fields.columns[column];
    if (top >= bottom || left >= right) return;
    const onInput = placeOn(places.input_scale);
    const field = [...onInput(left - 0.5, top - 0.5), ...onInput(right - 0.5, bottom - 0.5)];
    paintFrame(context, field, places.input, places.points);
  }

  const placeOn = ([x, across, y, down]) => (column, row) => [x + across * column, y + down * row];

  // Returns the unit at a pixel of the canvas, and the input's pixel where that is on the input.
  function unitAt(x, y) {
    const { map, input, map_scale: onMap, input_scale: onInput } = scene.places;
    const inside = ([left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom;
    const at = ([left, across, top, down]) => [(x - left) / across, (y - top) / down];
    if (inside(map)) {
      const [column, row] = at(onMap);
      const [left, top, across, down] = scene.placement;
      const unit = [Math.floor((row - top) / down), Math.floor((column - left) / across)];
      return unit.every((number, n) => number >= 0 && number < scene.shape[n]) ? { unit } : null;
    }
    if (!inside(input)) return null;
    const [column, row] = at(onInput).map((number) => Math.floor(number + 0.5));
    const unit = [scene.units[0][row], scene.units[1][column]];
    return unit.includes(undefined) ? null : { unit, pixel: [row, column] };
  }

  function wordsFor({ unit: [row, column], pixel }) {
    const plane = album().planes.get(slider.get("value"));
    const index = plane.indices[row * scene.shape[1] + column];
    const value = valueOf(index, scene.table.length, plane.range, plane.clipped);
    // What is no number has a colour all the same.
    const words = [`row ${row}, column ${column}: ${plane.finite ? value : "≈ …"}`];
    const { rows, columns } = scene.fields;
    if (rows) {
      const [[top, bottom], [left, right]] = [rows[row], columns[column]];
      if (top < bottom && left < right)
        words.push(`sees input rows ${top}–${bottom - 1}, columns ${left}–${right - 1}`);
    }
    if (!pixel) return words.join(" · ");
    return `input row ${pixel[0]}, column ${pixel[1]} · nearest unit ${words.join(" · ")}`;
  }

  // Returns whether the page shows the channel that the slider says.
  function paint() {
    const plane = slider && whole() && album().planes.get(slider.get("value"));
    shown = Boolean(plane) && canvases.size > 0 && [...canvases].every((one) => paintOn(one, plane));
    if (!shown) hide();
    return shown;
  }

  // What the kernel keeps back is shown by nobody, if the page cannot.
  function rest() {
    clearTimeout(resting);
    if (!kept) return;
    resting = setTimeout(() => {
      kept = false;
      model.send({ kind: "rested" });
    }, shown ? STEPS_REST_MS : 0);
  }

  function stepped() {
    acted = performance.now();
    paint();
    begin();
    rest();
    // What is under a mouse that stays has another value.
    for (const look of lookers.values()) look();
  }

  function ask(after) {
    const { album: name, channel: start, shape } = scene;
    const size = shape[0] * shape[1];
    if (!albums.has(name)) albums.set(name, { start, size, planes: new Map() });
    clearTimeout(asking);
    const wait = AFTER_STEP_MS - (performance.now() - acted);
    if (wait > 0) {
      asking = setTimeout(ask, wait, after);
      return;
    }
    model.send({ kind: "planes", album: name, start: albums.get(name).start, after });
    asking = setTimeout(ask, PATIENT_MS, after);
  }

  function drop() {
    const bytes = () =>
      [...albums.values()].reduce((sum, { planes, size }) => sum + planes.size * size, 0);
    const others = [...albums.keys()].filter((name) => name !== scene.album);
    for (const name of [...others, scene.album]) {
      if (bytes() <= budget()) return;
      albums.delete(name);
    }
  }

  function begin() {
    if (!scene.album || painting === scene.number || !whole()) return;
    if (!paint()) {
      // The kernel's frame, and with it the canvas's size, may yet be on its way.
      if (canvases.size) asking = setTimeout(begin, SCENE_MS);
      return;
    }
    painting = scene.number;
    model.send({ kind: "painting", scene: scene.number });
    for (const look of lookers.values()) look();
  }

  function changeScene() {
    scene = { ...model.get("scene") };
    painting = marking = 0;
    hide();
    for (const look of lookers.values()) look();
    // Those of another picture.
    for (const name of albums.keys()) if (name < scene.since) albums.delete(name);
    clearTimeout(asking);
    if (!scene.album) {
      if (canvases.size) asking = setTimeout(() => model.send({ kind: "scene" }), SCENE_MS);
      return;
    }
    scene.table = coloursOf(scene.colours);
    scene.placed = {
      top: scene.top,
      left: scene.left,
      odd: scene.odd,
      rows: numbersOf(scene.rows),
      columns: numbersOf(scene.columns),
    };
    const known = albums.get(scene.album);
    if (known) {
      // The newest are last.
      albums.delete(scene.album);
      albums.set(scene.album, known);
    }
    drop();
    if (whole()) begin();
    else if (canvases.size && scene.count * scene.shape[0] * scene.shape[1] <= budget())
      ask(album()?.planes.size ?? 0);
  }

  async function keep({ album: name, start, after, planes }, [data]) {
    const held = albums.get(name);
    if (!held || held.start !== start || held.planes.size !== after) return;
    const indices = await unpacked(data, held.size);
    if (held.planes.size !== after) return;
    planes.forEach((plane, n) => held.planes.set(plane.channel, { ...plane, indices: indices[n] }));
    drop();
    if (name !== scene.album || !albums.has(name)) return;
    clearTimeout(asking);
    if (whole()) begin();
    else ask(held.planes.size);
  }

  // The kernel's own words come back when it has others, and when the mouse leaves.
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

  function point(root, found) {
    const before = String(under);
    under = found ? found.unit : null;
    if (String(under) !== before) paint();
    const key = found && `${found.unit} ${found.pixel} ${slider.get("value")}`;
    // What the kernel has said of the same unit is more exact.
    if (key === said) return;
    said = key;
    // An answer to what was asked before comes too late.
    words++;
    say(root, found ? wordsFor(found) : null);
    clearTimeout(wording);
    if (found)
      wording = setTimeout(() => model.send({ kind: "where", number: words }), WORDS_REST_MS);
  }

  // The page marks what is under the mouse, and the kernel hears of it when the mouse rests.
  function listenToMouse(root, holder, signal) {
    const passed = new WeakSet();
    let last = null;
    let timer;
    // Returns whether the page can tell what is under the mouse.
    const look = () => {
      if (!last) return false;
      const { target, buttons, clientX, clientY } = last;
      const busy = buttons || figure?.get("toolbar")?.get("_current_action");
      if (busy || !shown || !painting) {
        point(root, null);
        return false;
      }
      if (marking !== painting) {
        marking = painting;
        model.send({ kind: "marks", scene: painting });
      }
      const box = target.getBoundingClientRect();
      const ratio = scene.size[0] / box.width;
      point(root, unitAt((clientX - box.left) * ratio, (clientY - box.top) * ratio));
      return true;
    };
    const move = (event) => {
      const { target } = event;
      if (passed.has(event) || !holder.contains(target)) return;
      clearTimeout(timer);
      last = event;
      if (!look()) return;
      event.stopPropagation();
      clearTimeout(timer);
      timer = setTimeout(() => {
        const { clientX, clientY } = event;
        const rested = new MouseEvent("mousemove", { bubbles: true, view: window, clientX, clientY });
        passed.add(rested);
        target.dispatchEvent(rested);
      }, MOUSE_RESTS_MS);
    };
    const leave = () => {
      last = null;
      clearTimeout(timer);
      point(root, null);
    };
    root.addEventListener("mousemove", move, { capture: true, signal });
    holder.addEventListener("mouseleave", leave, { signal });
    lookers.set(holder, look);
    signal.addEventListener("abort", () => lookers.delete(holder));
  }

  function tell({ number, text }) {
    if (number !== words || !text || !under) return;
    for (const canvas of canvases) {
      const line = canvas.closest(".vgg-explorer")?.querySelector(".vgg-place .vgg-here");
      if (line) line.textContent = text;
    }
  }

  model.on("change:scene", changeScene);
  const listen = async () => {
    const find = (id) => model.widget_manager.get_model(model.get(id));
    [slider, figure] = await Promise.all([find("slider"), find("figure")]);
    slider.on("change:value", stepped);
    changeScene();
  };
  if (model.get("slider") && typeof DecompressionStream !== "undefined") listen().catch(() => {});

  // Shows another channel; returns whether the page has done so, and told the kernel.
  function go(channel) {
    const known = Number.isInteger(channel) && channel >= 0 && channel < scene.count;
    // A kernel that is gone would not follow.
    if (!shown || !painting || !known || slider.comm_live === false) return false;
    slider.set("value", channel);
    slider.save_changes();
    return true;
  }

  // Small pictures and the number's field tell the kernel themselves: the page need not wait for it.
  function listenToChoices(root, signal) {
    const click = ({ target }) => {
      const chosen = target.closest(".vgg-channels button[data-value]");
      if (chosen) go(JSON.parse(chosen.dataset.value));
    };
    const type = ({ target }) => {
      if (target.closest(".vgg-number")) go(Number(target.value));
    };
    root.addEventListener("click", click, { signal });
    root.addEventListener("change", type, { signal });
  }

  return {
    keep,
    tell,

    // The kernel has drawn something that it does not send by itself.
    keptBack() {
      kept = true;
      rest();
    },

    // Goes so many channels on; returns whether the page has done so, and told the kernel.
    step(by) {
      if (!by || !shown || !painting) return false;
      // At either end there is none to go to, which the kernel need not be asked.
      go(slider.get("value") + by);
      return true;
    },

    // Puts a canvas above ipympl's, once that is there.
    async attach(root, selector, signal) {
      let holder;
      if (!model.get("slider")) return;
      for (let tries = 0; tries < 400 && !signal.aborted; tries++) {
        holder = root.querySelector(selector);
        if (holder?.firstElementChild) break;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      if (!holder?.firstElementChild || signal.aborted) return;
      const canvas = document.createElement("canvas");
      canvas.className = "vgg-painted";
      // What it shows, ipympl's canvas is named for.
      canvas.setAttribute("aria-hidden", "true");
      canvas.style.cssText = "position: absolute; left: 0; top: 0; pointer-events: none";
      holder.firstElementChild.after(canvas);
      canvases.add(canvas);
      listenToMouse(root, holder, signal);
      listenToChoices(root, signal);
      signal.addEventListener("abort", () => {
        canvases.delete(canvas);
        canvas.remove();
      });
      changeScene();
    },
  };
}
