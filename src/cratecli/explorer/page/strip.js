// The photos: a strip to choose from, and each one's data, unpacked when it is looked at.

const DRAWN = 768; // px, the longer side of what is drawn over a photo: more takes longer than it shows

const arrivals = new Map(); // functions that wait for a data file, by its address

/** Take what a data file brings; the file calls this. */
function receive(card, data) {
  const source = document.currentScript.getAttribute("src");
  arrivals.get(source)?.resolve(data);
}

/** Read a photo's data: out of the page, from a file beside it, or as the server sent them. */
function fetchData(place) {
  const { source, data } = contents.cards[place];
  if (data !== undefined) return Promise.resolve(data);
  if (source === undefined) return Promise.resolve(JSON.parse(at(`photo-${place}`).textContent));
  return new Promise((resolve, reject) => {
    arrivals.set(source, { resolve });
    const script = make("script", { src: source });
    script.addEventListener("error", () => reject(new Error(`${decodeURIComponent(source)} cannot be read`)));
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  });
}

/** Unpack a photo: tokens as numbers, masks and traces when they are asked for. */
async function unpackPhoto(card, data) {
  const key = await unpack(data.key);
  const query = data.query ? await unpack(data.query) : key;
  const whole = data.whole ? await unpack(data.whole) : null;
  const [size, grid] = [{ height: card.height, width: card.width }, { rows: data.rows, cols: data.cols }];
  const image = new Image();
  image.src = data.picture;
  await image.decode();
  const { naturalHeight: high, naturalWidth: wide } = image;
  const factor = Math.min(1, DRAWN / Math.max(high, wide));
  const shown = { height: Math.max(1, Math.round(high * factor)), width: Math.max(1, Math.round(wide * factor)) };
  const patches = grid.rows * grid.cols;
  const tokens = patches + data.prefix;
  const components = bytesOf(data.trace.components);
  const maskcut = bytesOf(data.trace.maskcut);
  const part = (bytes, start) => Float32Array.from(bytes.subarray(start, start + patches), (value) => value / 255);
  const kept = (runs) => remembered(() => [], () => fromRuns(runs, size.height * size.width));
  return {
    name: card.name,
    picture: data.picture,
    size,
    shown,
    grid,
    tokens,
    prefix: data.prefix,
    layers: data.layers,
    heads: contents.heads,
    width: key.length / (data.layers.length * contents.heads * tokens),
    key,
    query,
    whole,
    flat: data.flat,
    auto: data.auto,
    autoMask: kept(data.auto.mask),
    trace: data.trace,
    component: (layer, c) => part(components, (4 * layer + c) * patches),
    maskcut: (layer) => part(maskcut, layer * patches),
    objects: data.objects.map(({ score, mask }) => {
      const whole = kept(mask);
      const inside = mask.reduce((sum, run, turn) => sum + (turn % 2 ? run : 0), 0);
      return { score, area: inside / (size.height * size.width), mask: () => resized(whole(), size, shown) };
    }),
    quoted: data.photo,
    options: data.options,
    side: data.size,
  };
}

/** Look at a photo: load it, and begin with the class token. */
async function lookAt(place) {
  const card = contents.cards[place];
  at("trouble").hidden = true;
  at("stage").setAttribute("aria-busy", "true");
  state.place = place;
  markStrip();
  try {
    const photo = await unpackPhoto(card, await fetchData(place));
    if (state.place !== place) return; // another was asked for meanwhile
    const same = state.photo && String(state.photo.layers) === String(photo.layers);
    photo.best = bestOf(photo);
    const { layers, heads } = same && !isBest() ? state : photo.best; // a map that somebody chose stays
    const partsLayer = Math.max(photo.layers.indexOf(contents.partsLayer), 0);
    const first = same ? {} : { partsLayer };
    describePhoto(photo);
    change({ photo, token: WHOLE, hidden: new Set(), layers, heads, ...first });
  } catch (error) {
    at("trouble").textContent = `${card.name}: ${error.message}`;
    at("trouble").hidden = false;
  }
  at("stage").removeAttribute("aria-busy");
}

/** Say what is looked at. */
function describePhoto(photo) {
  at("name").textContent = photo.name;
  const { rows, cols } = photo.grid;
  at("facts").textContent =
    `${contents.model} · ${photo.layers.length} layers × ${photo.heads} heads · ` +
    `${rows} × ${cols} patches at ${photo.side} px · photo ${photo.size.width} × ${photo.size.height} px`;
  at("picture").src = photo.picture;
  at("picture").alt = photo.name;
  at("stage").style.aspectRatio = `${photo.size.width} / ${photo.size.height}`;
  at("stage").style.setProperty("--ratio", photo.size.width / photo.size.height);
}

/** Show which photo is looked at. */
function markStrip() {
  [...at("strip").querySelectorAll("button")].forEach((button, place) => {
    button.setAttribute("aria-current", String(place === state.place));
    button.tabIndex = place === state.place ? 0 : -1;
    if (place === state.place) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

/** Shorten names to those of the files; where files of several folders share one, all keep what folders differ in. */
function shortNames(names) {
  const parts = names.map((name) => name.split("/"));
  const files = parts.map((each) => each[each.length - 1]);
  if (new Set(files).size === names.length) return files;
  let common = 0;
  while (parts.every((each) => common < each.length - 1 && each[common] === parts[0][common])) common++;
  return parts.map((each) => each.slice(common).join("/"));
}

/** Write the names under the photos of the strip. */
function nameStrip() {
  const names = shortNames(contents.cards.map((card) => card.name));
  [...at("strip").children].forEach((button, place) => (button.lastChild.textContent = names[place]));
}

/** Put a photo at the end of the strip. */
function addToStrip(card, place) {
  const image = make("img", { alt: "", loading: "lazy" });
  image.src = card.thumbnail;
  const name = make("span", {}, card.name);
  const button = make("button", { type: "button", "aria-label": card.name, title: card.name }, image, name);
  button.addEventListener("click", () => lookAt(place));
  at("strip").append(button);
  at("strip").hidden = place < 1;
}

/** Build the strip; a page of one photo shows none. */
function startStrip() {
  contents.cards.forEach(addToStrip);
  nameStrip();
  roving(at("strip"), () => 1);
}
