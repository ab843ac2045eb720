// Attention, as in emergence/projections.py: softmax(q kᵀ / √p) over all tokens, then the patches alone.

/** Attend from one token in one layer and head (places in the data): Float32Array of all patches, 0–1. */
function attend(photo, layer, head, token) {
  if (token === WHOLE && photo.whole) return wholeAttention(photo, layer, head);
  const { tokens, width, prefix, key, query } = photo;
  const start = (layer * photo.heads + head) * tokens * width;
  const asking = start + token * width;
  const scores = new Float64Array(tokens);
  const root = Math.sqrt(width);
  let most = -Infinity;
  for (let n = 0, place = start; n < tokens; n++) {
    let sum = 0;
    for (let p = 0; p < width; p++) sum += query[asking + p] * key[place++];
    scores[n] = sum / root;
    if (scores[n] > most) most = scores[n];
  }
  let total = 0;
  for (let n = 0; n < tokens; n++) total += scores[n] = Math.exp(scores[n] - most);
  const shares = new Float32Array(tokens - prefix);
  for (let n = prefix; n < tokens; n++) shares[n - prefix] = scores[n] / total;
  return shares;
}

/** Unpack the attention of the whole photo, in a model without a class token. */
function wholeAttention(photo, layer, head) {
  const count = photo.tokens - photo.prefix;
  const start = (layer * photo.heads + head) * count;
  return photo.whole.subarray(start, start + count).map(Math.exp);
}

/** Attend from one token in every layer and head. */
function attendAll(photo, token) {
  return photo.layers.map((_, layer) =>
    Array.from({ length: photo.heads }, (_, head) => attend(photo, layer, head, token)),
  );
}

/** Average maps of some layers and heads, and give the logarithm, as emergence.heads.fixed does. */
function logMean(maps, layers, heads) {
  const count = maps[0][0].length;
  const mean = new Float64Array(count);
  for (const layer of layers)
    for (const head of heads) for (let i = 0; i < count; i++) mean[i] += maps[layer][head][i];
  let total = 0;
  for (const value of mean) total += value;
  return mean.map((value) => Math.log(Math.max(value / total, 1e-8)));
}
