// Down the depth: coding rate and zero fraction of every layer, and what it sees.

/** Draw one curve over the layers, with its first and last value in words. */
function curve(title, unit, values, layers) {
  const [width, height, left, right, top, bottom] = [320, 120, 8, 8, 14, 22];
  const low = Math.min(...values, unit === "nats" ? Infinity : 0);
  const span = Math.max(...values) - low || 1;
  const x = (i) => left + (i * (width - left - right)) / Math.max(values.length - 1, 1);
  const y = (value) => height - bottom - ((value - low) / span) * (height - top - bottom);
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const show = (value) => (unit === "nats" ? value.toFixed(0) : percent(value));
  const words = `${title}: ${values.map((value, i) => `layer ${layers[i]} ${show(value)}`).join(", ")}`;
  const drawing = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  drawing.append(
    makeSvg("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, class: "axis" }),
    makeSvg("polyline", { points, class: "curve" }),
  );
  values.forEach((value, i) => {
    const dot = makeSvg("circle", { cx: x(i), cy: y(value), r: 3, class: "dot" });
    dot.append(makeSvg("title", {}, `layer ${layers[i]}: ${show(value)}`));
    const label = makeSvg("text", { x: x(i), y: height - 7, "text-anchor": "middle", class: "tick" }, `${layers[i]}`);
    drawing.append(dot, label);
  });
  const range = `${show(values[0])} → ${show(values[values.length - 1])}${unit === "nats" ? " nats" : ""}`;
  const caption = make("figcaption", {}, make("b", {}, title), " ", make("span", {}, range));
  return make("figure", {}, caption, drawing);
}

/** Build curves and rows of a photo's layers. */
function buildDepth() {
  const { photo } = state;
  const { coding_rate: rate, zero_fraction: zeros } = photo.trace;
  at("curves").replaceChildren(
    curve("Coding rate", "nats", rate, photo.layers),
    curve("Zero fraction", "share", zeros, photo.layers),
  );
  at("depth").style.setProperty("--aspect", `${photo.grid.cols} / ${photo.grid.rows}`);
  const rows = photo.layers.map((name, layer) => {
    const ask = make("button", { type: "button", "aria-label": `Show the mean attention of layer ${name}` });
    ask.append(make("canvas", { class: "mean" }));
    const heads = [...Array(photo.heads).keys()];
    ask.addEventListener("click", () => change({ layers: [layer], heads, answer: "heads", show: "attention" }));
    const cells = [make("td", {}, ask)];
    for (const kind of ["first", "colours", "cut"]) cells.push(make("td", {}, make("canvas", { class: kind })));
    const numbers = [make("td", { class: "number" }, rate[layer].toFixed(0))];
    numbers.push(make("td", { class: "number" }, percent(zeros[layer])));
    return make("tr", {}, make("th", { scope: "row" }, `${name}`), ...numbers, ...cells);
  });
  at("depth-rows").replaceChildren(...rows);
  photo.layers.forEach((_, layer) => {
    const row = rows[layer];
    const components = [0, 1, 2, 3].map((c) => photo.component(layer, c));
    const there = [...components[0].keys()];
    const [grey, cut] = [components[0], photo.maskcut(layer)];
    put(row.querySelector(".first"), rgbPixels([grey, grey, grey], photo.grid, there));
    put(row.querySelector(".colours"), rgbPixels(components.slice(1), photo.grid, there));
    put(row.querySelector(".cut"), rgbPixels([cut, cut, cut], photo.grid, there));
  });
}

/** Draw the mean attention of every layer from the chosen token. */
function drawDepth() {
  if (state.tab !== "layers") return;
  const heads = [...Array(state.photo.heads).keys()];
  at("depth-rows")
    .querySelectorAll(".mean")
    .forEach((canvas, layer) => {
      const logs = logMean(maps(), [layer], heads);
      put(canvas, heatPixels(scaled(state.logs ? logs : logs.map(Math.exp)), state.photo.grid));
    });
}

/** Keep the tab of layers in step with the state. */
function startDepth() {
  watch(["photo"], buildDepth);
  watch(["photo", "token", "tab", "logs"], drawDepth);
}
