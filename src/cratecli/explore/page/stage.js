// The photo: who asks is chosen on it, and what is answered is drawn over it.

const DIM = [12, 12, 14, 190];
const LINE = [255, 255, 255, 255];

/** Draw what the tab and the view ask for over the photo. */
function drawStage() {
  const { photo } = state;
  const canvas = at("over");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = photo.shown.width;
  canvas.height = photo.shown.height;
  const plain = state.show === "photo";
  at("stage").classList.toggle("cut", !plain && state.show === "cutout" && state.tab !== "objects");
  if (plain) return;
  if (state.tab === "objects") return drawObjects(context);
  if (state.tab === "parts" && state.show === "attention") {
    return spread(context, partPixels(), { smooth: false, opacity: 0.82 });
  }
  if (state.show === "cutout") {
    context.drawImage(at("picture"), 0, 0, canvas.width, canvas.height);
    const image = context.getImageData(0, 0, canvas.width, canvas.height);
    shownMask().forEach((inside, place) => inside || (image.data[4 * place + 3] = 0));
    context.putImageData(image, 0, 0);
  } else if (state.show === "mask" || state.answer === "auto") {
    drawMask(context, shownMask(), { outside: DIM, line: LINE });
  } else {
    const map = state.logs ? chosen().map : scaled(chosen().logs.map(Math.exp));
    spread(context, heatPixels(map, photo.grid), { smooth: true, opacity: 0.72 });
    drawMask(context, shownMask(), { outside: null, line: LINE });
  }
}

/** Put a frame around a patch. */
function frame(box, patch) {
  box.hidden = patch === null;
  if (patch === null) return;
  const { rows, cols } = state.photo.grid;
  box.style.left = `${(100 * patch.col) / cols}%`;
  box.style.top = `${(100 * patch.row) / rows}%`;
  box.style.width = `${100 / cols}%`;
  box.style.height = `${100 / rows}%`;
}

/** Find the patch under a pointer. */
function patchUnder(event) {
  const { grid } = state.photo;
  const box = at("stage").getBoundingClientRect();
  const row = Math.floor(((event.clientY - box.top) / box.height) * grid.rows);
  const col = Math.floor(((event.clientX - box.left) / box.width) * grid.cols);
  return { row: Math.min(Math.max(row, 0), grid.rows - 1), col: Math.min(Math.max(col, 0), grid.cols - 1) };
}

/** Say who asks. */
function tellWhoAsks() {
  const patch = askingPatch();
  press(at("class-token"), patch === null);
  at("asker").textContent = patch === null ? "The class token asks" : `Patch ${patch.row}, ${patch.col} asks`;
  frame(at("cursor"), patch);
}

/** Move the asking patch by the arrow keys; the first one starts from the middle. */
function keyOnStage(event) {
  const { grid } = state.photo;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (event.key === "c" || event.key === "Escape") askClassToken();
  else if (event.key in steps && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const far = event.shiftKey ? 4 : 1;
    const [down, right] = steps[event.key].map((step) => step * far);
    const from = askingPatch();
    if (from) askPatch(from.row + down, from.col + right);
    else askPatch(Math.floor(grid.rows / 2), Math.floor(grid.cols / 2));
  } else return;
  event.preventDefault();
}

/** Let people ask on the photo. */
function startStage() {
  const stage = at("stage");
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const { row, col } = patchUnder(event);
    stage.setPointerCapture(event.pointerId);
    askPatch(row, col);
  });
  stage.addEventListener("pointermove", (event) => {
    const patch = patchUnder(event);
    if (stage.hasPointerCapture(event.pointerId)) askPatch(patch.row, patch.col);
    else if (event.pointerType === "mouse") frame(at("hover"), patch);
  });
  stage.addEventListener("pointerleave", () => frame(at("hover"), null));
  stage.addEventListener("keydown", keyOnStage);
  at("class-token").addEventListener("click", askClassToken);
  radios("show", "show");
  watch(["photo", "token"], tellWhoAsks);
  const drawn = ["photo", "token", "layers", "heads", "answer", "rule", "value", "show", "tab", "logs"];
  watch([...drawn, "parts", "partsLayer", "within", "k", "hidden"], drawStage);
}

/** Let people choose the threshold rule and its value. */
function startThreshold() {
  const rule = at("rule");
  const value = at("value");
  rule.addEventListener("change", () => change({ rule: rule.value }));
  value.addEventListener("input", () => change({ value: Number(value.value) }));
  watch(["photo", "rule", "value", "answer"], () => {
    rule.value = state.rule;
    value.value = state.value;
    rule.disabled = state.answer === "auto";
    value.disabled = rule.disabled || !VALUED.has(state.rule);
    at("value-text").textContent = value.disabled ? "" : state.value.toFixed(2);
  });
  watch(["photo", "token", "layers", "heads", "answer", "rule", "value"], () => {
    const mask = shownMask();
    const area = mask.reduce((sum, inside) => sum + inside, 0) / mask.length;
    at("covered").textContent = area ? `${percent(area)} of the photo` : "nothing";
  });
}
