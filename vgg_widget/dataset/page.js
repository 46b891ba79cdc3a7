// The page of strongest images: the display of a layer and channel.

import { byId, complaint, layerNow, made, oneNumber, page, placeOfLayer, plain, showChosen, start, state } from "./shell.js";

const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const number = (value) => (value === null ? "none" : plain(value));

// A layer's data are parsed when it is first displayed.
const read = new Map();
function foundOf(place) {
  if (!read.has(place)) read.set(place, JSON.parse(byId(`layer-${place}`).textContent));
  return read.get(place);
}

function drawn(tag, attributes, words) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (words !== undefined) element.textContent = words;
  return element;
}

function patchOf(found, rank) {
  const name = page.names[found.images[state.channel][rank]];
  const figure = made("figure");
  const cut = found.cut[state.channel][rank];
  if (cut < 0) {
    figure.append(made("div", { class: "none" }, "image missing"));
  } else {
    const image = made("img", { alt: `Patch of ${name}` });
    image.addEventListener("load", () => {
      image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) < 48);
    });
    image.src = found.patches[cut];
    figure.append(image);
  }
  const caption = made("figcaption");
  const value = number(found.values[state.channel][rank]);
  caption.append(made("span", { class: "value" }, value), made("span", {}, name));
  figure.append(caption);
  const item = made("li");
  item.append(figure);
  return item;
}

// The bounds of bin `i`; the first and the last bin are open.
const startOf = (bin) => (bin ? page.edges[bin - 1] : -Infinity);
const endOf = (bin) => (bin < page.edges.length ? page.edges[bin] : Infinity);
const zeroBin = page.edges.length / 2;

const bound = (value) => {
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  return number(Number(value.toPrecision(3)));
};

// Two digits suffice below 1; above, powers of 2 are whole numbers.
const tick = (value) => (Math.abs(value) < 1 ? number(Number(value.toPrecision(2))) : bound(value));

function drawHistogram() {
  const { bins, histogram } = foundOf(placeOfLayer(state.layer));
  const counts = histogram[state.channel];
  const most = Math.max(1, ...counts);
  const [wide, high] = [byId("histogram").clientWidth, byId("histogram").clientHeight];
  const [left, top, base] = [48, 8, high - 24];
  // One column per bin, and a gap of half a column where bins are left out.
  const starts = [];
  let columns = 0;
  bins.forEach((bin, place) => {
    if (place && bin !== bins[place - 1] + 1) columns += 0.5;
    starts.push(columns);
    columns += 1;
  });
  const column = Math.min(40, (wide - left - 24) / Math.max(1, columns));
  const x = (place) => left + starts[place] * column;
  const svg = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img" });
  svg.setAttribute(
    "aria-label",
    `Histogram of ${whole.format(counts.reduce((sum, one) => sum + one, 0))} images; the fullest ` +
      `bin has ${whole.format(Math.max(0, ...counts))}.`
  );
  svg.append(
    drawn("line", { x1: left, x2: left + columns * column, y1: base + 0.5, y2: base + 0.5 }),
    drawn("text", { x: left - 6, y: top + 10, "text-anchor": "end" }, whole.format(most)),
    drawn("text", { x: left - 6, y: base, "text-anchor": "end" }, "0")
  );
  // Bin edges are powers of √2: label powers of 2, as many as fit.
  let free = left - 24;
  bins.forEach((bin, place) => {
    const tall = counts[place] ? Math.max(1, ((base - top) * counts[place]) / most) : 0;
    const bar = drawn("rect", {
      x: x(place) + 0.5, y: base - tall, width: Math.max(1, column - 1), height: tall,
    });
    bar.append(
      drawn(
        "title",
        {},
        `${bound(startOf(bin))} to ${bound(endOf(bin))}: ${whole.format(counts[place])} images`
      )
    );
    svg.append(bar);
    const [words, middle] =
      bin === zeroBin
        ? ["0", x(place) + column / 2]
        : [tick(startOf(bin)), x(place)];
    const power = bin === zeroBin || Number.isInteger(Math.log2(Math.abs(startOf(bin))));
    const reach = words.length * 3.5 + 4;
    if (power && middle - reach > free) {
      svg.append(
        drawn("line", { x1: middle, x2: middle, y1: base, y2: base + 4 }),
        drawn("text", { x: middle, y: base + 17, "text-anchor": "middle" }, words)
      );
      free = middle + reach;
    }
  });
  byId("histogram").replaceChildren(svg);

  const rows = [];
  bins.forEach((bin, place) => {
    if (!counts[place]) return;
    const row = made("tr");
    row.append(
      made("td", {}, bound(startOf(bin))),
      made("td", {}, bound(endOf(bin))),
      made("td", {}, whole.format(counts[place]))
    );
    rows.push(row);
  });
  byId("table").replaceChildren(...rows);
}

function show() {
  const layer = layerNow();
  const { channel } = state;
  const found = foundOf(placeOfLayer(state.layer));
  showChosen();
  const part = layer.channels < layer.of ? ` on this page, of ${whole.format(layer.of)}` : "";
  byId("last").textContent = `0 to ${layer.channels - 1}${part}`;

  const values = found.values[channel];
  const dead = found.active[channel] === 0 && values[0] === 0;
  let said = `${complaint} ${layer.name}, channel ${channel}: `.trimStart();
  if (!values.length) said += "none of its values are finite.";
  else if (dead) said += "0 on all images. The first images are shown.";
  else said += `its ${values.length === 1 ? "strongest image" : `${values.length} strongest images`}.`;
  byId("said").textContent = said;
  byId("patches").replaceChildren(...values.map((_, rank) => patchOf(found, rank)));

  const counted = found.counted[channel];
  byId("mean").textContent = number(found.mean[channel]);
  byId("active").textContent =
    counted === 0
      ? "no image"
      : `${percent.format(found.active[channel])} of ${whole.format(counted)} images`;
  byId("sees").textContent = layer.sees
    ? `${layer.sees} × ${layer.sees} pixels`
    : "not defined: whole images are shown";
  byId("histogram-name").textContent = `Number of images by the map's ${
    page.statistic === "max" ? "maximum" : page.statistic
  }`;
  drawHistogram();
}

start({
  show,
  fitted: (asked) => {
    const { channels } = page.layers[placeOfLayer(asked.layer)];
    return { ...asked, channel: Math.min(Math.max(0, asked.channel), channels - 1) };
  },
  reads: { layer: String, channel: oneNumber },
});
new ResizeObserver(drawHistogram).observe(byId("histogram"));
