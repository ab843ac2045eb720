// The tabs, and what two of them show: parts and objects.

const TABS = ["attention", "parts", "layers", "objects"];

/** Let people choose a tab, by pointer or arrow keys. */
function startTabs() {
  TABS.forEach((tab, place) => {
    const button = at(`tab-${tab}`);
    button.addEventListener("click", () => change({ tab }));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = TABS[(place + step + TABS.length) % TABS.length];
      at(`tab-${next}`).focus();
      change({ tab: next });
    });
  });
  watch(["photo", "tab"], () => {
    for (const tab of TABS) {
      const here = tab === state.tab;
      at(`tab-${tab}`).setAttribute("aria-selected", String(here));
      at(`tab-${tab}`).tabIndex = here ? 0 : -1;
      at(`panel-${tab}`).hidden = !here;
    }
    at("show-answer").textContent = { parts: "Parts", objects: "Objects" }[state.tab] ?? "Attention";
  });
}

/** The patches that are divided into parts. */
function partPatches() {
  const all = () => [...Array(state.photo.grid.rows * state.photo.grid.cols).keys()];
  if (!state.within) return all();
  const patches = maskedPatches();
  return patches.length > 3 ? patches : all();
}

/** The tokens of those patches, and what was made of them. */
const parted = remembered(
  () => [state.photo, state.partsLayer, state.parts, state.k, state.within, state.within ? shownMask() : null],
  () => {
    const { photo } = state;
    const there = partPatches();
    const tokens = unitTokens(photo, state.partsLayer, there);
    if (state.parts === "clusters") return { there, ...kmeans(tokens, state.k) };
    return { there, ...principal(tokens) };
  },
);

/** Make the pixels of parts. */
function partPixels() {
  const { grid } = state.photo;
  const found = parted();
  if (state.parts === "clusters") return labelPixels(found.labels, grid, found.there);
  return rgbPixels(found.columns.map(scaled), grid, found.there);
}

/** Describe the parts: how large each cluster is, or how much each component explains. */
function describeParts() {
  if (state.tab !== "parts") return;
  const found = parted();
  const rows =
    state.parts === "clusters"
      ? found.sizes.map((size, i) => [PALETTE[i], `Part ${i + 1}`, size / found.there.length])
      : found.shares.map((share, i) => [
          [[214, 62, 52], [54, 150, 74], [58, 98, 206]][i],
          `Component ${i + 1}, as ${["red", "green", "blue"][i]}`,
          share,
        ]);
  at("part-list").replaceChildren(
    ...rows.map(([colour, name, share]) => {
      const swatch = make("i", { class: "swatch" });
      swatch.style.background = `rgb(${colour})`;
      return make("li", {}, swatch, make("span", {}, name), make("b", {}, percent(share)));
    }),
  );
  const what = state.parts === "clusters" ? "Shares are of the patches." : "Shares are of the variance.";
  at("part-note").textContent = what;
}

/** Let people choose how parts are made. */
function startParts() {
  const [layer, k, within] = [at("parts-layer"), at("k"), at("within")];
  layer.addEventListener("input", () => change({ partsLayer: Number(layer.value) }));
  k.addEventListener("input", () => change({ k: Number(k.value), parts: "clusters" }));
  within.addEventListener("change", () => change({ within: within.checked }));
  radios("parts", "parts");
  watch(["photo", "partsLayer", "k", "parts"], () => {
    layer.max = state.photo.layers.length - 1;
    layer.value = state.partsLayer;
    at("parts-layer-text").textContent = `${state.photo.layers[state.partsLayer]}`;
    k.value = state.k;
    at("k-text").textContent = `${state.k}`;
  });
  const asked = ["token", "layers", "heads", "answer", "rule", "value"];
  watch(["photo", "tab", "parts", "partsLayer", "within", "k", ...asked], describeParts);
}

/** Draw the objects that are not hidden, each in its colour; the rest is dimmed. */
function drawObjects(context) {
  const { photo } = state;
  const image = context.createImageData(photo.shown.width, photo.shown.height);
  const pixels = new Uint32Array(image.data.buffer).fill(DIM);
  photo.objects.forEach((object, number) => {
    if (state.hidden.has(number)) return;
    const [red, green, blue] = PALETTE[number % PALETTE.length];
    const colour = ((105 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    object.mask().forEach((inside, place) => inside && (pixels[place] = colour));
  });
  context.putImageData(image, 0, 0);
}

/** List the objects with their scores. */
function listObjects() {
  const { photo } = state;
  const rows = photo.objects.map((object, number) => {
    const box = make("input", { type: "checkbox", id: `object-${number}` });
    box.checked = !state.hidden.has(number);
    box.addEventListener("change", () => {
      const hidden = new Set(state.hidden);
      hidden[box.checked ? "delete" : "add"](number);
      change({ hidden });
    });
    const swatch = make("i", { class: "swatch" });
    swatch.style.background = `rgb(${PALETTE[number % PALETTE.length]})`;
    const name = make("label", { for: `object-${number}` }, `Object ${number + 1}`);
    const about = make("span", { class: "faint" }, `${percent(object.area)} of the photo`);
    return make("li", {}, box, swatch, name, about, make("b", {}, object.score.toFixed(2)));
  });
  at("object-list").replaceChildren(...rows);
  at("no-objects").hidden = rows.length > 0;
  writeCommand(at("object-command"), ["crate objects", photo.quoted, photo.options].filter(Boolean).join(" "));
}

/** Keep the tab of objects in step with the state. */
function startObjects() {
  watch(["photo"], listObjects);
}
