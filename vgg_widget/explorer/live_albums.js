// Keeps planes and sheets on the page, within a budget, and asks the kernel for those that are near.
// An album holds the planes of a layer in one mode and range; a sheet says where the pixels and units of a
// layer are on the canvas.

import { coloursOf, unpacked } from "./painter.js";

// A piece that has not come by then is asked for again.
const PATIENT_MS = 5000;
// Steps go first: so long without one, or so long without a piece, and another one is asked for.
const AFTER_STEP_MS = 150;
const STARVED_MS = 600;
// A layer that is only passed through needs no neighbours.
const NEAR_MS = 800;
// Of every album about so many planes come before the rest of any.
const FIRST_PLANES = 48;

export function albumKeeper(model, changed) {
  const albums = new Map();
  const sheets = new Map();
  // What the scene's choices lead to, the nearest first.
  let near = [];
  // What had to make room for the nearer is not fetched again.
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

  // Whether so many more planes find room; those that are further away make it.
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

  // Where there is no room for one, there is none for what is further away either.
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
    model.send({ kind: "planes", album: one.name, start, after: planes.size, sheet });
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

    // A scene has begun, with another figure or the same.
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

    // A person has gone on.
    step() {
      stepped = performance.now();
    },

    // Albums with lower names are of another picture.
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
      // The figure is being drawn, and its sheets are not known.
      if (later) asking = setTimeout(ask, AFTER_STEP_MS);
      else ask();
    },
  };
}
