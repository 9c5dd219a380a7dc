// Which videos are selected, by pointer and keyboard.
import { byId } from "./base.js";

const list = () => [...byId("items").children];
const facts = () => byId("items").dataset;
const chosen = new Set();
let all = false, last;

export const videos = (count) => `${Number(count).toLocaleString("en")} video${String(count) === "1" ? "" : "s"}`;
export const words = () => videos(all ? facts().total : chosen.size);
// What a request acts on: as a query string, and as a body.
export const chosenQuery = () => new URLSearchParams(all ? location.search : [...chosen].map((one) => ["video", one]));
export function body() {
  const query = chosenQuery();
  return all ? { selection: { q: query.get("q") ?? "", filters: query.getAll("filter") } } : { videos: [...chosen] };
}

export function clear() {
  chosen.clear();
  all = false;
  marked();
}

// Show the selection.
export function marked() {
  for (const item of list()) {
    if (all) chosen.add(item.dataset.video);
    item.querySelector("input").checked = chosen.has(item.dataset.video);
  }
  byId("actions").hidden = !chosen.size;
  byId("chosen").textContent = `${words()} selected`;
  const every = byId("choose-all"), dagster = byId("in-dagster");
  // What is only similar to the words cannot be selected as a whole.
  every.hidden = all || chosen.size >= facts().total || facts().matched !== "all";
  every.textContent = `Select all ${videos(facts().total)}`;
  dagster.hidden = !dagster.dataset.page || chosen.size !== 1;
  dagster.href = `${dagster.dataset.page}/assets/scenes?view=partitions&partition=${[...chosen][0]}`;
}

function choose(item, is, range) {
  all = false;
  const items = list(), to = items.indexOf(item), from = range ? items.indexOf(last) : -1;
  for (const one of from < 0 ? [item] : items.slice(Math.min(from, to), Math.max(from, to) + 1)) {
    chosen[is ? "add" : "delete"](one.dataset.video);
  }
  last = item;
  marked();
}

byId("results").addEventListener("click", (event) => {
  const { target, shiftKey } = event, item = target.closest(".item");
  if (item && target.matches("input")) choose(item, target.checked, shiftKey);
  else if (shiftKey && target.closest(".open")) {
    event.preventDefault();
    choose(item, true, true);
  }
});
byId("choose-all").onclick = () => {
  all = true;
  marked();
};
byId("clear").onclick = clear;

function move(key, item) {
  const items = list(), columns = items.filter((one) => one.offsetTop === items[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  items[item ? items.indexOf(item) + step : 0]?.querySelector(".open").focus();
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event, item = target.closest(".item");
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open], :popover-open")) return;
  if (target.matches("input:not([type=checkbox]), select")) return;
  if (key === "/") byId("q").focus();
  else if (key === "?") byId("keys").showModal();
  else if (key === "Escape") clear();
  else if (/^x$/i.test(key) && item) choose(item, !chosen.has(item.dataset.video), event.shiftKey);
  else if (/^Arrow/.test(key) && (item || (target === document.body && /Left|Right/.test(key)))) move(key, item);
  else return;
  event.preventDefault();
});
