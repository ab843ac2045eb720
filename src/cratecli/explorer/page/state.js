// What the page shows, and who draws it anew when it changes.

const contents = JSON.parse(document.getElementById("contents").textContent);
const WHOLE = contents.classToken ? 0 : -1; // the token that asks for the whole photo

const state = {
  photo: null, // the photo that is looked at, unpacked
  place: -1, // its place in the strip
  token: WHOLE, // whose attention is shown: WHOLE is the class token, `prefix + i` patch i
  layers: [], // places of the layers and heads whose maps are averaged
  heads: [],
  answer: "heads", // or "auto": the mask of `crate segment`
  rule: "otsu",
  value: 0.6,
  show: "attention", // or mask, cutout, photo
  tab: "attention", // or parts, layers, objects
  logs: true, // maps are drawn of the logarithm, which masks are cut of
  parts: "components", // or clusters
  partsLayer: 0,
  within: false, // parts of what is inside the mask alone
  k: 4,
  hidden: new Set(), // objects that are not drawn
};

const watchers = [];
let changed = null;

/** Have a function called after one of the named parts of the state has changed. */
function watch(names, draw) {
  watchers.push({ names, draw });
}

/** Change the state; all is drawn with the next frame. */
function change(changes) {
  Object.assign(state, changes);
  if (changed === null) {
    changed = new Set();
    requestAnimationFrame(settle);
  }
  for (const name of Object.keys(changes)) changed.add(name);
}

/** Draw what has changed. */
function settle() {
  const names = changed;
  const start = performance.now();
  changed = null;
  if (!state.photo) return;
  for (const each of watchers) if (each.names.some((name) => names.has(name))) each.draw();
  state.took = performance.now() - start; // ms
  at("stage").dataset.drawn = state.place;
}

/** Remember a function's last result, for as long as what it depends on is the same. */
function remembered(depends, compute) {
  let [before, result] = [null, null];
  return () => {
    const now = depends();
    if (before === null || now.some((each, i) => each !== before[i])) {
      before = now;
      result = compute();
    }
    return result;
  };
}

/** The maps of every layer and head from the chosen token. */
const maps = remembered(
  () => [state.photo, state.token],
  () => attendAll(state.photo, state.token),
);

/** The map of the chosen layers and heads: the logarithm, the same scaled to 0–1, and where it is cut. */
const chosen = remembered(
  () => [state.photo, state.token, state.layers, state.heads, state.rule, state.value],
  () => {
    const logs = logMean(maps(), state.layers, state.heads);
    const cut = cutOf(logs, state.rule, state.value);
    return { logs, map: scaled(logs), cut };
  },
);

/** Compute the mask at a size, of 0 and 1; a photo of one colour has none. */
function maskAt(size) {
  const { photo } = state;
  if (state.answer === "auto") return resized(photo.autoMask(), photo.size, size);
  if (photo.flat) return new Uint8Array(size.height * size.width);
  const { map, cut } = chosen();
  return enlargedMask(map, photo.grid, size, cut);
}

/** The mask as large as it is drawn in the page. */
const shownMask = remembered(
  () => [state.photo, state.token, state.layers, state.heads, state.rule, state.value, state.answer],
  () => maskAt(state.photo.shown),
);

/** Which patches are inside the mask, by their middles. */
const maskedPatches = remembered(
  () => [shownMask()],
  () => {
    const { grid, shown } = state.photo;
    const small = resized(shownMask(), shown, { height: grid.rows, width: grid.cols });
    return Array.from(small.keys()).filter((patch) => small[patch]);
  },
);

/** Give the row and column, from 0, of the patch that was chosen; nothing for the class token. */
function chosenPatch() {
  const { photo, token } = state;
  if (token === WHOLE) return null;
  const patch = token - photo.prefix;
  return { row: Math.floor(patch / photo.grid.cols), col: patch % photo.grid.cols };
}

/** Choose the class token, or the whole photo. */
function chooseClassToken() {
  change({ token: WHOLE });
}

/** Choose a patch. */
function choosePatch(row, col) {
  const { grid, prefix } = state.photo;
  const r = Math.min(Math.max(row, 0), grid.rows - 1);
  const c = Math.min(Math.max(col, 0), grid.cols - 1);
  change({ token: prefix + r * grid.cols + c, answer: "heads" });
}
