// Paint maps, masks and labels on canvases.

const VIRIDIS = bytesOf(contents.viridis); // 256 colours, red, green, blue
const [INNER, OUTER, DIM] = [0xffffffff, 0x8c000000, 0xc00e0c0c]; // alpha, blue, green, red
const PALETTE = [
  [232, 119, 60], [64, 132, 196], [86, 168, 104], [196, 78, 118], [232, 184, 72], [120, 98, 184],
  [92, 186, 186], [158, 106, 70], [220, 142, 178], [132, 142, 52], [120, 126, 134], [176, 60, 52],
];

/** Make pixels of a map in 0–1 (viridis); `faintest` is the opacity of its lowest values. */
function heatPixels(map, grid, faintest = 1) {
  const image = new ImageData(grid.cols, grid.rows);
  for (let i = 0; i < map.length; i++) {
    const colour = 3 * Math.round(map[i] * 255);
    image.data[4 * i] = VIRIDIS[colour];
    image.data[4 * i + 1] = VIRIDIS[colour + 1];
    image.data[4 * i + 2] = VIRIDIS[colour + 2];
    image.data[4 * i + 3] = 255 * (faintest + (1 - faintest) * map[i]);
  }
  return image;
}

/** Make pixels of three maps in 0–1 as red, green and blue; patches that are not `there` are clear. */
function rgbPixels(maps, grid, there) {
  const image = new ImageData(grid.cols, grid.rows);
  there.forEach((patch, i) => {
    maps.forEach((map, c) => (image.data[4 * patch + c] = Math.round(map[i] * 255)));
    image.data[4 * patch + 3] = 255;
  });
  return image;
}

/** Make pixels of labels, each in its colour. */
function labelPixels(labels, grid, there) {
  const image = new ImageData(grid.cols, grid.rows);
  there.forEach((patch, i) => image.data.set([...PALETTE[labels[i] % PALETTE.length], 255], 4 * patch));
  return image;
}

/** Put pixels on a canvas of their size: the style sheet enlarges it. */
function put(canvas, pixels) {
  if (canvas.width !== pixels.width) canvas.width = pixels.width;
  if (canvas.height !== pixels.height) canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const scratch = document.createElement("canvas");

/** Spread pixels of a grid over a whole canvas, smoothly or patch by patch. */
function spread(context, pixels, { smooth, opacity }) {
  put(scratch, pixels);
  context.save();
  context.imageSmoothingEnabled = smooth;
  context.globalAlpha = opacity;
  context.drawImage(scratch, 0, 0, context.canvas.width, context.canvas.height);
  context.restore();
}

/** Draw a mask on an empty canvas: colour outside, if any, and where it ends a line, as wide as is seen. */
function drawMask(context, mask, outside) {
  const { width, height } = context.canvas;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const thick = Math.max(1, Math.round(width / (context.canvas.clientWidth || width)));
  const below = thick * width;
  for (let y = 0, place = 0; y < height; y++) {
    const up = y >= thick ? below : 0;
    const down = y < height - thick ? below : 0;
    for (let x = 0; x < width; x++, place++) {
      const inside = mask[place];
      if (
        mask[place - up] !== inside ||
        mask[place + down] !== inside ||
        (x >= thick && mask[place - thick] !== inside) ||
        (x < width - thick && mask[place + thick] !== inside)
      ) {
        pixels[place] = inside ? INNER : OUTER;
      } else if (inside === 0 && outside) pixels[place] = outside;
    }
  }
  context.putImageData(image, 0, 0);
}
