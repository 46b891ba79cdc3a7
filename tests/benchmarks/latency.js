// Notes when new pixels reach the page: on an ipympl canvas, on the explorer's own above it, in an <img>,
// or on a bare canvas; and when words about what is under the mouse do.
window.latency = (() => {
  let frames = [];
  let words = [];
  let moves = [];
  let began = 0;
  let armed = false;

  // A cheap hash of all pixels, so that a frame that shows nothing new is not counted; 0 for one colour.
  const hash = (canvas) => {
    const { width, height } = canvas;
    if (!width || !height) return 0;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const pixels = new Uint32Array(data.buffer);
    let sum = 0;
    let differ = 0;
    for (let i = 0; i < pixels.length; i++) {
      sum = (Math.imul(sum, 31) + pixels[i]) | 0;
      differ |= pixels[i] ^ pixels[0];
    }
    return differ && (sum || 1);
  };

  const boxOf = (drawer) => document.querySelector(`.drawer-${drawer}`);
  const drawerOf = (element) =>
    element.closest("[class*='drawer-']")?.className.match(/drawer-(\w+)/)[1];

  // The clock is read before the pixels are, which takes a millisecond or two.
  const seen = new WeakMap();
  const note = (element, at, value) => {
    const drawer = drawerOf(element);
    if (!drawer || !value || seen.get(element) === value) return;
    seen.set(element, value);
    frames.push({ at, drawer });
  };

  // Where the page paints by itself, nobody sees the kernel's frame of the same below. What it paints begins in
  // the top row, with the title's paper.
  const isCovered = (canvas) => {
    const above = canvas.parentElement.querySelector(".vgg-painted");
    if (!above?.width) return false;
    return above.getContext("2d").getImageData(0, 0, above.width, 1).data.some(Boolean);
  };

  const { drawImage, putImageData, strokeRect } = CanvasRenderingContext2D.prototype;
  // What the explorer's page paints by itself is there with the last of map and frames. The pixels are read
  // when all that follows the same event is done, words included.
  let painted = null;
  const notePainted = (canvas) => {
    if (!(canvas instanceof HTMLCanvasElement && canvas.matches(".vgg-painted"))) return;
    if (!painted)
      queueMicrotask(() => queueMicrotask(() => {
        note(canvas, painted, hash(canvas));
        painted = null;
      }));
    painted = performance.now();
  };
  CanvasRenderingContext2D.prototype.putImageData = function (...values) {
    putImageData.apply(this, values);
    notePainted(this.canvas);
  };
  CanvasRenderingContext2D.prototype.strokeRect = function (...values) {
    strokeRect.apply(this, values);
    notePainted(this.canvas);
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...values) {
    drawImage.apply(this, values);
    const { canvas } = this;
    // ipympl draws off the screen first, then on the lower of two canvases on the page.
    if (!canvas.isConnected || canvas.parentElement.firstElementChild !== canvas) return;
    const at = performance.now();
    if (!isCovered(canvas)) note(canvas, at, hash(canvas));
  };
  // This event never reaches the window.
  document.addEventListener("load", ({ target }) => {
    // The explorer's thumbnails are not its picture.
    if (target.matches("img:not(.vgg-strip *)")) note(target, performance.now(), target.src);
  }, true);

  // The explorer's line about what is under the mouse, and ipympl's.
  new MutationObserver((changes) => {
    const at = performance.now();
    for (const { target } of changes) {
      const element = target instanceof Element ? target : target.parentElement;
      if (element?.closest(".vgg-place, .jupyter-matplotlib-footer"))
        words.push({ at, drawer: drawerOf(element) });
    }
  }).observe(document, { childList: true, characterData: true, subtree: true });

  const begin = () => {
    frames = [];
    words = [];
    moves = [];
    armed = false;
    began = performance.now();
  };
  window.addEventListener("keydown", begin, true);
  // The next move of the mouse begins.
  const arm = () => {
    begin();
    began = Infinity;
    armed = true;
  };
  window.addEventListener("mousemove", () => armed && begin(), true);

  // The floor: pixels as they are, over a comm, onto a canvas that nothing else draws on.
  const listenRaw = () => {
    harness.kernel().registerCommTarget("raw_pixels", (comm) => {
      comm.onMsg = ({ content, buffers: [{ buffer, byteOffset, byteLength }] }) => {
        const { width, height } = content.data;
        const canvas = document.querySelector("canvas.raw-pixels");
        if (!canvas) return;
        if (canvas.width !== width || canvas.height !== height)
          Object.assign(canvas, { width, height });
        const bytes = new Uint8ClampedArray(buffer.slice(byteOffset, byteOffset + byteLength));
        canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
        note(canvas, performance.now(), performance.now());
      };
    });
  };

  // JupyterLab takes arrow keys from dropdowns; this is what follows a choice with the mouse.
  const choose = (drawer) => {
    const select = boxOf(drawer).querySelector("select");
    const { options, selectedIndex } = select;
    select.selectedIndex = selectedIndex + (options[selectedIndex].text.includes("conv1") ? 1 : -1);
    begin();
    select.dispatchEvent(new Event("change", { bubbles: true }));
  };

  // Moves the channel's slider there and back by as many events a second as a screen has frames. A
  // driver's mouse waits for the page after each event and falls behind; here, events that a busy
  // page has kept waiting come at once, as from a real mouse.
  const drag = async (drawer, seconds, rate, sweep) => {
    const handle = boxOf(drawer).querySelector(".noUi-handle");
    const track = boxOf(drawer).querySelector(".noUi-base").getBoundingClientRect();
    const box = handle.getBoundingClientRect();
    const send = (type, target, clientX) => target.dispatchEvent(new MouseEvent(type, {
      bubbles: true, cancelable: true, view: window, clientX, clientY: (box.top + box.bottom) / 2,
      buttons: type === "mouseup" ? 0 : 1,
    }));
    send("mousedown", handle, (box.left + box.right) / 2);
    begin();
    let x = 0;
    for (let sent = 0; sent < seconds * rate; ) {
      for (; sent < ((performance.now() - began) / 1000) * rate; sent++) {
        const sweeps = sent / rate / sweep;
        const share = Math.floor(sweeps) % 2 ? 1 - (sweeps % 1) : sweeps % 1;
        x = track.left + track.width * (0.1 + 0.7 * share);
        moves.push(performance.now());
        send("mousemove", document.documentElement, x);
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    send("mouseup", document.documentElement, x);
  };

  // Runs one cell of the notebook; its widgets are a drawer's.
  const run = (cell) => {
    const { shell, commands } = window.jupyterapp;
    shell.currentWidget.content.activeCellIndex = cell;
    begin();
    commands.execute("notebook:run-cell");
  };

  // Milliseconds from the key, the choice or the move to the first new pixels, or words, of a drawer.
  const elapsed = async (drawer, limit, what = "pixels") => {
    for (const start = performance.now(); performance.now() - start < limit; ) {
      const first = (what === "words" ? words : frames).find(
        (one) => one.drawer === drawer && one.at > began);
      if (first) return first.at - began;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    throw Error(`no new ${what} in ${limit} ms`);
  };

  const last = () => Math.max(began, frames.at(-1)?.at ?? 0, moves.at(-1) ?? 0);
  const quiet = async (still, limit) => {
    for (const start = performance.now(); performance.now() - last() < still; ) {
      if (performance.now() - start > limit) throw Error(`still new pixels after ${limit} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  // What is seen within a box on a canvas, whoever has drawn it.
  const within = (canvas, [left, top, right, bottom]) => {
    const copy = document.createElement("canvas");
    Object.assign(copy, { width: right - left, height: bottom - top });
    const above = canvas.parentElement.querySelectorAll(".vgg-painted");
    for (const one of [canvas, ...above])
      if (one.width) copy.getContext("2d").drawImage(one, -left, -top);
    return harness.picture(copy).crc;
  };

  const shown = (drawer, box) => {
    const element = boxOf(drawer).querySelector(":is(canvas, img):not(.vgg-strip *)");
    const handle = boxOf(drawer).querySelector(".noUi-handle");
    const channel = Number(handle.getAttribute("aria-valuenow"));
    if (element.tagName === "CANVAS")
      return { channel, ...harness.picture(element), seen: box && within(element, box) };
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: element.naturalWidth, height: element.naturalHeight });
    canvas.getContext("2d").drawImage(element, 0, 0);
    return { channel, ...harness.picture(canvas) };
  };

  return {
    arm, begin, choose, drag, elapsed, listenRaw, quiet, run, shown,
    frames: () => frames,
    moves: () => moves,
  };
})();
