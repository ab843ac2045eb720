// The photo: a patch is chosen on it, and attention and mask are drawn over it.

/** Draw what the tab and the view ask for over the photo. */
function drawStage() {
  const { photo, show, tab } = state;
  const { width, height } = photo.shown;
  const [over, edge] = ["over", "edge"].map((id) => {
    const canvas = at(id);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    return context;
  });
  const first = show === "attention";
  at("stage").classList.toggle("cut", show === "cutout");
  if (show === "photo") return;
  if (tab === "objects" && first) return drawObjects(over);
  if (tab === "parts" && first) return spread(over, partPixels(), { smooth: false, opacity: 0.82 });
  if (show === "cutout") return drawCutout(over);
  if (show === "mask" || state.answer === "auto") return drawMask(edge, shownMask(), DIM);
  const map = state.logs ? chosen().map : scaled(chosen().logs.map(Math.exp));
  spread(over, heatPixels(map, photo.grid, 0.45), { smooth: true, opacity: 0.85 });
  drawMask(edge, shownMask(), 0);
}

/** Draw what is inside the mask alone. */
function drawCutout(context) {
  const { width, height } = context.canvas;
  context.drawImage(at("picture"), 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  shownMask().forEach((inside, place) => inside || (image.data[4 * place + 3] = 0));
  context.putImageData(image, 0, 0);
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

/** Name what asks for the whole photo. */
function wholeName() {
  return contents.classToken ? "the class token" : "the whole photo";
}

/** Say that a pooling head does not ask for patches. */
function poolingNote() {
  return contents.pooling ? `; of the whole photo in layer ${contents.depth - 1}, the pooling head` : "";
}

/** Say which token was chosen. */
function tellToken() {
  const patch = chosenPatch();
  press(at("class-token"), patch === null);
  at("token").textContent =
    patch === null ? `Attention of ${wholeName()}` : `Attention of the patch in row ${patch.row}, column ${patch.col}${poolingNote()}`;
  frame(at("cursor"), patch);
}

/** Move the chosen patch by the arrow keys; the first press chooses the middle one. */
function keyOnStage(event) {
  const { grid } = state.photo;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (event.key === "c" || event.key === "Escape") chooseClassToken();
  else if (event.key in steps && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const far = event.shiftKey ? 4 : 1;
    const [down, right] = steps[event.key].map((step) => step * far);
    const from = chosenPatch();
    if (from) choosePatch(from.row + down, from.col + right);
    else choosePatch(Math.floor(grid.rows / 2), Math.floor(grid.cols / 2));
  } else return;
  event.preventDefault();
}

/** Let people choose on the photo. */
function startStage() {
  const stage = at("stage");
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const { row, col } = patchUnder(event);
    stage.setPointerCapture(event.pointerId);
    choosePatch(row, col);
  });
  stage.addEventListener("pointermove", (event) => {
    const patch = patchUnder(event);
    if (stage.hasPointerCapture(event.pointerId)) choosePatch(patch.row, patch.col);
    else if (event.pointerType === "mouse") frame(at("hover"), patch);
  });
  stage.addEventListener("pointerleave", () => frame(at("hover"), null));
  stage.addEventListener("keydown", keyOnStage);
  at("class-token").addEventListener("click", chooseClassToken);
  if (!contents.classToken) at("class-token").textContent = "Whole photo";
  at("whole-name").textContent = wholeName();
  radios("show", "show");
  watch(["photo", "token"], tellToken);
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
    const area = shareOf(shownMask());
    at("covered").textContent = area ? `${percent(area)} of the photo` : "nothing";
  });
}
