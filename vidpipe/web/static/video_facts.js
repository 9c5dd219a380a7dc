// What is known of a video, and what can be changed.
import { api, ask as confirmed, attempt, clock, element, follow } from "./base.js";

const root = document.getElementById("video");
const find = (selector) => root.querySelector(selector);
const { video } = root.dataset;
const ask = (part) => api("GET", `/videos/${video}/${part}`);
const send = (path, body) => api("POST", path, { videos: [video], ...body });
const dim = (textContent) => element("p", { className: "dim", textContent });
const failed = ({ message }) => [dim(message)];
const joined = (texts) => texts.filter(Boolean).join(": ");

// Fill `details` when it is opened first, with what `load` returns.
function whenOpened(details, load) {
  const body = details.lastElementChild;
  details.ontoggle = async () => {
    if (details.open && !body.firstChild) body.append(...await load().catch(failed));
  };
}

async function explained(tag) {
  const response = await fetch(`/videos/${video}/explain${tag ? `?tag=${encodeURIComponent(tag)}` : ""}`);
  if (!response.ok) throw new Error(response.statusText);
  return new DOMParser().parseFromString(await response.text(), "text/html").body.childNodes;
}

for (const tag of root.querySelectorAll(".tag")) whenOpened(tag.querySelector(".explain"), () => explained(tag.dataset.tag));
whenOpened(find(".why-not"), () => explained());
whenOpened(find("#history details"), async () => {
  const { items } = await ask("history?limit=200");
  return items.map(({ at, tag, category, stage, change, status, verdict, evidence, reason, was, changed, error }) => element("p", {},
    `${at.slice(0, 16).replace("T", " ")} `, element("strong", { textContent: tag ?? category ?? stage }), " ",
    joined([change ?? verdict ?? status, evidence || reason || was, changed?.join(", "), error?.message])));
});

const similar = find(".similar");
if (similar) ask("similar?limit=8").then(({ items }) => items.map((item) => element("a", { href: `/videos/${item.video}` },
  element("img", { src: `/api/v1/videos/${item.video}/thumbnail`, alt: "" }), item.title || item.name)))
  .catch(failed).then((found) => similar.append(...found));

// What a click on an element with `data-NAME` does
const actions = {
  async verdict(button) {
    const tag = button.closest(".tag");
    const verdict = button.ariaPressed === "true" ? null : button.dataset.verdict;
    await api("PUT", "/verdicts", { video, tag: tag.dataset.tag, verdict });
    for (const one of tag.querySelectorAll("button[data-verdict]")) one.ariaPressed = one.dataset.verdict === verdict;
    tag.querySelector(".saved").textContent = verdict ? `saved: ${verdict}` : "no verdict";
  },
  async remove(button) {
    await send("/labels", { add: [], remove: [button.dataset.remove] });
    button.parentElement.remove();
  },
  async retry({ dataset: { retry } }) {
    const reload = element("a", { href: location.pathname, textContent: "Show the results" });
    const job = await send("/runs", { retry: true, stages: retry ? [retry] : null });
    follow(job, () => (find("video").paused ? location.reload() : find("#stages").append(reload))).addEventListener("stage", ({ data }) => {
      const { stage, state } = JSON.parse(data);
      const badge = find(`tr[data-stage="${CSS.escape(stage)}"] .badge`);
      if (badge) Object.assign(badge, { textContent: state, className: `badge ${state}` });
    });
  },
  async forget() {
    const found = await send("/forget", { dry_run: true });
    const [{ state, freed_bytes: freed, kept, error }] = found.videos;
    find("#forget .body").textContent = error || state === "busy" ? error || "A run is using it. Try again later."
      : `With everything computed from it, ${((freed ?? 0) / 1e6).toFixed(1)} MB are freed.${kept ? ` ${kept} is kept.` : ""}`;
    if (await confirmed(find("#forget form"))) {
      follow(await send("/forget"), (end) => end === "succeeded" && location.assign("/"));
    }
  },
};
root.addEventListener("click", ({ target }) => {
  for (const name of Object.keys(target.dataset)) if (actions[name]) attempt(() => actions[name](target));
});

function onSubmit(form, work) {
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => work(form.elements, form));
  });
}
onSubmit(find(".add-label"), async ({ label: { value } }, form) => {
  await send("/labels", { add: [value.trim()], remove: [] });
  const remove = element("button", { className: "link", textContent: "×", ariaLabel: `Remove label ${value}` });
  remove.dataset.remove = value.trim();
  form.parentElement.before(element("li", { className: "chip" }, value, remove));
  form.reset();
});
onSubmit(find(".ask"), async ({ question, kind: { value: kind }, choices, scenes, save }, form) => {
  const state = dim("Waiting for the model …");
  const cell = element("div", { className: "cell" }, element("strong", { textContent: question.value }), state);
  form.after(cell);
  const choice = kind === "choice" ? choices.value.split(",").map((one) => one.trim()) : [];
  try {
    const job = await send("/ask", { question: question.value, kind, choices: choice, scenes: scenes.checked, save: save.checked });
    follow(job, (ended) => { state.textContent = ended === "succeeded" ? "" : ended; }).addEventListener("answer", ({ data }) => {
      const { scope, start_s: start, value, raw, fault, model } = JSON.parse(data);
      const text = fault ? `${raw} (${fault})` : { true: "yes", false: "no" }[value] ?? value ?? raw;
      const made = `by ${model}, ${kind}, ${new Date().toLocaleTimeString()}`;
      cell.append(element("p", { dir: "auto" }, ...(scope === "scene" ? timed(clock(start)) : []), ` ${text} `,
        element("span", { className: "generated", textContent: made })));
    });
  } catch ({ message }) {
    state.textContent = message;
  }
});
