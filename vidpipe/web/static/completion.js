// Completions of the search box, as the combobox pattern of WAI-ARIA describes it.
import { api, byId, element } from "./base.js";

const input = byId("q"), list = byId("completions");
let items, active, waiting;

function activate(index) {
  active = index;
  [...list.children].forEach((option, at) => { option.ariaSelected = at === index; });
  input.setAttribute("aria-activedescendant", list.children[index]?.id ?? "");
}

function open(is) {
  clearTimeout(waiting);
  list.hidden = !is;
  input.ariaExpanded = is;
  activate(-1);
}

async function suggest() {
  const q = input.value, asked = q.trim() && input.selectionEnd === q.length;
  items = asked ? await api("GET", `/complete?${new URLSearchParams({ q })}`).then((found) => found.items, () => []) : [];
  if (input.value !== q) return;
  list.replaceChildren(...items.map(({ text, kind, count }, at) => element(
    "li", { id: `completion-${at}`, role: "option" }, text,
    element("span", { className: "dim", textContent: [kind, count].filter(Boolean).join(" · ") }))));
  open(items.length > 0 && document.activeElement === input);
}

function take({ text, start }) {
  const goesOn = text.endsWith(":");
  input.value = [...input.value].slice(0, start).join("") + text + (goesOn ? "" : " ");
  open(false);
  if (goesOn) suggest();
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
  if (list.hidden && step !== 1) return;
  if (list.hidden) suggest();
  else if (step) activate(active < 0 && step < 0 ? count - 1 : (active + step + count) % count);
  else if (event.key === "Enter" && active >= 0) take(items[active]);
  else if (event.key === "Escape") open(false);
  else return;
  event.preventDefault();
};
