// The library page: after a change of its address, its parts are replaced by those that the server renders.
import { api, attempt, byId, element, fetchPage } from "./base.js";
import { clear, marked } from "./library_selection.js";

const form = byId("search");
let running;

async function fetched(address) {
  running?.abort();
  const mine = running = new AbortController();
  byId("items").ariaBusy = "true";
  try {
    const page = await fetchPage(address, { signal: mine.signal });
    if (!page.getElementById("results")) location.assign(address);  // a problem, or the sign-in page
    return page;
  } finally {
    if (running === mine) byId("items").ariaBusy = running = null;
  }
}

async function show(address) {
  const page = await fetched(address), focused = document.activeElement;
  const part = focused.closest("#facets, #results")?.id, text = focused.textContent;
  for (const box of document.querySelectorAll("[data-facet]")) {
    page.querySelector(`[data-facet="${box.dataset.facet}"]`).open = box.open;
  }
  for (const id of ["options", "facets", "results"]) byId(id).replaceChildren(...page.getElementById(id).childNodes);
  form.elements.q.value = page.getElementById("q").value;
  watch();
  if (part) ([...byId(part).querySelectorAll("a")].find((one) => one.textContent === text) ?? byId("main")).focus();
}

const refresh = () => attempt(() => show(location.href));

function go(address) {
  history.pushState(null, "", address);
  clear();
  refresh();
}

const loadMore = () => attempt(async () => {
  const more = byId("more");
  if (running || more.hidden) return;
  const page = await fetched(more.href);
  byId("items").append(...page.getElementById("items").children);
  more.replaceWith(page.getElementById("more"));
  const address = new URL(location);  // for whoever comes back to it
  address.searchParams.set("limit", Math.min(500, byId("items").children.length));
  history.replaceState(null, "", address);
  watch();
});

const end = new IntersectionObserver(([seen]) => seen.isIntersecting && loadMore(), { rootMargin: "800px" });
function watch() {
  end.disconnect();
  end.observe(byId("more"));
  marked();
}

// Finds values of this search, else of all videos.
byId("facets").oninput = async ({ target, target: { value, parentElement: { dataset: { facet }, lastElementChild: list } } }) => {
  for (const one of list.querySelectorAll(".found")) one.remove();
  for (const one of list.children) one.hidden = !one.textContent.toLowerCase().includes(value.toLowerCase());
  if (!value || list.querySelector("li:not([hidden])")) return;
  const q = `${facet}:"${value}`, { items } = await api("GET", `/complete?${new URLSearchParams({ q, limit: 8 })}`);
  if (target.value === value) list.append(...items.map(({ text, count }) => {
    const [, name] = /:"?(.*?)"?$/.exec(text), address = new URL(location);
    address.searchParams.append("filter", `${facet}:"${name}"`);
    return element("li", { className: "found" }, element("a", { href: address },
      element("span", { textContent: name }), element("span", { className: "count", textContent: count })));
  }));
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("#facets a, #results a");
  if (link?.pathname !== "/" || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.id === "more") loadMore();
  else go(link.href);
});
form.onsubmit = (event) => {
  event.preventDefault();
  const given = [...new FormData(form)].filter(([, value]) => value && value !== "relevance");
  go(`/?${new URLSearchParams(given)}`);
};
form.onchange = ({ target }) => target.name !== "q" && form.requestSubmit();
addEventListener("library-changed", refresh);
addEventListener("popstate", () => {
  clear();
  refresh();
});
watch();
