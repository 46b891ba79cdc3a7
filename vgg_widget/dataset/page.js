"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  // Everything a file or a person named goes into the page as text.
  const dataOf = (id) => JSON.parse(byId(id).textContent);
  const atlas = dataOf("atlas");
  const layers = new Map();

  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
  const whole = new Intl.NumberFormat("en");
  const number = (value) => {
    if (value === null) return "none";
    const size = Math.abs(value);
    if (!size || (size >= 1e-4 && size < 1e7)) return digits.format(value);
    return value.toExponential(2).replace(/\.?0+e/, "e");
  };

  const layerOf = (place) => {
    if (!layers.has(place)) layers.set(place, dataOf(`layer-${place}`));
    return layers.get(place);
  };

  const made = (tag, words, name) => {
    const element = document.createElement(tag);
    if (words !== undefined) element.textContent = words;
    if (name) element.className = name;
    return element;
  };

  const drawn = (tag, attributes, words) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (words !== undefined) element.textContent = words;
    return element;
  };

  let layerPlace = atlas.first;
  let channel = 0;

  const patchOf = (layer, rank) => {
    const name = atlas.names[layer.images[channel][rank]];
    const figure = made("figure");
    const cut = layer.cut[channel][rank];
    if (cut < 0) {
      figure.append(made("div", "picture not there", "none"));
    } else {
      const image = made("img");
      image.alt = `Patch of ${name}`;
      image.addEventListener("load", () => {
        image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) < 48);
      });
      image.src = layer.patches[cut];
      figure.append(image);
    }
    const caption = made("figcaption");
    caption.append(made("span", number(layer.values[channel][rank]), "value"), made("span", name));
    figure.append(caption);
    const item = made("li");
    item.append(figure);
    return item;
  };

  // Where bin `i` begins and ends; the first and the last are open.
  const startOf = (bin) => (bin ? atlas.edges[bin - 1] : -Infinity);
  const endOf = (bin) => (bin < atlas.edges.length ? atlas.edges[bin] : Infinity);
  const zeroBin = atlas.edges.length / 2;

  const bound = (value) => {
    if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
    return number(Number(value.toPrecision(3)));
  };

  // Below 1 two digits will do; from there on powers of 2 are whole numbers.
  const tick = (value) => (Math.abs(value) < 1 ? number(Number(value.toPrecision(2))) : bound(value));

  const drawHistogram = () => {
    const { bins, histogram } = layerOf(layerPlace);
    const counts = histogram[channel];
    const most = Math.max(1, ...counts);
    const [wide, high] = [byId("histogram").clientWidth, byId("histogram").clientHeight];
    const [left, top, base] = [48, 8, high - 24];
    // A column for each bin, and half a one where bins are left out.
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
    // Bins meet at powers of √2: powers of 2 are written, as many as there is room for.
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
        made("td", bound(startOf(bin))),
        made("td", bound(endOf(bin))),
        made("td", whole.format(counts[place]))
      );
      rows.push(row);
    });
    byId("table").replaceChildren(...rows);
  };

  const show = () => {
    const about = atlas.layers[layerPlace];
    const layer = layerOf(layerPlace);
    channel = Math.min(Math.max(0, channel), about.channels - 1);
    byId("layer").selectedIndex = layerPlace;
    for (const id of ["channel", "slider"]) {
      byId(id).max = about.channels - 1;
      byId(id).value = channel;
    }
    const part = about.channels < about.of ? ` on this page, of ${whole.format(about.of)}` : "";
    byId("last").textContent = `0 to ${about.channels - 1}${part}`;

    const values = layer.values[channel];
    const dead = layer.active[channel] === 0 && values[0] === 0;
    let said = `${about.name}, channel ${channel}: `;
    if (!values.length) said += "none of its values is finite.";
    else if (dead) said += "0 on all of the images. The first of them are shown.";
    else said += `its ${values.length === 1 ? "strongest image" : `${values.length} strongest images`}.`;
    byId("said").textContent = said;
    byId("patches").replaceChildren(...values.map((_, rank) => patchOf(layer, rank)));

    const counted = layer.counted[channel];
    byId("mean").textContent = number(layer.mean[channel]);
    byId("active").textContent =
      counted === 0
        ? "no image"
        : `${percent.format(layer.active[channel])} of ${whole.format(counted)} images`;
    byId("sees").textContent = about.sees
      ? `${about.sees} × ${about.sees} pixels`
      : "not defined: whole pictures are shown";
    byId("histogram-name").textContent = `How many images have which ${
      atlas.statistic === "max" ? "maximum" : atlas.statistic
    } of the map`;
    drawHistogram();
    try {
      // So that an address can be kept, and reloading shows the same.
      history.replaceState(null, "", `#${encodeURIComponent(about.name)}/${channel}`);
    } catch {
      // Within another page there may be no address of its own.
    }
  };

  const readAddress = () => {
    const [name, asked] = location.hash.slice(1).split("/");
    let wanted;
    try {
      wanted = decodeURIComponent(name);
    } catch {
      return;
    }
    const place = atlas.layers.findIndex((about) => about.name === wanted);
    if (place < 0) return;
    layerPlace = place;
    channel = Number.parseInt(asked, 10) || 0;
  };

  byId("layer").append(...atlas.layers.map((about) => made("option", about.name)));
  byId("layer").addEventListener("change", () => {
    layerPlace = byId("layer").selectedIndex;
    show();
  });
  for (const id of ["channel", "slider"]) {
    byId(id).addEventListener("input", () => {
      const asked = byId(id).valueAsNumber;
      // Half a number is no channel yet.
      if (!Number.isInteger(asked) || asked < 0 || asked >= atlas.layers[layerPlace].channels) return;
      channel = asked;
      show();
    });
    // What was left unfinished gives way to the channel on view.
    byId(id).addEventListener("change", show);
  }
  window.addEventListener("hashchange", () => {
    readAddress();
    show();
  });
  byId("waiting").remove();
  document.querySelector("main").hidden = false;
  new ResizeObserver(drawHistogram).observe(byId("histogram"));
  readAddress();
  show();
})();
