// A row of small pictures and buttons, each of which chooses a value.

const make = (tag, className, attributes = {}) =>
  Object.assign(document.createElement(tag), { className, ...attributes });

function drawn(bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  const image = make("img", "vgg-strip-image", { src: url, alt: "", draggable: false });
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  return image;
}

function buttonFor(choice, model, className) {
  const button = make("button", className, { type: "button", title: choice.tip ?? "" });
  button.dataset.value = JSON.stringify(choice.value);
  if (choice.tip) button.setAttribute("aria-label", choice.tip);
  button.addEventListener("click", () => {
    model.set("value", choice.value);
    model.save_changes();
  });
  return button;
}

function itemFor(item, bytes, model) {
  const box = make("div", "vgg-strip-item");
  if (bytes?.byteLength) {
    const frame =
      "value" in item
        ? buttonFor(item, model, "vgg-strip-picture")
        : make("div", "vgg-strip-picture");
    frame.append(drawn(bytes));
    box.append(frame);
  }
  const words = make("div", "vgg-strip-words");
  words.append(make("div", "vgg-strip-title", { textContent: item.title }));
  if (item.buttons?.length) {
    const row = make("div", "vgg-strip-buttons");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", item.title);
    for (const choice of item.buttons) {
      const button = buttonFor(choice, model, "vgg-strip-button");
      button.textContent = choice.label;
      row.append(button);
    }
    words.append(row);
  }
  if (item.note) words.append(make("div", "vgg-strip-note", { textContent: item.note }));
  box.append(words);
  return box;
}

function mark(el, model) {
  const value = JSON.stringify(model.get("value"));
  for (const button of el.querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.dataset.value === value));
}

function fill(el, model) {
  const focused = [...el.querySelectorAll("button")].indexOf(document.activeElement);
  const pictures = model.get("pictures");
  el.replaceChildren(
    ...model.get("items").map((item, index) => itemFor(item, pictures[index], model)),
  );
  mark(el, model);
  if (focused >= 0) el.querySelectorAll("button")[focused]?.focus();
}

export default {
  render({ model, el }) {
    const row = make("div", "vgg-strip");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", model.get("label"));
    el.append(row);
    let waiting = false;
    // Items and pictures arrive in one message, but cause one event each.
    const refill = () => {
      if (waiting) return;
      waiting = true;
      queueMicrotask(() => {
        waiting = false;
        fill(row, model);
      });
    };
    const remark = () => mark(row, model);
    model.on("change:items change:pictures", refill);
    model.on("change:value", remark);
    fill(row, model);
    return () => {
      model.off("change:items change:pictures", refill);
      model.off("change:value", remark);
    };
  },
};
