// Paints a picture on the page before the kernel has drawn it, on a canvas above ipympl's own. ipympl's
// frames remain unchanged below; wherever something is not known exactly, this canvas is empty.

import { albumKeeper, tellKernel } from "./live_albums.js";
import { mouseListener, paintUnit } from "./live_mouse.js";
import { coloursOf, paintBar, paintList, paintMap, paintWords } from "./painter.js";

// After the figure has changed, the page waits this long before it requests the new layout.
const SCENE_MS = 120;
// Steps take precedence, but for no longer than this.
const SCENE_AT_LAST_MS = 1000;
// After this long without a step, the page requests the frame that the kernel kept back.
const STEPS_REST_MS = 250;
// If the canvas differs in size from the kernel's figure for this long, the page cannot paint.
const FITTING_MS = 5000;
// What is painted disappears with the kernel's next frame, or after this long.
const LEAVING_MS = 4000;

export function livePainter(model) {
  const canvases = new Set();
  let controls = null;
  let figure;
  // The kernel's last scene, and the layout of the canvas while that is valid.
  let scene = { number: 0, album: 0 };
  let stage = null;
  // The album that the page shows. It is `ahead` after a choice that the kernel has not followed yet;
  // the scene's other choices then refer to the state before.
  let here = 0;
  let ahead = 0;
  let chosenBy = "";
  let wasBehind = false;
  let turn = 0;
  let shown = false;
  let leaving;
  let painting = 0;
  let marking = 0;
  let kept = false;
  let resting;
  let asking;
  let beginning;
  let ended = 0;
  let opened = 0;

  const albums = albumKeeper(model, (name) => {
    if (name === scene.album) begin();
  });
  const mouse = mouseListener(model, {
    paint,
    painted: () => {
      const plane = shown && stage && planeNow();
      const sheet = plane && albums.sheet(here);
      const known = sheet && stage.albums.find(({ name }) => name === here);
      const name = `${here} ${channelNow()}`;
      const { shape } = known ?? {};
      return known ? { stage, sheet: { ...sheet, shape }, plane, name, entries: stage.table.length } : null;
    },
    isBusy: () => figure?.get("toolbar")?.get("_current_action"),
    isBehind,
    location: () => locationNow(),
    marks,
  });

  const albumNow = () => stage?.albums.find(({ name }) => name === here);

  // Every mode other than `channel` has a single plane.
  function channelNow() {
    const album = albumNow();
    return album?.one ? Math.min(controls.slider.get("value"), album.count - 1) : 0;
  }

  const planeNow = () => controls && albums.plane(here, channelNow());

  function locationNow() {
    const { album, location } = model.get("shown");
    return album === here ? location : null;
  }

  function hide() {
    clearTimeout(leaving);
    leaving = undefined;
    shown = false;
    for (const canvas of canvases) canvas.width = canvas.width;
    follow();
  }

  // Until the kernel's next frame arrives, the page shows something newer than the canvas below.
  function giveWay() {
    if (shown && leaving === undefined) leaving = setTimeout(hide, LEAVING_MS);
  }

  function paintOn(canvas, plane, sheet) {
    const below = canvas.previousElementSibling;
    const [width, height] = stage.size;
    if (below?.width !== width || below.height !== height) return false;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    Object.assign(canvas.style, { width: below.style.width, height: below.style.height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const { map, bar, title, title_room: room, points } = stage.places;
    const clear = (left, top, right, bottom) => {
      context.fillStyle = stage.paper;
      context.fillRect(left, top, right - left, bottom - top);
    };
    const head = Math.floor(map[1]) - 1;
    clear(Math.floor(map[0]), 0, Math.floor(map[0] + room) - 1, head);
    const upright = bar[3] - bar[1] > bar[2] - bar[0];
    // A list is as high as the figure, and a zoomed map may be less high than its bar.
    if (upright) clear(Math.ceil(map[2]) + 2, bar[1] < head ? 0 : head, width, height);
    else clear(Math.floor(map[0]) - 4, Math.ceil(map[3]) + 2, width, height);
    paintWords(context, plane.title, title, points, 9.5, stage.ink);
    if (plane.numbers.length) paintBar(context, bar, stage.table, plane, stage.ink, points);
    paintList(context, plane.list, stage.places, stage.ink);
    paintMap(context, plane.indices, albumNow().shape[1], plane.table ?? stage.table, sheet);
    const unit = mouse.unit() ?? locationNow();
    // The last known mouse position may be a unit that only the previous layer has.
    const { shape } = albumNow();
    if (unit?.every((number, n) => number < shape[n])) paintUnit(context, stage, sheet, unit);
    return true;
  }

  // Returns whether the page shows the state of the controls.
  function paint() {
    const plane = stage && planeNow();
    const sheet = plane && albums.sheet(here);
    const done = Boolean(sheet) && canvases.size > 0;
    if (!done || ![...canvases].every((canvas) => paintOn(canvas, plane, sheet))) {
      giveWay();
      return false;
    }
    clearTimeout(leaving);
    leaving = undefined;
    shown = true;
    return true;
  }

  // Returns whether the kernel has yet to follow what the page shows.
  function isBehind() {
    if (!shown || leaving !== undefined || !planeNow()) return false;
    // A kernel that is gone never will.
    if (controls.slider.comm_live === false) return false;
    const { album, channel } = model.get("shown");
    return album !== here || Boolean(albumNow()?.one && channel !== channelNow());
  }

  // Texts and highlights match the painted picture; what only the kernel knows is dimmed until it arrives.
  function follow() {
    const behind = isBehind();
    for (const canvas of canvases) {
      const root = canvas.closest(".vgg-explorer");
      root?.classList.toggle("vgg-behind", behind);
      root?.classList.toggle("vgg-elsewhere", behind && model.get("shown").album !== here);
    }
    // The kernel does not repeat its texts, so the page restores them once it is no longer ahead.
    const words = behind ? ours() : wasBehind && model.get("shown").words;
    wasBehind = behind;
    // Applied as if sent by the kernel: a plain `set` would be sent with the user's next choice.
    for (const [name, value] of Object.entries(words || {}))
      controls[name].set_state({ [name === "layer" ? "index" : "value"]: value });
  }

  // Returns the values of the controls for the picture that the page shows.
  function ours() {
    const { caption, source } = planeNow();
    const words = { caption, source };
    if (albumNow().one) words.filmstrip = words.box = channelNow();
    const { layers, chosen } = stage;
    const layer = layers.find((name) => chosen.network?.[name] === here);
    if (layer) words.network = layer;
    const label = Object.keys(chosen.layer ?? {}).find((one) => chosen.layer[one] === here);
    const index = controls.layer.get("_options_labels").indexOf(label);
    if (index >= 0) words.layer = index;
    return words;
  }

  // If the page cannot paint, nothing would show the frame that the kernel kept back.
  function rest() {
    clearTimeout(resting);
    if (!kept) return;
    resting = setTimeout(() => {
      kept = false;
      tellKernel(model, { kind: "rested" });
    }, shown && leaving === undefined ? STEPS_REST_MS : 0);
  }

  function stepped() {
    albums.step();
    if (!scene.album) askForScene();
    paint();
    follow();
    begin();
    rest();
    mouse.look();
  }

  function begin() {
    if (!scene.album || here !== scene.album || painting === scene.number || !albums.isWhole(here)) return;
    if (!paint()) {
      // The kernel's frame, and with it the canvas's size, may still be on its way.
      clearTimeout(beginning);
      if (performance.now() - opened < FITTING_MS) beginning = setTimeout(begin, SCENE_MS);
      else if (canvases.size) tellKernel(model, { kind: "cannot", scene: scene.number });
      return;
    }
    painting = scene.number;
    tellKernel(model, { kind: "painting", scene: painting });
    if (locationNow()) marks();
    mouse.look();
  }

  // From now on the page draws the marks under the mouse and at the location.
  function marks() {
    if (!painting || marking === painting) return;
    marking = painting;
    tellKernel(model, { kind: "marks", scene: painting });
    paint();
  }

  // A control sends one change at a time; a message sent meanwhile would overtake the next change.
  const isTelling = () => Object.values(controls ?? {}).some((control) => control._pending_msgs > 0);

  function askForScene() {
    clearTimeout(asking);
    const ask = () => {
      if (isTelling()) asking = setTimeout(ask, SCENE_MS);
      else tellKernel(model, { kind: "scene", turn });
    };
    const latest = ended + SCENE_AT_LAST_MS - performance.now();
    if (canvases.size && scene.paintable)
      asking = setTimeout(ask, Math.max(0, Math.min(SCENE_MS, latest)));
  }

  function changeScene() {
    const next = model.get("scene");
    painting = marking = 0;
    clearTimeout(beginning);
    albums.forget(next.since);
    albums.wait();
    if (!next.album) {
      if (scene.album) ended = performance.now();
      scene = next;
      if (!next.next || !stage) {
        stage = null;
        ahead = 0;
        giveWay();
      } else if (!ahead) {
        here = next.next;
        // The scene's other choices are still valid only if they are of the same kind.
        const isLayer = Object.values(stage.chosen.network ?? {}).includes(here);
        chosenBy = isLayer ? "layer" : "kernel";
        paint();
        follow();
      }
      mouse.look();
      askForScene();
      return;
    }
    if (next.turn < turn) {
      // It was requested before the last choice.
      askForScene();
      return;
    }
    opened = performance.now();
    scene = next;
    stage = { ...next, table: coloursOf(next.colours) };
    here = next.album;
    ahead = 0;
    chosenBy = "";
    albums.begin(stage);
    begin();
    // The page may have been ahead at a state that the kernel never reached.
    follow();
    albums.ask();
  }

  // Shows the result of a choice, if the page has it; the caller tells the kernel.
  function choose(album, by) {
    const isKnown = stage && album && (!chosenBy || chosenBy === by);
    // A kernel that is gone would not follow.
    if (!isKnown || !shown || album === here || controls.slider.comm_live === false) return false;
    const before = here;
    here = album;
    if (!planeNow() || !albums.sheet(here)) {
      here = before;
      return false;
    }
    ahead = album;
    chosenBy = by;
    turn++;
    painting = marking = 0;
    stepped();
    return true;
  }

  // Moves on by this many layers; returns whether the page shows the layer and has told the kernel.
  function turnLayer(by, isRound = false) {
    if (!stage || !shown) return false;
    const { layers, chosen } = stage;
    const place = layers.findIndex((name) => chosen.network?.[name] === here);
    const name = place < 0 ? undefined : layers[isRound ? (place + by) % layers.length : place + by];
    if (!name || !choose(chosen.network[name], "layer")) return false;
    // The model already has this value.
    controls.network.save({ value: name }, { patch: true });
    return true;
  }

  // Shows another channel; returns whether the page has done so and told the kernel.
  function go(channel) {
    const album = albumNow();
    const isKnown = Number.isInteger(channel) && channel >= 0 && channel < album?.count;
    // A kernel that is gone would not follow.
    const { slider } = controls ?? {};
    if (!shown || !album?.one || !isKnown || slider.comm_live === false) return false;
    slider.set("value", channel);
    slider.save_changes();
    return true;
  }

  // Advances by one tick of the page's clock, and tells the kernel so.
  function tick(clock) {
    const { over, repeat } = model.get("playing");
    if (!clock.get("playing") || !stage || !shown) return;
    const isLast = (place, count) => place === count - 1 && !repeat;
    const album = albumNow();
    const place = stage.layers.findIndex((name) => stage.chosen.network?.[name] === here);
    const gone =
      over === "layers"
        ? !isLast(place, stage.layers.length) && turnLayer(1, true)
        : album?.one && album.count > 1 && !isLast(channelNow(), album.count) && go((channelNow() + 1) % album.count);
    if (gone) tellKernel(model, { kind: "played" });
  }

  const find = (id) => model.widget_manager.get_model(id);

  async function listenToClock() {
    const { clock } = model.get("playing");
    if (!clock) return;
    const found = await find(clock);
    // It may be the same clock with another walk.
    found.off("change:value", tick);
    found.on("change:value", tick);
  }

  async function listen() {
    const names = Object.entries(model.get("controls"));
    const found = await Promise.all(names.map(([, id]) => find(id)));
    figure = await find(model.get("figure"));
    controls = Object.fromEntries(names.map(([name], n) => [name, found[n]]));
    controls.slider.on("change:value", stepped);
    for (const name of ["layer", "mode", "more", "scale"])
      controls[name].on("change:index", (control, index, how) => {
        // Changes by the kernel come with its scene.
        if (!how?.updated_view) return;
        const words = control.get("_options_labels")[index];
        choose(stage?.chosen[name]?.[words], name === "more" ? "mode" : name);
      });
    figure.image.addEventListener("load", () => {
      if (leaving !== undefined) hide();
    });
    model.on("change:playing", () => listenToClock().catch(() => {}));
    await listenToClock();
    changeScene();
  }

  model.on("change:scene", changeScene);
  model.on("change:shown", () => {
    if (model.get("shown").album === ahead) ahead = 0;
    follow();
    if (locationNow()) marks();
    if (shown && leaving === undefined) paint();
  });
  if (model.get("controls").slider && typeof DecompressionStream !== "undefined")
    listen().catch(() => {});

  // Small pictures and the number field tell the kernel themselves: the page need not wait for it.
  function listenToChoices(root, signal) {
    const click = ({ target }) => {
      const button = target.closest(":is(.vgg-channels, .vgg-network) button[data-value]");
      if (!button) return;
      const value = JSON.parse(button.dataset.value);
      if (button.closest(".vgg-channels")) go(value);
      if (button.closest(".vgg-network")) choose(stage?.chosen.network?.[value], "layer");
    };
    const type = ({ target }) => {
      if (target.closest(".vgg-number")) go(Number(target.value));
    };
    root.addEventListener("click", click, { signal });
    root.addEventListener("change", type, { signal });
  }

  return {
    keep: albums.keep,
    tell: mouse.tell,

    // Called when the explorer is closed.
    close() {
      for (const timer of [asking, beginning, resting, leaving]) clearTimeout(timer);
      albums.close();
      mouse.close();
    },

    // The kernel has drawn a frame that it does not send by itself.
    keptBack() {
      kept = true;
      rest();
    },

    // Moves on by this many channels; returns whether the page has done so and told the kernel.
    step(by) {
      const album = albumNow();
      if (!shown || !album?.one || !controls) return false;
      // Past either end there is no channel, so the kernel need not be asked.
      const channel = channelNow() + by;
      return channel < 0 || channel >= album.count || go(channel);
    },

    turnLayer,
    isTelling,

    // Adds a canvas above ipympl's, once that exists.
    async attach(root, selector, signal) {
      let holder;
      if (!model.get("controls").slider) return;
      for (let tries = 0; tries < 400 && !signal.aborted; tries++) {
        holder = root.querySelector(selector);
        if (holder?.firstElementChild) break;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      if (!holder?.firstElementChild || signal.aborted) return;
      const canvas = document.createElement("canvas");
      canvas.className = "vgg-painted";
      // ipympl's canvas carries the description.
      canvas.setAttribute("aria-hidden", "true");
      canvas.style.cssText = "position: absolute; left: 0; top: 0; pointer-events: none";
      holder.firstElementChild.after(canvas);
      canvases.add(canvas);
      mouse.listen(root, holder, signal);
      listenToChoices(root, signal);
      signal.addEventListener("abort", () => {
        canvases.delete(canvas);
        canvas.remove();
      });
      changeScene();
    },
  };
}
