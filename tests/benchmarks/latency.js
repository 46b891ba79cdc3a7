// Notes when new pixels reach the page: on an ipympl canvas, in an <img>, or on a bare canvas.
window.latency = (() => {
  let frames = [];
  let pressed = null;

  // A cheap hash of all pixels, so that a frame that shows nothing new is not counted.
  const hash = (canvas) => {
    const { width, height } = canvas;
    if (!width || !height) return 0;
    const words = new Uint32Array(
      CanvasRenderingContext2D.prototype.getImageData.call(
        canvas.getContext("2d"), 0, 0, width, height).data.buffer);
    let sum = 0;
    for (let i = 0; i < words.length; i++) sum = (Math.imul(sum, 31) + words[i]) | 0;
    return sum;
  };

  let counting = true;
  const seen = new WeakMap();
  const note = (element, value) => {
    if (seen.get(element) === value) return;
    seen.set(element, value);
    frames.push({ at: element.latencyAt, drawer: drawerOf(element) });
  };
  const drawerOf = (element) => element.closest("[class*='drawer-']")
    ?.className.match(/drawer-(\w+)/)?.[1] ?? null;

  const drawImage = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...values) {
    const result = drawImage.apply(this, values);
    const { canvas } = this;
    // ipympl draws off the screen first, then on the lower of two canvases on the page.
    if (canvas.isConnected && canvas.parentElement?.firstElementChild === canvas) {
      canvas.latencyAt = performance.now();
      if (drawerOf(canvas)) note(canvas, counting ? hash(canvas) : canvas.latencyAt);
    }
    return result;
  };
  // This event never reaches the window.
  document.addEventListener("load", ({ target }) => {
    if (target.tagName !== "IMG") return;
    target.latencyAt = performance.now();
    if (drawerOf(target)) note(target, target.src);
  }, true);
  window.addEventListener("keydown", () => { pressed = performance.now(); frames = []; }, true);

  // The floor: pixels as they are, over a comm, onto a canvas that nothing else draws on.
  const listenRaw = () => {
    harness.kernel().registerCommTarget("raw_pixels", (comm) => {
      comm.onMsg = ({ content, buffers }) => {
        const { width, height } = content.data;
        const canvas = document.querySelector("canvas.raw-pixels");
        if (canvas.width !== width || canvas.height !== height)
          Object.assign(canvas, { width, height });
        const bytes = new Uint8ClampedArray(buffers[0].buffer.slice(
          buffers[0].byteOffset, buffers[0].byteOffset + buffers[0].byteLength));
        canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
        canvas.latencyAt = performance.now();
        note(canvas, canvas.latencyAt);
      };
    });
  };

  return {
    listenRaw,
    // JupyterLab takes arrow keys from dropdowns; this is what follows a choice with the mouse.
    choose: (select) => {
      const { options, selectedIndex } = select;
      select.selectedIndex = selectedIndex + (options[selectedIndex].text.includes("conv1") ? 1 : -1);
      pressed = performance.now();
      select.dispatchEvent(new Event("change", { bubbles: true }));
    },
    hashing: (on) => { counting = on; },
    clear: () => { frames = []; pressed = null; },
    frames: () => frames,
    // Milliseconds from the key to the first new pixels of a drawer, or null while there are none.
    elapsed: (drawer) => {
      const first = frames.find((frame) => frame.drawer === drawer && frame.at > pressed);
      return pressed !== null && first ? first.at - pressed : null;
    },
  };
})();
