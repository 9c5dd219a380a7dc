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

// A text whose times are links that seek.
function timed(text) {
  return text.split(/(?<![\d:.])(\d{1,3}(?::[0-5]\d){1,2}(?:\.\d+)?)(?![\d:])/).map((textContent, place) => {
    if (place % 2 === 0) return textContent;
    const time = textContent.split(":").reduce((sum, one) => sum * 60 + Number(one), 0);
    const link = element("a", { className: "time", href: `?t=${time}#player`, textContent });
    link.dataset.t = time;
    return link;
  });
}

// Fill `details` when it is opened first, with what `load` returns.
function whenOpened(details, load) {
  const body = details.lastElementChild;
  details.ontoggle = async () => {
    if (details.open && !body.firstChild) body.append(...await load().catch(failed));
  };
}

let asked;
const explained = () => (asked ??= ask("explain"));
const tick = ({ matched }) => (matched ? "✓" : "✗");
const reason = ({ blocks, match }) => element("ul", {}, ...blocks.map((block) => element("li", {},
  `${tick(block)} ${block.block.replaceAll("_", " ")}${blocks[1] && match === "all" ? " (required)" : ""}`,
  ...block.parts.map((part) => element("div", {}, `${tick(part)} requires ${part.asks}; found `, ...timed(part.found))))));
const entry = (title, one) => element("details", {}, element("summary", { textContent: `${tick(one)} ${title}` }), reason(one));

for (const tag of root.querySelectorAll(".tag")) {
  whenOpened(tag.querySelector(".explain"), async () => {
    const rule = (await explained()).rules.find((one) => one.rule === tag.dataset.rule);
    return [rule ? reason(rule) : dim("No rule in force requires anything.")];
  });
}
whenOpened(find(".why-not"), async () => {
  const { rules, categories, stored_are_out_of_date: stale } = await explained();
  return [
    stale ? dim("The stored tags are out of date: rules or facts have changed.") : "",
    ...rules.filter((one) => !one.matched).map((one) => entry(`${one.gives.join(", ")} – rule “${one.rule}”`, one)),
    ...categories.map((one) => entry(`category ${one.category}: score ${one.score}, minimum ${one.min_score}`, one)),
  ];
});
whenOpened(find("#history details"), async () => {
  const { items } = await ask("history?limit=200");
  return items.map(({ at, tag, stage, change, status, evidence, was, changed, error }) => element("p", {},
    `${at.slice(0, 16).replace("T", " ")} `, element("strong", { textContent: tag ?? stage }), " ",
    joined([change ?? status, evidence || was, changed?.join(", "), error?.message])));
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
