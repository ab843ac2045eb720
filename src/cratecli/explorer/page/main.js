// Start the page. In the console, `crate` answers too: crate.attention(6, 2, 0), crate.state, crate.mask().

document.addEventListener("DOMContentLoaded", () => {
  const [rule, value] = contents.keep.split(":");
  if (Number(rule)) Object.assign(state, { rule: "value", value: Number(rule) });
  else Object.assign(state, { rule, value: Number(value ?? state.value) });
  for (const start of [startStrip, startStage, startThreshold, startCommand, startTabs, startMatrix]) start();
  for (const start of [startParts, startDepth, startObjects]) start();
  if (contents.cards.length) lookAt(0);
});

window.crate = {
  receive,
  state,
  change,
  /** Attention of a layer and head, as the model counts them, from the class token or another, counted from 0. */
  attention: (layer, head, token = WHOLE) => attend(state.photo, state.photo.layers.indexOf(layer), head, token),
  /** The mask that is shown, at the photo's own size. */
  mask: () => maskAt(state.photo.size),
  command: commandOf,
  png: () => maskAsPng(maskAt(state.photo.size), state.photo.size),
};
