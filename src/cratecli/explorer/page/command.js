// The command that makes the same mask, and the mask as a file.

/** Write the command of the mask that is shown, for the shell. */
function commandOf() {
  const { photo } = state;
  const start = ["crate segment", photo.quoted, photo.options].filter(Boolean).join(" ");
  if (state.answer === "auto") return `${start} -o mask.png`;
  const heads = state.heads.length === photo.heads ? "all" : state.heads.join(",");
  const layers = state.layers.map((place) => photo.layers[place]).join(",");
  const keep = VALUED.has(state.rule) ? ruleText() : state.rule;
  const plain = "--refine none --min-area 0 --all-pieces --keep-holes";
  const asked = [`--heads ${heads}`, `--layer ${layers}`, `--size ${photo.side}`, ...clickOf(), `--keep ${keep}`, plain];
  return `${start} ${asked.join(" ")} -o mask.png`;
}

/** Write the pixel in the middle of the patch that asks, as --at takes it; nothing for the class token. */
function clickOf() {
  const [{ size, grid, layers }, patch] = [state.photo, chosenPatch()];
  const pooled = contents.pooling && state.layers.every((place) => layers[place] === contents.depth - 1);
  if (patch === null || pooled) return [];
  const x = Math.floor(((patch.col + 0.5) * size.width) / grid.cols);
  const y = Math.floor(((patch.row + 0.5) * size.height) / grid.rows);
  return [`--at ${x},${y}`];
}

/** Write a rule with its value, as --keep takes it. */
function ruleText() {
  const value = String(state.value);
  return state.rule === "value" ? value : `${state.rule}:${value}`;
}

/** Give the name of the mask's file: that of the photo, without its folder and ending. */
function maskName() {
  const name = state.photo.name.split(/[/\\]/).pop();
  const dot = name.lastIndexOf(".");
  return `${dot > 0 ? name.slice(0, dot) : name}.mask.png`;
}

/** Hand the mask out as a PNG at the photo's own size. */
async function downloadMask() {
  const png = await maskAsPng(maskAt(state.photo.size), state.photo.size);
  const link = make("a", { download: maskName() });
  link.href = URL.createObjectURL(png);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Put the command on the clipboard; where the browser refuses, select it. */
async function copyCommand() {
  const command = commandOf();
  const note = at("copied");
  try {
    await navigator.clipboard.writeText(command);
    note.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(at("command"));
    note.textContent = "Selected: press Ctrl-C";
  }
  setTimeout(() => (note.textContent = ""), 2500);
}

/** Write a command so that its lines end between words. */
function writeCommand(element, command) {
  const words = command.split(/( )/).map((word) => (word === " " ? word : make("span", {}, word)));
  element.replaceChildren(...words);
}

/** Keep the controls of mask and command in step with the state. */
function startCommand() {
  at("download").addEventListener("click", downloadMask);
  at("copy").addEventListener("click", copyCommand);
  watch(["photo", "token", "layers", "heads", "answer", "rule", "value"], () => {
    writeCommand(at("command"), commandOf());
  });
}
