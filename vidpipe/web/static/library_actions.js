// What is done to the selected videos.
import { api, ask, attempt, byId, element, follow, say } from "./base.js";
import { body, clear, videos, words } from "./library_selection.js";

const changed = () => dispatchEvent(new Event("library-changed"));

// Ask by a dialog; `plan` fills its output, again after each change.
function choose(id, plan) {
  const dialog = byId(id), form = dialog.querySelector("form"), output = dialog.querySelector("output");
  dialog.querySelector("[data-chosen]").textContent = words();
  form.reset();
  form.onchange = plan && (async () => {
    output.textContent = "Counting…";
    output.textContent = await plan(new FormData(form)).catch((error) => error.message);
  });
  form.onchange?.();
  return ask(dialog);
}

const request = (form, dry_run) => ({
  ...body(), stages: form.getAll("stages"), retry: form.has("retry"), force: form.has("force"), dry_run,
});
const actions = {
  async labels() {
    const known = document.querySelectorAll("[data-facet=label] a span:first-child");
    byId("known-labels").replaceChildren(...[...known].map((one) => element("option", { value: one.textContent })));
    const form = await choose("labels");
    const list = (name) => form.get(name).split(",").map((one) => one.trim()).filter(Boolean);
    if (!form) return;
    const done = await api("POST", "/labels", { ...body(), add: list("add"), remove: list("remove") });
    say(`Changed the labels of ${videos(done.changed)}.`);
    changed();
  },
  async run() {
    const form = await choose("run", async (given) => {
      const plan = await api("POST", "/runs", request(given, true));
      const due = Object.entries(plan.stages).filter(([, one]) => one.due + one.follows);
      const lines = due.map(([name, one]) => `${name}: ${videos(one.due + one.follows)}`);
      return lines.length ? [...lines, `About ${Math.ceil(plan.wall_seconds)} s`].join("\n") : "Nothing is due.";
    });
    if (form) follow(await api("POST", "/runs", request(form, false)), changed);
  },
  async export() {
    const form = await choose("export");
    if (!form) return;
    const { videos: ids = [], selection = { filters: [] } } = body(), query = new URLSearchParams(form);
    if (selection.q) query.set("q", selection.q);
    for (const filter of selection.filters) query.append("filter", filter);
    for (const id of ids) query.append("video", id);
    location.assign(`/api/v1/exports?${query}`);
  },
  async forget() {
    const button = document.querySelector("#forget .danger");
    button.disabled = true;
    const form = await choose("forget", async () => {
      const found = await api("POST", "/forget", { ...body(), dry_run: true });
      const free = found.filter((one) => one.state !== "busy");
      const megabytes = free.reduce((sum, one) => sum + one.freed_bytes, 0) / 1e6;
      const names = found.map((one) => one.name + (one.state === "busy" ? " (in use by a run: stays)" : ""));
      button.disabled = !free.length;
      return [`${videos(free.length)}, ${megabytes.toFixed(1)} MB`, ...names].join("\n");
    });
    if (!form) return;
    follow(await api("POST", "/forget", { ...body(), dry_run: false }), changed);
    clear();
  },
};
for (const button of document.querySelectorAll("[data-action]")) {
  button.onclick = () => attempt(actions[button.dataset.action]);
}
