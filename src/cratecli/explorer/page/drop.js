// Photos that are dropped, pasted or chosen: the server looks into each, and the page shows it.

const waitingFiles = [];
let sending = false;

/** Ask the server about a photo; where it is busy, ask again when it says so. */
async function lookInto(file) {
  for (;;) {
    const form = new FormData();
    form.append("image", file, file.name || "pasted.png");
    const answer = await fetch("v1/explore", { method: "POST", body: form });
    if (answer.status === 503) {
      await new Promise((done) => setTimeout(done, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
      continue;
    }
    const told = await answer.json().catch(() => ({ error: `${file.name}: the server answered ${answer.status}` }));
    if (!answer.ok) throw new Error(told.error);
    return told;
  }
}

/** Send what waits, photo by photo, and look at each as it comes. */
async function sendFiles() {
  if (sending) return;
  sending = true;
  at("refused").replaceChildren();
  while (waitingFiles.length) {
    const file = waitingFiles.shift();
    const more = waitingFiles.length ? `, ${waitingFiles.length} more to come` : "";
    at("progress").textContent = `Looking at ${file.name || "a pasted photo"}${more}`;
    try {
      showPhoto(await lookInto(file));
    } catch (error) {
      const away = error instanceof TypeError; // which is what fetch throws
      const reason = away ? `${file.name || "the photo"}: the server does not answer` : error.message;
      at("refused").append(make("li", {}, reason));
    }
  }
  at("progress").textContent = "";
  sending = false;
}

/** Add a photo to the page, and look at it. */
function showPhoto({ card, data }) {
  const place = contents.cards.push({ ...card, data }) - 1;
  addToStrip(card, place);
  nameStrip();
  at("drop").classList.remove("empty");
  document.querySelector("main").hidden = false;
  lookAt(place);
}

/** Take files, if there are any. */
function takeFiles(files) {
  waitingFiles.push(...files);
  if (files.length) sendFiles();
}

/** Let people drop, paste and choose photos. */
function startDrop() {
  const over = (event, inside) => {
    event.preventDefault();
    document.body.classList.toggle("over", inside);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && over(event, false));
  document.addEventListener("drop", (event) => {
    over(event, false);
    takeFiles([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => takeFiles([...event.clipboardData.files]));
  at("file").addEventListener("change", () => {
    takeFiles([...at("file").files]);
    at("file").value = "";
  });
}

document.addEventListener("DOMContentLoaded", startDrop);
