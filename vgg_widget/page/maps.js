// Pictures of a page without a kernel: a layer's maps as bytes, their colours over a range, and the picture
// of a mode. It knows no control.

import { coloursOf, paintMap, unpacked } from "./painter.js";

const STEPS = 254;
const NO_NUMBER = 255;
const NO_CHANNEL = 65535;
const HATCHED = [128, 128, 128, 255];
const BLACK = [0, 0, 0, 255];
const OTHERS = [120, 120, 120, 255];

const elementText = (id) => document.getElementById(id).textContent;

function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let n = 0; n < letters.length; n++) bytes[n] = letters.charCodeAt(n);
  return bytes;
}

const asColour = (rgba) => coloursOf(Uint8Array.from(rgba))[0];

const counted = (count) => Array.from({ length: count }, (_, n) => n);

// Like NumPy's percentile, of the values above 0.
function percentile(values, percent) {
  const positive = values.filter((value) => value > 0).sort();
  if (!positive.length) return 0;
  const place = ((positive.length - 1) * percent) / 100;
  const below = Math.floor(place);
  const beyond = positive[Math.min(below + 1, positive.length - 1)];
  return positive[below] + (beyond - positive[below]) * (place - below);
}

// Returns a value's position in a range, from 0 to 1, with the range's gamma applied.
export function shareOf(value, [low, high, gamma]) {
  if (!(high > low)) return 0;
  const unit = Math.min(1, Math.max(0, (value - low) / (high - low)));
  if (low >= 0) return unit ** gamma;
  const signed = 2 * unit - 1;
  return (Math.sign(signed) * Math.abs(signed) ** gamma + 1) / 2;
}

export const valueOf = (index, low, high) => low + (index / STEPS) * (high - low);

export function mapKeeper(page) {
  const pieces = new Map();
  const tables = new Map();

  // `shape` is that of one map; each piece is unpacked only once.
  function piece(id, [rows, columns]) {
    if (!pieces.has(id)) pieces.set(id, unpacked(bytesOf(elementText(id)), rows * columns));
    return pieces.get(id);
  }

  async function map(place, channel) {
    const { piece: together, stored } = page.layers[place];
    const planes = await piece(`maps-${place}-${Math.floor(channel / together)}`, stored);
    return planes[channel % together];
  }

  const maps = (place, channels) => Promise.all(channels.map((channel) => map(place, channel)));

  // The colormap's entries, in the form for `paintMap`.
  function entries(cmap) {
    if (!tables.has(cmap)) tables.set(cmap, coloursOf(bytesOf(page.cmaps[cmap])));
    return tables.get(cmap);
  }

  // For each index of a map, the entry in a colormap of `count` colours.
  function entryTable(low, high, range, count) {
    const table = new Uint16Array(256);
    for (let index = 0; index <= STEPS; index++) {
      const share = shareOf(valueOf(index, low, high), range);
      table[index] = Math.min(count - 1, Math.floor(share * count));
    }
    // Values that are not finite have the first colour.
    table[NO_NUMBER] = 0;
    return table;
  }

  const colourTable = (low, high, range, cmap) => {
    const colours = entries(cmap);
    return Uint32Array.from(entryTable(low, high, range, colours.length), (entry) => colours[entry]);
  };

  // Returns the range's ends and the exponent between them, for the map whose numbers are the `n`-th of `of`.
  function rangeOf({ scale, gamma }, layer, of, n) {
    const tops = {
      auto: () => of.auto[n],
      channel: () => (layer.signed ? Math.max(Math.abs(of.low[n]), Math.abs(of.high[n])) : of.high[n]),
      layer: () => layer.top,
      network: () => page.network[Number(layer.signed)],
    };
    const top = Math.max(0, tops[scale]() ?? 0);
    return [layer.signed ? -top : 0, top, gamma ?? page.scales[scale]];
  }

  const whole = ([rows, columns], top = 0, left = 0) => ({
    top, left, rows: counted(rows), columns: counted(columns),
  });

  const clipped = (low, high, [least, most]) => [low < Math.fround(least), high > Math.fround(most)];

  function noteOf(plane, low, high) {
    const missing = plane.reduce((sum, index) => sum + (index === NO_NUMBER), 0) / plane.length;
    if (missing) return `${Number((100 * missing).toPrecision(2))}% of the values NaN or infinite`;
    if (low !== high) return "";
    return high === 0 ? "dead" : "constant";
  }

  // One map in the colours of the colormap.
  function single(plane, of, n, shape, step, state, layer) {
    const [low, high] = [of.low[n], of.high[n]];
    const range = rangeOf(state, layer, of, n);
    return {
      size: shape,
      step,
      range,
      clipped: clipped(low, high, range),
      note: noteOf(plane, low, high),
      bar: true,
      list: [],
      paint: (context) =>
        paintMap(context, plane, shape[1], colourTable(low, high, range, state.cmap), whole(shape)),
      value(row, column) {
        const index = plane[row * shape[1] + column];
        return index === NO_NUMBER ? "no finite number" : valueOf(index, low, high);
      },
    };
  }

  function isHatched(row, column, [rows, columns]) {
    const step = Math.max(4, Math.floor(Math.min(rows, columns) / 5));
    return (row + column) % step < Math.max(1, Math.floor(step / 6));
  }

  async function grid(state, place, layer) {
    const [rows, columns] = layer.stored;
    const [, , count] = layer.shape;
    const planes = await maps(place, counted(count));
    const { gap, columns: across } = layer;
    const isOwn = state.scale === "auto" || state.scale === "channel";
    const range = isOwn ? null : rangeOf(state, layer, layer, 0);
    const dead = counted(count).filter((n) => !layer.low[n] && !layer.high[n] && noteOf(planes[n], 0, 0) === "dead");
    const lines = new Uint8Array(rows * columns);
    for (let n = 0; n < lines.length; n++)
      lines[n] = isHatched(Math.floor(n / columns), n % columns, layer.stored) ? 1 : 0;
    const down = Math.ceil(count / across);
    return {
      size: [down * (rows + gap) - gap, across * (columns + gap) - gap],
      step: layer.step,
      range,
      clipped: range ? [0, 1].map((end) => layer.high.some((high, n) => clipped(layer.low[n], high, range)[end])) : [false, false],
      note: dead.length ? (dead.length === count ? "all of them dead" : `${dead.length} of ${count} channels dead`) : "",
      bar: !isOwn,
      list: [],
      paint(context) {
        for (let n = 0; n < count; n++) {
          const at = [Math.floor(n / across) * (rows + gap), (n % across) * (columns + gap)];
          const own = range ?? rangeOf(state, layer, layer, n);
          const table = colourTable(layer.low[n], layer.high[n], own, state.cmap);
          if (dead.includes(n)) {
            paintMap(context, lines, columns, [table[0], asColour(HATCHED)], whole(layer.stored, ...at));
          } else paintMap(context, planes[n], columns, table, whole(layer.stored, ...at));
        }
      },
      tile(row, column) {
        const n = Math.floor(row / (rows + gap)) * across + Math.floor(column / (columns + gap));
        const [y, x] = [row % (rows + gap), column % (columns + gap)];
        return n < count && y < rows && x < columns ? { channel: n, row: y, column: x } : null;
      },
      boxOf: (n) => [Math.floor(n / across) * (rows + gap), (n % across) * (columns + gap)],
      value(row, column, channel) {
        const index = planes[channel][row * columns + column];
        return index === NO_NUMBER
          ? "no finite number"
          : valueOf(index, layer.low[channel], layer.high[channel]);
      },
    };
  }

  async function modePlanes(place, layer) {
    const [largest, mean, low, high] = await piece(`modes-${place}`, layer.modes.stored);
    return { max: largest, mean, winner: (n) => low[n] + 256 * high[n] };
  }

  async function ready(state, place, layer) {
    const planes = await modePlanes(place, layer);
    const n = state.mode === "max" ? 0 : 1;
    const { stored: shape, step } = layer.modes;
    const found = single(planes[state.mode], layer.modes, n, shape, step, state, layer);
    return state.mode === "max" ? { ...found, winner: winnerIn(planes, shape) } : found;
  }

  // Returns the strongest channel at a location, or undefined if none is active.
  const winnerIn = ({ winner }, [, columns]) => (row, column) => {
    const channel = winner(row * columns + column);
    return channel === NO_CHANNEL ? undefined : channel;
  };

  async function argmax(place, layer) {
    const planes = await modePlanes(place, layer);
    const { winner } = planes;
    const { stored: shape, step } = layer.modes;
    const shown = new Map();
    for (const { channel, color } of layer.legend)
      if (channel !== null) shown.set(channel, asColour([...color, 255]));
    const [others, none] = [asColour(OTHERS), asColour(BLACK)];
    const table = Uint32Array.from({ length: shape[0] * shape[1] }, (_, n) =>
      winner(n) === NO_CHANNEL ? none : (shown.get(winner(n)) ?? others)
    );
    return {
      ...mixed(table, shape, step),
      list: layer.legend.map(({ words, color }) => [words, `rgb(${color})`]),
      winner: winnerIn(planes, shape),
      value: (row, column) => valueOf(planes.max[row * shape[1] + column], layer.modes.low[0], layer.modes.high[0]),
    };
  }

  // A picture in which each unit has its own colour.
  function mixed(colours, shape, step) {
    const numbers = Uint32Array.from(colours, (_, n) => n);
    return {
      size: shape,
      step,
      range: null,
      clipped: [false, false],
      note: "",
      bar: false,
      list: [],
      paint: (context) => paintMap(context, numbers, shape[1], colours, whole(shape)),
    };
  }

  // Returns the brightness of each index of a channel's map; negative activations are as dark as 0.
  function lightTable(state, layer, channel) {
    const [, top, gamma] = rangeOf(state, layer, layer, channel);
    const table = new Float64Array(256);
    for (let index = 0; index <= STEPS; index++)
      table[index] = shareOf(valueOf(index, layer.low[channel], layer.high[channel]), [0, top, gamma]);
    return table;
  }

  // Packs red, green and blue in 0 to 1, stored one after another.
  function packedColours(sums) {
    const bytes = new Uint8ClampedArray((sums.length / 3) * 4);
    for (let n = 0; n < sums.length / 3; n++) {
      for (let part = 0; part < 3; part++) bytes[4 * n + part] = 255 * sums[3 * n + part];
      bytes[4 * n + 3] = 255;
    }
    return coloursOf(bytes);
  }

  async function lights(state, place, layer, hues) {
    const planes = await maps(place, state.channels);
    const sums = new Float32Array(3 * planes[0].length);
    planes.forEach((plane, k) => {
      const table = lightTable(state, layer, state.channels[k]);
      for (let n = 0; n < plane.length; n++)
        for (let part = 0; part < 3; part++) sums[3 * n + part] += table[plane[n]] * hues[k][part];
    });
    const list = state.channels.map((channel, k) => [
      `channel ${channel}`, `rgb(${hues[k].map((part) => Math.round(255 * part))})`,
    ]);
    return { ...mixed(packedColours(sums), layer.stored, layer.step), list };
  }

  async function composite(state, place, layer) {
    const planes = await maps(place, state.channels);
    // Exact colours: sums of bytes would be off by more than one.
    const colours = new Float32Array(bytesOf(page.lights[state.cmap]).buffer);
    const count = colours.length / 3;
    const isAuto = state.scale === "auto";
    const sums = new Float32Array(3 * planes[0].length);
    planes.forEach((plane, k) => {
      const channel = state.channels[k];
      const [low, high] = [layer.low[channel], layer.high[channel]];
      const [, top, gamma] = rangeOf(state, layer, layer, channel);
      const range = isAuto ? [0, top, gamma] : [0, Math.max(0, high), 1];
      const table = entryTable(low, high, range, count);
      for (let n = 0; n < plane.length; n++)
        for (let part = 0; part < 3; part++)
          sums[3 * n + part] += colours[3 * table[plane[n]] + part] / planes.length;
    });
    if (isAuto) {
      const brightest = new Float32Array(planes[0].length);
      for (let n = 0; n < brightest.length; n++)
        brightest[n] = Math.max(sums[3 * n], sums[3 * n + 1], sums[3 * n + 2]);
      const factor = percentile(brightest, 99.5) || 1;
      for (let n = 0; n < sums.length; n++) sums[n] /= factor;
    }
    return mixed(packedColours(sums), layer.stored, layer.step);
  }

  const hueOf = (hue) =>
    [5, 3, 1].map((n) => {
      const k = (n + 6 * hue) % 6;
      return 1 - Math.max(0, Math.min(k, 4 - k, 1));
    });

  return {
    entries,

    // Returns the picture of a state, whose channels are those that its mode shows.
    async picture(state, place) {
      const layer = page.layers[place];
      switch (state.mode) {
        case "grid":
          return grid(state, place, layer);
        case "max":
        case "mean":
          return ready(state, place, layer);
        case "argmax":
          return argmax(place, layer);
        case "composite":
          return composite(state, place, layer);
        case "rgb":
          return lights(state, place, layer, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]);
        case "rainbow":
          return lights(state, place, layer, state.channels.map((_, k) => hueOf(k / state.channels.length)));
        default: {
          const plane = await map(place, state.channel);
          return single(plane, layer, state.channel, layer.stored, layer.step, state, layer);
        }
      }
    },

    // Paints a channel over its own range onto a small canvas.
    async thumbnail(canvas, place, channel, cmap) {
      const layer = page.layers[place];
      const plane = await map(place, channel);
      const small = single(plane, layer, channel, layer.stored, 1, { cmap, scale: "auto", gamma: null }, layer);
      [canvas.height, canvas.width] = layer.stored;
      small.paint(canvas.getContext("2d"));
    },
  };
}
