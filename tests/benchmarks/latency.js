// Notes when new pixels reach the page: on an ipympl canvas, in an <img>, or on a bare canvas.
window.latency = (() => {
  let frames = [];
  let moves = [];
  let began = 0;
  let waiting = null;

  // A cheap hash of all pixels, so that a frame that shows nothing new is not counted.
  const hash = (canvas) => {
    const { width, height } = canvas;
    if (!width || !height) return 0;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const words = new Uint32Array(data.buffer);
    let sum = 0;
    for (let i = 0; i < words.length; i++) sum = (Math.imul(sum, 31) + words[i]) | 0;
    return sum;
  };

  const boxOf = (drawer) => document.querySelector(`.drawer-${drawer}`);
  const drawerOf = (element) =>
    element.closest("[class*='drawer-']")?.className.match(/drawer-(\w+)/)[1];

  // The clock is read before the pixels are, which takes a millisecond or two.
  const seen = new WeakMap();
  const note = (element, at, value) => {
    const drawer = drawerOf(element);
    if (!drawer || seen.get(element) === value) return;
    seen.set(element, value);
    frames.push({ at, drawer });
    if (drawer === waiting?.drawer && at > began) {
      waiting.resolve(at - began);
      waiting = null;
    }
  };

  const { drawImage, putImageData } = CanvasRenderingContext2D.prototype;
  // What the explorer's page paints by itself, above ipympl's canvas.
  CanvasRenderingContext2D.prototype.putImageData = function (...values) {
    putImageData.apply(this, values);
    if (this.canvas instanceof HTMLCanvasElement && this.canvas.matches(".vgg-painted"))
      note(this.canvas, performance.now(), hash(this.canvas));
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...values) {
    drawImage.apply(this, values);
    const { canvas } = this;
    // ipympl draws off the screen first, then on the lower of two canvases on the page.
    if (canvas.isConnected && canvas.parentElement.firstElementChild === canvas)
      note(canvas, performance.now(), hash(canvas));
  };
  // This event never reaches the window.
  document.addEventListener("load", ({ target }) => {
    // The explorer's thumbnails are not its picture.
    if (target.matches("img:not(.vgg-strip *)")) note(target, performance.now(), target.src);
  }, true);

  const begin = () => {
    frames = [];
    moves = [];
    began = performance.now();
  };
  window.addEventListener("keydown", begin, true);

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

  // Milliseconds from the key or choice to the first new pixels of a drawer.
  const elapsed = (drawer, limit) =>
    new Promise((resolve, reject) => {
      const first = frames.find((frame) => frame.drawer === drawer && frame.at > began);
      if (first) {
        resolve(first.at - began);
        return;
      }
      waiting = { drawer, resolve };
      setTimeout(() => reject(Error(`no new pixels in ${limit} ms`)), limit);
    });

  const last = () => Math.max(began, frames.at(-1)?.at ?? 0, moves.at(-1) ?? 0);
  const quiet = async (still, limit) => {
    for (const start = performance.now(); performance.now() - last() < still; ) {
      if (performance.now() - start > limit) throw Error(`still new pixels after ${limit} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  const shown = (drawer) => {
    const element = boxOf(drawer).querySelector(":is(canvas, img):not(.vgg-strip *)");
    const handle = boxOf(drawer).querySelector(".noUi-handle");
    const channel = Number(handle.getAttribute("aria-valuenow"));
    if (element.tagName === "CANVAS") return { channel, ...harness.picture(element) };
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: element.naturalWidth, height: element.naturalHeight });
    canvas.getContext("2d").drawImage(element, 0, 0);
    return { channel, ...harness.picture(canvas) };
  };

  return {
    choose, drag, elapsed, listenRaw, quiet, shown,
    frames: () => frames,
    moves: () => moves,
  };
})();
