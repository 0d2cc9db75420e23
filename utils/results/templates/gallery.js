"use strict";
const NAMES = ["experiment", "backbone", "network", "layer", "class"];
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector("form");
const dialog = document.querySelector("dialog");
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// What can be shown, in the page's order: for every filter, the values under which it is.
const sections = data.sections.map((section) => {
  const element = document.getElementById(section.id);
  const where = { experiment: [element.dataset.experiment], backbone: [element.dataset.backbone] };
  const figures = [...element.querySelectorAll("figure")].map((figure) => ({
    ...where, figure, main: "main" in figure.dataset, layer: [figure.dataset.layer],
    network: figure.dataset.network.split(" "), class: [figure.dataset.class],
  }));
  const cards = section.cards.map((card) => ({
    ...where, card, main: false, layer: [card.layer ?? ""], class: [card.class ?? ""],
    network: card.parts.flatMap((part) => part.network),
  }));
  return { element, items: [...figures, ...cards] };
});
const items = sections.flatMap((section) => section.items);

/** Does an item match the filters among `names`? */
const matches = (item, filter, names = NAMES) =>
  names.every((name) => !filter[name] || item[name].includes(filter[name]));

/** The filters of the address; one that the filters before it leave without items is dropped. */
function readFilter() {
  const given = new URLSearchParams(location.hash.slice(1));
  const filter = {};
  NAMES.forEach((name, index) => {
    const value = given.get(name);
    const wanted = { ...filter, [name]: value };
    if (value && items.some((item) => matches(item, wanted, NAMES.slice(0, index + 1))))
      filter[name] = value;
  });
  return filter;
}

/** An image in `holder`; with its patch, if it has one, laid over the inset, and a slider. */
function draw(holder, image, title) {
  const [src, alt, width, height, inset, patch] = image;
  holder.append(make("img", { alt, width, height, loading: "lazy", src }));
  const box = make("div", { class: "box" }, holder);
  if (!patch) return box;
  const edge = make("span", { class: "edge" });
  holder.append(make("img", { class: "patch", alt: patch[1], loading: "lazy", src: patch[0] }), edge);
  ["--left", "--top", "--width", "--height"].forEach((name, index) =>
    box.style.setProperty(name, `${100 * inset[index]}%`));
  box.style.setProperty("--share", inset[2]);
  const input = make("input", {
    type: "range", min: 0, max: 100, value: 0, "aria-label": `Patch instead of overlay, ${title}`,
  });
  const slide = () => {
    box.style.setProperty("--part", `${input.value}%`);
    edge.hidden = input.value === "0" || input.value === "100";
    input.setAttribute("aria-valuetext", `${input.value} % patch`);
  };
  input.addEventListener("input", slide);
  slide();
  box.append(make("div", { class: "slide" }, input,
    make("span", {}, "overlay"), make("span", {}, "patch")));
  return box;
}

function drawCard(card, filter) {
  const parts = card.parts.filter((p) => !filter.network || p.network.includes(filter.network));
  return make("article", { class: "card" }, make("h4", {}, card.title),
    make("div", { class: "parts" }, ...parts.map((part) => {
      const network = part.network.join(", ");
      const boxes = part.images.map((image) => {
        const link = make("a", { class: "view", href: image[0] });
        Object.assign(link, { image, title: `${card.group}, ${card.title}, ${network}` });
        return draw(link, image, card.title);
      });
      return make("div", { class: "part" }, make("p", { class: part.network[0] ?? "" }, network),
        make("div", { class: "images" }, ...boxes));
    })));
}

/** Offer the values that the filters before leave. */
function drawFilters(filter) {
  NAMES.forEach((name, index) => {
    const before = items.filter((item) => matches(item, filter, NAMES.slice(0, index)));
    const values = [...new Set(before.flatMap((item) => item[name]))].filter(Boolean);
    const select = form.elements[name];
    select.replaceChildren(make("option", { value: "" }, "all"),
      ...values.map((value) => make("option", { value }, data.titles[value] ?? value)));
    select.value = filter[name] ?? "";
    select.disabled = values.length === 0;
  });
}

function render() {
  dialog.close();
  const filter = readFilter();
  drawFilters(filter);
  // Without a choice beyond the backbone: the summary.
  const summary = NAMES.every((name) => name === "backbone" || !filter[name]);
  let count = 0;
  for (const { element, items: own } of sections) {
    const found = own.filter((item) => matches(item, filter));
    const shown = found.filter((item) => item.main || !summary);
    element.hidden = shown.length === 0;
    count += shown.length;
    for (const item of own) if (item.figure) item.figure.hidden = !shown.includes(item);
    element.querySelector(".more").hidden = shown.length === found.length;
    element.querySelector(".more a").textContent = `Show all ${found.length} items`;
    const cards = element.querySelector(".cards");
    cards.replaceChildren();
    let group = "";
    for (const { card } of shown.filter((item) => item.card)) {
      if (card.group !== group) cards.append(make("h3", {}, (group = card.group)));
      cards.append(drawCard(card, filter));
    }
    cards.classList.toggle("paired", cards.querySelector(".part + .part, .box + .box") !== null);
  }
  form.querySelector("output").textContent = `${count} of ${items.length} items`
    + (summary ? ": summary" : "");
}

function toFilter(filter) {
  location.hash = new URLSearchParams(filter).toString(); // and from there to `render`
}
form.addEventListener("change", () => {
  const chosen = NAMES.map((name) => [name, form.elements[name].value]);
  toFilter(chosen.filter(([, value]) => value));
});
form.addEventListener("reset", (event) => { event.preventDefault(); toFilter([]); });
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", render);

// Full size.
let opener, links, place;
function show(step) {
  place = (place + step + links.length) % links.length;
  const link = links[place];
  const small = link.querySelector("img");
  const [src, alt, width, height] = ["src", "alt", "width", "height"].map((n) => small.getAttribute(n));
  const image = link.image ?? [src, alt, width, height];
  const frame = dialog.querySelector(".frame");
  frame.style.width = `${Math.max(width, 560)}px`;
  frame.replaceChildren(draw(make("div", { class: "view" }), image, link.title || alt));
  dialog.querySelector(".place").textContent = `${place + 1} of ${links.length}`;
  dialog.querySelector(".file").href = src;
  dialog.querySelector("#caption").textContent = [link.title, alt].filter(Boolean).join("\n");
}
document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("a.view");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  opener = link;
  links = [...document.querySelectorAll("main a.view")].filter((a) => !a.closest("[hidden]"));
  place = links.indexOf(link);
  show(0);
  dialog.showModal();
});
dialog.querySelector(".previous").addEventListener("click", () => show(-1));
dialog.querySelector(".next").addEventListener("click", () => show(1));
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.type === "range") return;
  event.preventDefault();
  show(step);
});
dialog.addEventListener("close", () => opener.focus());
render();
