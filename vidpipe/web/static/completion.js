// Completions of the search box, as the combobox pattern of WAI-ARIA describes it.
import { api, byId, element } from "./base.js";

const input = byId("q"), list = byId("completions");
let start, active, waiting;

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
  const found = asked ? await api("GET", `/complete?${new URLSearchParams({ q })}`).catch(() => null) : null;
  if (input.value !== q) return;
  start = found?.start;
  list.replaceChildren(...(found?.items ?? []).map(({ text, kind, count }, at) => element(
    "li", { id: `completion-${at}`, role: "option" }, element("span", { textContent: text }),
    element("span", { className: "dim", textContent: [kind, count].filter(Boolean).join(" · ") }))));
  open(list.children.length > 0 && document.activeElement === input);
}

function take(option) {
  const text = option.firstChild.textContent, goesOn = text.endsWith(":");
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
  event.preventDefault();  // the focus stays
  take(event.target.closest("li"));
};
input.onkeydown = (event) => {
  const count = list.children.length, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (list.hidden) return step === 1 && suggest();
  if (step) activate(active < 0 && step < 0 ? count - 1 : (active + step + count) % count);
  else if (event.key === "Enter" && active >= 0) take(list.children[active]);
  else if (event.key === "Escape") open(false);
  else return undefined;
  return event.preventDefault();
};
