// The matrix: a small map for every layer and head, of the token that was chosen, and auto's scores on it.

/** Give auto's share and the agreement of a layer and head; nothing for layers that auto does not ask. */
function scoresOf(photo, layer, head) {
  const row = photo.auto.layers.indexOf(photo.layers[layer]);
  return row < 0 ? null : { share: photo.auto.shares[row][head], score: photo.auto.scores[row][head] };
}

/** Describe one map in words. */
function labelOf(photo, layer, head) {
  const scores = scoresOf(photo, layer, head);
  const name = `Layer ${photo.layers[layer]}, head ${head}`;
  if (!scores) return `${name}: auto does not ask this layer`;
  return `${name}: ${percent(scores.share)} of auto's vote, agreement ${scores.score.toFixed(2)}`;
}

/** Build the matrix of a photo. */
function buildMatrix() {
  const { photo } = state;
  const matrix = at("matrix");
  matrix.style.setProperty("--heads", photo.heads);
  matrix.style.setProperty("--aspect", `${photo.grid.cols} / ${photo.grid.rows}`);
  const every = [...photo.layers.keys()];
  const all = [...Array(photo.heads).keys()];
  const pick = (layers, heads) => change({ layers, heads, answer: "heads" });
  const button = (kind, text, label, layers, heads) => {
    const made = make("button", { type: "button", class: kind, "aria-label": label, tabindex: "-1" }, text);
    made.addEventListener("click", () => pick(layers, heads));
    made.dataset.layers = layers;
    made.dataset.heads = heads;
    return made;
  };
  const top = [button("corner", "all", "The mean of all layers and heads", every, all)];
  for (const head of all) top.push(button("column", `${head}`, `Head ${head} of all layers`, every, [head]));
  const rows = every.map((layer) => {
    const name = photo.layers[layer];
    const row = [button("row", `${name}`, `All heads of layer ${name}`, [layer], all)];
    for (const head of all) {
      const cell = button("cell", make("canvas"), labelOf(photo, layer, head), [layer], [head]);
      cell.title = labelOf(photo, layer, head);
      cell.append(scoreLine(photo, layer, head));
      row.push(cell);
    }
    return row;
  });
  matrix.replaceChildren(...top, ...rows.flat());
  at("auto-confidence").textContent = photo.auto.confidence.toFixed(2);
}

/** Write what auto makes of a map: a bar and the share of its vote, and the agreement. */
function scoreLine(photo, layer, head) {
  const scores = scoresOf(photo, layer, head);
  if (!scores) return "";
  const most = Math.max(...photo.auto.shares.flat());
  const bar = make("i", { class: "bar" });
  bar.style.width = `${(100 * scores.share) / most}%`;
  const words = [
    make("b", {}, scores.share >= 0.005 ? `${Math.round(100 * scores.share)}%` : "·"),
    make("span", {}, scores.score.toFixed(2).replace("0.", ".")),
  ];
  return make("span", { class: "scores", "aria-hidden": "true" }, bar, ...words);
}

/** Draw every map. */
function drawMatrix() {
  const { photo } = state;
  const canvases = at("matrix").querySelectorAll("canvas");
  let place = 0;
  for (const layer of maps())
    for (const map of layer) {
      put(canvases[place++], heatPixels(scaled(state.logs ? logarithms(map) : map), photo.grid));
    }
}

/** Show which maps are chosen. */
function markMatrix() {
  const [layers, heads] = [String(state.layers), String(state.heads)];
  const auto = state.answer === "auto";
  let reached = null;
  for (const button of at("matrix").querySelectorAll("button")) {
    const same = !auto && button.dataset.layers === layers && button.dataset.heads === heads;
    const within =
      !auto &&
      button.className.startsWith("cell") &&
      state.layers.includes(Number(button.dataset.layers)) &&
      state.heads.includes(Number(button.dataset.heads));
    button.classList.toggle("within", within && !same);
    press(button, same);
    button.tabIndex = -1;
    if (same) reached = button;
  }
  (reached ?? at("matrix").querySelector("button")).tabIndex = 0;
  press(at("auto"), auto);
  at("chosen").textContent = auto ? "auto: what crate segment answers" : nameChosen();
}

/** Name the chosen layers and heads. */
function nameChosen() {
  const { photo, layers, heads } = state;
  const name = (one, places, all) => {
    if (places.length === 1) return `${one} ${places[0]}`;
    return places.length === all ? `all ${one}s` : `${one}s ${places.join(", ")}`;
  };
  const names = layers.map((place) => photo.layers[place]);
  return `${name("layer", names, photo.layers.length)}, ${name("head", heads, photo.heads)}`;
}

/** Find the map that a page begins with: whose mask is nearest to auto's, or where that is empty, with most votes. */
function bestOf(photo) {
  const { grid, size, layers, heads } = photo;
  const wanted = resized(photo.autoMask(), size, { height: grid.rows, width: grid.cols });
  const empty = !wanted.includes(1);
  let best = { worth: 0, layers: [layers.length - 1], heads: [0], why: "" };
  for (const layer of layers.keys())
    for (let head = 0; head < heads; head++) {
      const scores = scoresOf(photo, layer, head);
      if (!scores) continue;
      const worth = empty ? scores.share : overlap(wanted, photo, layer, head);
      const why = empty ? "most of auto’s vote" : "nearest to auto’s mask";
      if (worth > best.worth) best = { worth, layers: [layer], heads: [head], why };
    }
  return best;
}

/** Compute the IoU of patches with the mask of one map of the class token, by the rule that is set. */
function overlap(wanted, photo, layer, head) {
  const logs = logMean([[attend(photo, layer, head, 0)]], [0], [0]);
  const cut = cutOf(logs, state.rule, state.value);
  let [both, either] = [0, 0];
  scaled(logs).forEach((value, patch) => {
    const inside = value >= cut;
    both += inside && wanted[patch];
    either += inside || wanted[patch];
  });
  return both / either;
}

/** Tell whether the map that is chosen is the one that the photo began with. */
function isBest() {
  const { best } = state.photo;
  return String(best.layers) === String(state.layers) && String(best.heads) === String(state.heads);
}

/** Say why the photo began with the map that is chosen, if it did. */
function tellWhy() {
  at("why").textContent = isBest() && state.answer !== "auto" && state.token === WHOLE ? state.photo.best.why : "";
}

/** Let people choose in the matrix. */
function startMatrix() {
  const logs = at("logs");
  roving(at("matrix"), () => state.photo.heads + 1);
  logs.addEventListener("change", () => change({ logs: logs.checked }));
  at("auto").addEventListener("click", () => change({ answer: "auto", token: WHOLE }));
  watch(["photo"], buildMatrix);
  watch(["photo", "token", "logs"], drawMatrix);
  watch(["photo", "logs"], () => (logs.checked = state.logs));
  watch(["photo", "layers", "heads", "answer"], markMatrix);
  watch(["photo", "layers", "heads", "answer", "token"], tellWhy);
}
