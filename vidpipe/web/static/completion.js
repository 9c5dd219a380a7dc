// Completions of the search box, as the combobox pattern of WAI-ARIA describes it, and of the lines of a text.
import { api, byId, element } from "./base.js";

const input = byId("q") ?? byId("text"), list = byId("completions"), area = input.id === "text", words = area && JSON.parse(input.dataset.words);
let items, active, waiting;

function activate(index) {
  active = index;
  [...list.children].forEach((option, at) => { option.ariaSelected = at === index; });
  input.setAttribute("aria-activedescendant", list.children[index]?.id ?? "");
}

function open(is) {
  clearTimeout(waiting);
  list.hidden = !is;
  if (!area) input.ariaExpanded = is;
  activate(-1);
}

// What is before the caret, in its line.
const written = () => input.value.slice(0, input.selectionEnd).split("\n").at(-1);

// Completions of a line of rules: tags in a list of tags, modifiers after |, else fields and keys.
function ofLine(q) {
  const [, tag] = /\b(?:tags|remove|expect)[\w|]*["']?\s*:.*?([^[,:"' ][^[,:"']*)?$/.exec(q) ?? [q], [, bar, word] = /(\|?)(\w*)$/.exec(q);
  const kind = tag ? "tag" : bar ? "modifier" : "word", last = (tag ?? word).toLowerCase();
  return words[kind].filter((one) => (last || bar) && one.toLowerCase().startsWith(last) && one !== last).slice(0, 20)
    .map((text) => ({ text, kind, start: [...q].length - [...last].length }));
}

async function suggest() {
  const q = written(), { value, selectionEnd } = input;
  if (!q.trim() || q[2000] || /\w/.test(value[selectionEnd] ?? "")) items = [];
  else items = area ? ofLine(q) : await api("GET", `/complete?${new URLSearchParams({ q })}`).then((found) => found.items, () => []);
  if (input.value !== value) return;
  if (area) list.style.top = `${value.slice(0, input.selectionEnd).split("\n").length * parseFloat(getComputedStyle(input).lineHeight) + 8 - input.scrollTop}px`;
  list.replaceChildren(...items.map(({ text, kind, count }, at) => element(
    "li", { id: `completion-${at}`, role: "option" }, text,
    element("span", { className: "dim", textContent: [kind, count].filter(Boolean).join(" · ") }))));
  open(items.length > 0 && document.activeElement === input);
}

function take({ text, start }) {
  const goesOn = text.endsWith(":"), end = input.selectionEnd;
  input.setRangeText(text + (area || goesOn ? "" : " "), end - [...written()].slice(start).join("").length, end, "end");
  open(false);
  if (goesOn) suggest();
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

input.oninput = () => {
  clearTimeout(waiting);
  waiting = setTimeout(suggest, 120);
};
input.onblur = () => open(false);
input.form.addEventListener("submit", () => open(false));
list.onpointerdown = (event) => {
  event.preventDefault();
  take(items[event.target.closest("li").id.split("-")[1]]);
};
input.onkeydown = (event) => {
  const count = items?.length, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (list.hidden && (area || step !== 1)) return;
  if (list.hidden) suggest();
  else if (step) activate(active < 0 && step < 0 ? count - 1 : (active + step + count) % count);
  else if (event.key === "Enter" && active >= 0) take(items[active]);
  else if (event.key === "Escape") open(false);
  else return;
  event.preventDefault();
};
