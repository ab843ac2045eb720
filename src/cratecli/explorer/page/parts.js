// Parts of one photo: principal components and k-means of a layer's subspace tokens, all heads together.

const ROUNDS = 40; // of subspace iteration, and at most of k-means
const STARTS = 3; // of k-means: the tightest clusters are kept

/** Gather a layer's tokens of some patches, each of length 1; all heads side by side. */
function unitTokens(photo, layer, patches) {
  const { heads, tokens, width, prefix, key } = photo;
  const wide = heads * width;
  const rows = new Float32Array(patches.length * wide);
  patches.forEach((patch, row) => {
    let length = 0;
    for (let head = 0; head < heads; head++) {
      const from = ((layer * heads + head) * tokens + prefix + patch) * width;
      for (let p = 0; p < width; p++) {
        const value = key[from + p];
        rows[row * wide + head * width + p] = value;
        length += value * value;
      }
    }
    length = Math.max(Math.sqrt(length), 1e-12);
    for (let d = 0; d < wide; d++) rows[row * wide + d] /= length;
  });
  return { rows, count: patches.length, wide };
}

/** Project tokens on their first three principal components: columns, and each one's share of the variance. */
function principal({ rows, count, wide }) {
  const mean = new Float64Array(wide);
  for (let i = 0; i < count; i++) for (let d = 0; d < wide; d++) mean[d] += rows[i * wide + d] / count;
  const centred = new Float32Array(count * wide);
  let total = 0;
  for (let i = 0, place = 0; i < count; i++)
    for (let d = 0; d < wide; d++, place++) {
      centred[place] = rows[place] - mean[d];
      total += centred[place] * centred[place];
    }
  const draw = random(0);
  let directions = Array.from({ length: 3 }, () => Float64Array.from({ length: wide }, () => draw() - 0.5));
  orthonormal(directions);
  for (let round = 0; round < ROUNDS; round++) {
    const next = directions.map(() => new Float64Array(wide));
    for (let i = 0; i < count; i++) {
      const start = i * wide;
      directions.forEach((direction, c) => {
        let dot = 0;
        for (let d = 0; d < wide; d++) dot += centred[start + d] * direction[d];
        const out = next[c];
        for (let d = 0; d < wide; d++) out[d] += dot * centred[start + d];
      });
    }
    orthonormal(next);
    directions = next;
  }
  const columns = directions.map((direction) => {
    const largest = direction.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    const sign = largest < 0 ? -1 : 1;
    const column = new Float32Array(count);
    for (let i = 0; i < count; i++)
      for (let d = 0; d < wide; d++) column[i] += sign * centred[i * wide + d] * direction[d];
    return column;
  });
  const shares = columns.map((column) => column.reduce((sum, v) => sum + v * v, 0) / Math.max(total, 1e-12));
  return { columns, shares };
}

/** Make directions orthogonal and of length 1, the first first (Gram and Schmidt). */
function orthonormal(directions) {
  directions.forEach((direction, c) => {
    for (const before of directions.slice(0, c)) {
      let dot = 0;
      for (let d = 0; d < direction.length; d++) dot += direction[d] * before[d];
      for (let d = 0; d < direction.length; d++) direction[d] -= dot * before[d];
    }
    let length = 0;
    for (const value of direction) length += value * value;
    length = Math.max(Math.sqrt(length), 1e-12);
    for (let d = 0; d < direction.length; d++) direction[d] /= length;
  });
}

/** Group tokens by k-means (k-means++ starts, always the same): a label for each, the largest group first. */
function kmeans(tokens, k) {
  const draw = random(1);
  let best = null;
  for (let start = 0; start < STARTS; start++) {
    const found = cluster(tokens, Math.min(k, tokens.count), draw);
    if (best === null || found.spread < best.spread) best = found;
  }
  const sizes = new Array(k).fill(0);
  for (const label of best.labels) sizes[label]++;
  const order = sizes.map((_, label) => label).sort((a, b) => sizes[b] - sizes[a]);
  const rank = new Array(k);
  order.forEach((label, place) => (rank[label] = place));
  return { labels: best.labels.map((label) => rank[label]), sizes: order.map((label) => sizes[label]) };
}

/** Group tokens once, from one start. */
function cluster({ rows, count, wide }, k, draw) {
  const centres = new Float32Array(k * wide);
  const nearest = new Float64Array(count).fill(Infinity);
  let chosen = Math.floor(draw() * count);
  for (let c = 0; c < k; c++) {
    centres.set(rows.subarray(chosen * wide, (chosen + 1) * wide), c * wide);
    let total = 0;
    for (let i = 0; i < count; i++) {
      nearest[i] = Math.min(nearest[i], distance(rows, i * wide, centres, c * wide, wide));
      total += nearest[i];
    }
    let left = draw() * total;
    chosen = 0;
    while (chosen < count - 1 && (left -= nearest[chosen]) > 0) chosen++;
  }
  const labels = new Uint8Array(count);
  let spread = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let moved = 0;
    spread = 0;
    for (let i = 0; i < count; i++) {
      let [label, least] = [0, Infinity];
      for (let c = 0; c < k; c++) {
        const far = distance(rows, i * wide, centres, c * wide, wide);
        if (far < least) [label, least] = [c, far];
      }
      if (labels[i] !== label || round === 0) moved++;
      labels[i] = label;
      spread += least;
    }
    if (!moved) break;
    centres.fill(0);
    const sizes = new Float64Array(k);
    for (let i = 0; i < count; i++) {
      sizes[labels[i]]++;
      for (let d = 0; d < wide; d++) centres[labels[i] * wide + d] += rows[i * wide + d];
    }
    for (let c = 0; c < k; c++) for (let d = 0; d < wide; d++) centres[c * wide + d] /= Math.max(sizes[c], 1);
  }
  return { labels, spread };
}

/** Measure the squared distance of two rows. */
function distance(a, from, b, other, wide) {
  let sum = 0;
  for (let d = 0; d < wide; d++) {
    const apart = a[from + d] - b[other + d];
    sum += apart * apart;
  }
  return sum;
}
