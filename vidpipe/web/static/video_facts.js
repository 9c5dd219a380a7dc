// What is known of a video: reasons, history, similar ones; and what can be changed: verdicts, labels, runs, removal.
import { api, attempt, clock, element, say } from "./base.js";

// Follow a job of the server; `on` has a function for each kind of event. Resolves to the finished job.
function follow(job, on = {}) {
  return new Promise((resolve) => {
    const events = new EventSource(`/api/v1/runs/${job.id}/events`);
    const finish = (last) => { events.close(); resolve(last); };
    const listen = (name, react) => events.addEventListener(name, (event) => event.data && react(JSON.parse(event.data)));
    Object.entries(on).forEach(([name, react]) => listen(name, react));
    listen("job", (now) => ["succeeded", "failed", "canceled"].includes(now.state) && finish(now));
    events.onerror = () => events.readyState === EventSource.CLOSED && finish({ state: "failed", error: "connection lost" });
  });
}
const outcome = ({ state, error }) => [state, error?.message ?? error, error?.hint].filter(Boolean).join(": ");
const dim = (textContent) => element("p", { className: "dim", textContent });

// A text whose times are links that seek.
function timed(text) {
  return text.split(/(?<![\d:.])(\d{1,3}(?::[0-5]\d){1,2}(?:\.\d+)?)(?![\d:])/).map((part, place) => {
    if (place % 2 === 0) return part;
    const time = part.split(":").reduce((sum, one) => sum * 60 + Number(one), 0);
    const link = element("a", { className: "time", href: `?t=${time}#player`, textContent: part });
    link.dataset.t = time;
    return link;
  });
}

// Fill `details` when it is opened first, with what `load` returns.
function whenOpened(details, load) {
  const body = details.lastElementChild;
  details.addEventListener("toggle", async () => {
    if (!details.open || body.hasChildNodes()) return;
    body.append(...await load().catch((error) => [dim(error.message)]));
  });
}

const tick = ({ matched }) => (matched ? "✓" : "✗");
const reason = (blocks) => element("ul", { className: "plain" }, ...blocks.flatMap((block) => [
  element("li", { textContent: `${tick(block)} ${block.block.replaceAll("_", " ")}` }),
  ...block.parts.map((part) => element("li", { className: "part" },
    `${tick(part)} requires ${part.asks}; found `, ...timed(part.found))),
]));
const entry = (title, { blocks }) => element("details", {}, element("summary", { textContent: title }), reason(blocks));

function showReasons(root, path) {
  let asked;
  const explained = () => (asked ??= api("GET", `${path}/explain`));
  for (const tag of root.querySelectorAll(".tag")) {
    whenOpened(tag.querySelector(".explain"), async () => {
      const rule = (await explained()).rules.find((one) => one.rule === tag.dataset.rule);
      if (!rule) return [dim("No rule in force requires anything: the model gave this tag, or the rules have changed.")];
      const how = rule.match === "all" ? "All blocks must match." : "One matching block is enough.";
      return [rule.blocks.length > 1 ? how : "", reason(rule.blocks)];
    });
  }
  whenOpened(root.querySelector(".why-not"), async () => {
    const found = await explained();
    return [
      found.stored_are_out_of_date ? dim("The stored tags are out of date: rules or facts have changed.") : "",
      ...found.rules.filter((one) => !one.matched).map((one) => entry(`${one.gives.join(", ")} – rule “${one.rule}”`, one)),
      ...found.categories.map((one) => entry(
        `${tick(one)} category ${one.category}: score ${one.score}, minimum ${one.min_score}`, one)),
    ];
  });
}

function showHistory(root, path) {
  whenOpened(root.querySelector("#history details"), async () => {
    const rows = Object.values(await api("GET", `${path}/history`)).filter(Array.isArray).flat();
    rows.sort((one, other) => (one.at < other.at ? 1 : -1));
    return [element("ul", { className: "plain" }, ...rows.map((row) => element("li", {},
      element("time", { className: "dim", textContent: row.at.slice(0, 16).replace("T", " ") }),
      element("strong", { textContent: row.tag ? ` tag ${row.tag} ` : ` ${row.stage} ` }),
      [row.change ?? row.status, row.evidence || row.was, row.changed?.join(", "), row.error?.message].filter(Boolean).join(": "))))];
  });
}

async function showSimilar(root, path) {
  const body = root.querySelector("#similar .body");
  try {
    const { items } = await api("GET", `${path}/similar?limit=8`);
    body.append(...items.map((item) => element("a", { href: `/videos/${item.video}` },
      element("img", { src: `/api/v1/videos/${item.video}/thumbnail`, alt: "", loading: "lazy" }), item.title || item.name)));
    if (!items.length) body.append(dim("None."));
  } catch (error) {
    body.append(dim(error.message));
  }
}

function takeVerdicts(root) {
  root.addEventListener("click", ({ target }) => target.matches("[data-verdict]") && attempt(async () => {
    const [tag, { verdict: pressed }] = [target.closest(".tag"), target.dataset];
    const verdict = target.ariaPressed === "true" ? null : pressed;
    await api("PUT", "/verdicts", { video: root.dataset.video, tag: tag.dataset.tag, verdict });
    for (const button of tag.querySelectorAll("button[data-verdict]")) button.ariaPressed = button.dataset.verdict === verdict;
    tag.querySelector(".saved").textContent = verdict ? `saved: ${verdict}` : "no verdict";
  }));
}

function editLabels(root) {
  const form = root.querySelector(".add-label");
  const videos = [root.dataset.video];
  root.querySelector(".labels").addEventListener("click", ({ target }) => target.dataset.remove && attempt(async () => {
    await api("POST", "/labels", { videos, add: [], remove: [target.dataset.remove] });
    target.parentElement.remove();
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const label = form.elements.label.value.trim();
    if (label) attempt(async () => {
      await api("POST", "/labels", { videos, add: [label], remove: [] });
      const remove = element("button", { className: "link", textContent: "×", ariaLabel: `Remove label ${label}` });
      remove.dataset.remove = label;
      form.parentElement.before(element("li", { className: "chip" }, label, remove));
      form.reset();
    });
  });
}

function takeQuestions(root) {
  const form = root.querySelector(".ask");
  const { question, kind, choices, scenes, save } = form.elements;
  kind.addEventListener("change", () => { choices.hidden = kind.value !== "choice"; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const state = dim("Waiting for the model …");
    const cell = element("div", { className: "cell" }, element("strong", { textContent: question.value }), state);
    form.after(cell);
    const answer = ({ scope, start_s: start, value, raw, fault, model }) => {
      const text = fault ? `${raw} (${fault})` : { true: "yes", false: "no" }[value] ?? value ?? raw;
      const made = `by ${model}, ${kind.value.replace("_", "/")}, ${new Date().toLocaleTimeString()}`;
      cell.append(element("p", { dir: "auto" }, ...(scope === "scene" ? timed(clock(start)) : []), ` ${text} `,
        element("span", { className: "generated", textContent: made })));
    };
    try {
      const job = await follow(await api("POST", "/ask", {
        videos: [root.dataset.video], question: question.value, kind: kind.value, scenes: scenes.checked, save: save.checked,
        choices: choices.hidden ? [] : choices.value.split(",").map((one) => one.trim()),
      }), { answer });
      state.textContent = job.state === "succeeded" ? "" : outcome(job);
    } catch (error) {
      state.textContent = error.message;
    }
  });
}

function retryStages(root) {
  const progress = root.querySelector(".run-progress");
  const stage = ({ stage: name, state, error, hint }) => {
    const badge = root.querySelector(`tr[data-stage="${CSS.escape(name)}"] .badge`);
    if (badge) Object.assign(badge, { textContent: state, className: `badge ${state}` });
    progress.textContent = [`${name}: ${state}`, error, hint].filter(Boolean).join(". ");
  };
  root.addEventListener("click", ({ target }) => target.dataset.retry !== undefined && attempt(async () => {
    const body = { videos: [root.dataset.video], retry: true };
    if (target.dataset.retry) body.stages = [target.dataset.retry];
    progress.textContent = "Starting a run …";
    const job = await follow(await api("POST", "/runs", body), { stage });
    progress.replaceChildren(`Run ${outcome(job)}. `, element("a", { href: location.href.split("#")[0], textContent: "Show the results" }));
  }));
}

function offerRemoval(root) {
  const dialog = document.getElementById("forget");
  const videos = [root.dataset.video];
  root.querySelector(".forget")?.addEventListener("click", () => attempt(async () => {
    const found = await api("POST", "/forget", { videos, dry_run: true });
    const [one] = found.items ?? found;
    const busy = one.state === "busy";
    const what = `Everything computed from ${one.name} is removed with its files: ${(one.freed_bytes / 1e6).toFixed(1)} MB.`;
    dialog.querySelector(".body").textContent = busy ? "A run is using the video. Try again later." : `${what} ${one.kept ? `${one.kept} is kept.` : ""}`;
    dialog.querySelector(".danger").disabled = busy;
    dialog.returnValue = "";
    dialog.showModal();
  }));
  dialog.addEventListener("close", () => dialog.returnValue && attempt(async () => {
    const job = await follow(await api("POST", "/forget", { videos }));
    if (job.state === "succeeded") location.assign("/");
    else say(`Removal ${outcome(job)}`, "error");
  }));
}

export function showFacts(root, path) {
  showReasons(root, path);
  showHistory(root, path);
  showSimilar(root, path);
  offerRemoval(root);
  if (!root.querySelector(".ask")) return; // the key may only read
  takeVerdicts(root);
  editLabels(root);
  takeQuestions(root);
  retryStages(root);
}
