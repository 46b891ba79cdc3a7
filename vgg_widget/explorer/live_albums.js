// Keeps planes and sheets on the page, within a budget, and requests nearby ones from the kernel. An album
// holds the planes of a layer in one mode and range; a sheet locates the pixels and units of a layer on the
// canvas.

import { coloursOf, unpacked } from "./painter.js";

// A piece that has not arrived by then is requested again.
const PATIENT_MS = 5000;
// Steps take precedence: the next request follows this long after a step or, at the latest, after a piece.
const AFTER_STEP_MS = 150;
const STARVED_MS = 600;
// A layer that is only passed through needs no neighbours.
const NEAR_MS = 800;
// About this many planes of every album are fetched before the rest of any.
const FIRST_PLANES = 48;

// Sends a message to the kernel. After a restart of the kernel this would throw; the page keeps its picture.
export function tellKernel(model, message) {
  try {
    model.send(message);
  } catch {
    // Nobody receives messages any more.
  }
}

export function albumKeeper(model, changed) {
  const albums = new Map();
  const sheets = new Map();
  // The albums that the scene's choices lead to, nearest first.
  let near = [];
  // Albums that made room for nearer ones are not fetched again.
  const crowdedOut = new Set();
  let here = 0;
  let channel = 0;
  let figure = 0;
  let isOpen = false;
  let asking;
  let stepped = -Infinity;
  let came = -Infinity;
  let begun = 0;

  const known = (name) => near.find((one) => one.name === name);
  const sizeOf = ({ shape: [rows, columns] }) => rows * columns;
  const countOf = ({ name }) => albums.get(name)?.planes.size ?? 0;
  const isWhole = (one) => countOf(one) === one.count;
  const budget = () => 1e6 * model.get("budget");
  const bytes = () => [...albums.values()].reduce((sum, { planes, size }) => sum + planes.size * size, 0);

  // Returns whether this many more planes fit, after discarding albums that are further away.
  function makeRoom(one, count) {
    const needed = count * sizeOf(one);
    const place = near.indexOf(one);
    const strangers = [...albums.keys()].filter((name) => !known(name));
    const further = near.slice(place + 1).reverse().map(({ name }) => name);
    for (const name of [...strangers, ...further]) {
      if (bytes() + needed <= budget()) break;
      if (name === here || !albums.delete(name)) continue;
      crowdedOut.add(name);
    }
    return bytes() + needed <= budget();
  }

  // If there is no room for one album, there is none for albums further away either.
  function firstWanting(isWanting, missingOf) {
    const one = near.find((one) => !crowdedOut.has(one.name) && isWanting(one));
    return one && makeRoom(one, missingOf(one)) ? one : null;
  }

  function next() {
    const shown = known(here);
    if (!shown) return null;
    const missing = (one) => one.count - countOf(one);
    if (!isWhole(shown)) return makeRoom(shown, missing(shown)) ? shown : null;
    const first = (one) => Math.min(one.count, FIRST_PLANES);
    const isBegun = (one) => sheets.has(one.layer) && countOf(one) >= first(one);
    return (
      firstWanting((one) => !isBegun(one), (one) => Math.max(0, first(one) - countOf(one))) ??
      firstWanting((one) => !isWhole(one), missing)
    );
  }

  function ask() {
    clearTimeout(asking);
    const one = isOpen && next();
    if (!one) return;
    const rested = stepped + AFTER_STEP_MS;
    const due = one.name === here ? Math.min(rested, came + STARVED_MS) : Math.max(rested, begun + NEAR_MS);
    const wait = due - performance.now();
    if (wait > 0) {
      asking = setTimeout(ask, wait);
      return;
    }
    if (!albums.has(one.name))
      albums.set(one.name, { start: Math.min(channel, one.count - 1), size: sizeOf(one), planes: new Map() });
    const { start, planes } = albums.get(one.name);
    const sheet = !sheets.has(one.layer);
    tellKernel(model, { kind: "planes", album: one.name, start, after: planes.size, sheet });
    asking = setTimeout(ask, PATIENT_MS);
  }

  const prepared = (sheet) => ({
    ...sheet,
    rows: Uint16Array.from(sheet.rows),
    columns: Uint16Array.from(sheet.columns),
  });

  return {
    ask,
    plane: (name, number) => albums.get(name)?.planes.get(number),
    sheet: (name) => sheets.get(known(name)?.layer),
    isWhole: (name) => Boolean(known(name)) && isWhole(known(name)),
    wait() {
      isOpen = false;
      clearTimeout(asking);
    },

    close() {
      isOpen = false;
      clearTimeout(asking);
      albums.clear();
      sheets.clear();
    },

    // Called when a scene begins, with another figure or the same.
    begin(scene) {
      isOpen = true;
      begun = performance.now();
      near = scene.albums;
      crowdedOut.clear();
      here = scene.album;
      channel = scene.channel;
      if (scene.figure !== figure) sheets.clear();
      figure = scene.figure;
      sheets.set(known(here).layer, prepared(scene.sheet));
      if (!makeRoom(known(here), 0)) albums.delete(here);
    },

    // Called when the user takes a step.
    step() {
      stepped = performance.now();
    },

    // Albums with lower names belong to another image.
    forget(since) {
      for (const name of albums.keys()) if (name < since) albums.delete(name);
    },

    async keep(message, [data, ...tables]) {
      const { album: name, start, after, planes, never, later, figure: of, sheet } = message;
      const held = albums.get(name);
      if (never) {
        near = near.filter((one) => one.name !== name);
        ask();
        return;
      }
      if (sheet && of === figure && known(name)) sheets.set(known(name).layer, prepared(sheet));
      if (!held || held.start !== start || held.planes.size !== after) return;
      const indices = await unpacked(data, held.size);
      if (held.planes.size !== after) return;
      planes.forEach((plane, n) => {
        const table = tables[n]?.byteLength ? coloursOf(tables[n]) : undefined;
        held.planes.set(plane.channel, { ...plane, table, indices: indices[n] });
      });
      came = performance.now();
      changed(name);
      clearTimeout(asking);
      // The figure is still being drawn, and its sheets are not known yet.
      if (later) asking = setTimeout(ask, AFTER_STEP_MS);
      else ask();
    },
  };
}
