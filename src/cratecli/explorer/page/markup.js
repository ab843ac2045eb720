// Make and find elements. Text is text: nothing here reads HTML.

/** Find an element by its id. */
function at(id) {
  return document.getElementById(id);
}

/** Make an element with attributes, and children that are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Make an element of a drawing. */
function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Tell assistive technology, and the eye, which of some buttons is pressed. */
function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

/** Keep one of some radio buttons in step with the state. */
function radios(name, key) {
  const buttons = [...document.querySelectorAll(`input[name="${name}"]`)];
  for (const button of buttons) button.addEventListener("change", () => change({ [key]: button.value }));
  watch([key, "photo"], () => buttons.forEach((button) => (button.checked = button.value === state[key])));
}

/** Move the focus among buttons in rows by the arrow keys; only one of them is reached by Tab. */
function roving(box, columns) {
  box.addEventListener("keydown", (event) => {
    const buttons = [...box.querySelectorAll("button")];
    const place = buttons.indexOf(document.activeElement);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
    const next = { Home: 0, End: buttons.length - 1 }[event.key] ?? place + (steps[event.key] ?? NaN);
    if (place < 0 || !(next in buttons)) return;
    event.preventDefault();
    buttons.forEach((button, i) => (button.tabIndex = i === next ? 0 : -1));
    buttons[next].focus();
  });
}
