// Threshold rules and masks, as in emergence/masks.py and emergence/rules.py.

const VALUED = new Set(["mass", "top", "value"]);

/** Compute the threshold of a rule on a log-attention map scaled to 0–1; patches at or above it are the mask. */
function cutOf(logs, rule, value) {
  const map = scaled(logs);
  if (rule === "otsu") return (otsu(map) + 0.5) / 255;
  if (rule === "mean") return map.reduce((sum, each) => sum + each, 0) / map.length;
  if (rule === "value") return value;
  const order = Array.from(map.keys()).sort((a, b) => logs[b] - logs[a]);
  if (rule === "top") return map[order[Math.max(1, Math.round(value * map.length)) - 1]];
  const attention = order.map((place) => Math.exp(logs[place]));
  const total = attention.reduce((sum, each) => sum + each, 0);
  let share = 0;
  for (let i = 0; i < order.length; i++) {
    share += attention[i] / total;
    if (share >= value - 1e-9) return map[order[i]];
  }
  return map[order[order.length - 1]];
}

/** Compute Otsu's threshold (1979) of a map in 0–1, on 256 levels. */
function otsu(map) {
  const counts = new Float64Array(256);
  for (const value of map) counts[Math.round(value * 255)]++;
  let mean = 0;
  counts.forEach((count, level) => (mean += (level * count) / map.length));
  let [below, weighted, best, threshold] = [0, 0, 0, 0];
  for (let level = 0; level < 256; level++) {
    const share = counts[level] / map.length;
    below += share;
    weighted += level * share;
    const above = 1 - below;
    if (Math.min(below, above) < 1.2e-7) continue;
    const apart = weighted / below - (mean - weighted) / above;
    const between = below * above * apart * apart;
    if (between > best) [best, threshold] = [between, level];
  }
  return threshold;
}

/** Say, for every pixel of one side, between which two patches it lies, and how far along: bilinear, edges held. */
function along(pixels, patches) {
  const first = new Int32Array(pixels);
  const second = new Int32Array(pixels);
  const part = new Float32Array(pixels);
  for (let i = 0; i < pixels; i++) {
    const place = Math.min(Math.max(((i + 0.5) * patches) / pixels - 0.5, 0), patches - 1);
    first[i] = Math.floor(place);
    second[i] = Math.min(first[i] + 1, patches - 1);
    part[i] = place - first[i];
  }
  return { first, second, part };
}

/** Enlarge a map from patches to pixels bilinearly, and keep what is at or above the cut: a mask of 0 and 1. */
function enlargedMask(map, grid, size, cut) {
  const mask = new Uint8Array(size.height * size.width);
  const down = along(size.height, grid.rows);
  const across = along(size.width, grid.cols);
  const row = new Float32Array(grid.cols);
  for (let y = 0, place = 0; y < size.height; y++) {
    const upper = down.first[y] * grid.cols;
    const lower = down.second[y] * grid.cols;
    const share = down.part[y];
    for (let c = 0; c < grid.cols; c++) row[c] = map[upper + c] + (map[lower + c] - map[upper + c]) * share;
    for (let x = 0; x < size.width; x++, place++) {
      const left = row[across.first[x]];
      if (left + (row[across.second[x]] - left) * across.part[x] >= cut) mask[place] = 1;
    }
  }
  return mask;
}

/** Take every pixel of a smaller or larger mask from the nearest of another. */
function resized(mask, from, to) {
  const out = new Uint8Array(to.height * to.width);
  for (let y = 0, place = 0; y < to.height; y++) {
    const row = Math.floor(((y + 0.5) * from.height) / to.height) * from.width;
    for (let x = 0; x < to.width; x++) out[place++] = mask[row + Math.floor(((x + 0.5) * from.width) / to.width)];
  }
  return out;
}
