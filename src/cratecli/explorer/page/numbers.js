// Unpack what Python packed (explorer/pack.py): base64, deflate, whole numbers of 16 bits, runs.

/** Decode base64. */
function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Send bytes through a stream that changes them. */
async function through(bytes, change) {
  const stream = new Blob([bytes]).stream().pipeThrough(change);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Unpack tokens: low bytes, then high bytes, of whole numbers; each times the scale of its layer and head. */
async function unpack(packed) {
  const planes = await through(bytesOf(packed.data), new DecompressionStream("deflate"));
  const count = planes.length / 2;
  const scales = packed.scale.flat();
  const each = count / scales.length;
  const values = new Float32Array(count);
  for (let group = 0, i = 0; group < scales.length; group++) {
    const scale = scales[group];
    for (const end = i + each; i < end; i++) {
      values[i] = (((planes[i] | (planes[count + i] << 8)) << 16) >> 16) * scale;
    }
  }
  return values;
}

/** Fill a mask from the lengths of its runs; the first run is of pixels outside. */
function fromRuns(runs, length) {
  const mask = new Uint8Array(length);
  let place = 0;
  runs.forEach((run, turn) => {
    if (turn % 2) mask.fill(1, place, place + run);
    place += run;
  });
  return mask;
}

/** Scale numbers to 0–1, as emergence.masks.scale does; a constant map becomes 0. */
function scaled(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const span = high - low;
  const out = new Float32Array(values.length);
  if (span > 1e-6) for (let i = 0; i < values.length; i++) out[i] = (values[i] - low) / span;
  return out;
}

/** Take the logarithm of every number; of 0 it is that of 1e-8. */
function logarithms(values) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = Math.log(values[i] + 1e-8);
  return out;
}

/** Tell which share of a mask is inside. */
function shareOf(mask) {
  let inside = 0;
  for (let i = 0; i < mask.length; i++) inside += mask[i];
  return inside / mask.length;
}

/** Make a source of numbers in 0–1 that gives the same ones each time (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Write a share in whole percents; what is there is never 0 %. */
function percent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  return `${Math.round(share * 100)} %`;
}
