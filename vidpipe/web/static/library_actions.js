// What is done to the selected videos.
import { api, ask, attempt, byId, follow, say } from "./base.js";
import { body, chosenQuery, clear, videos, words } from "./library_selection.js";

const changed = () => dispatchEvent(new Event("library-changed"));

// Ask by a form in a dialog; `plan` fills its output, again after each change.
function choose(name, plan) {
  const form = document.forms[name], { chosen, plan: output } = form.elements;
  form.reset();
  chosen.value = words();
  form.onchange = plan && (async () => {
    output.value = "Counting…";
    output.value = await plan(new FormData(form)).catch((error) => error.message);
  });
  form.onchange?.();
  return ask(form);
}

const request = (form, dry_run) => ({
  ...body(), stages: form.getAll("stages"), retry: form.has("retry"), force: form.has("force"), dry_run,
});
const actions = {
  async labels() {
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
    const query = chosenQuery();
    for (const [name, value] of form) query.set(name, value);
    location.assign(`/api/v1/exports?${query}`);
  },
  async forget() {
    const button = document.forms.forget.elements.ok;
    button.disabled = true;
    const form = await choose("forget", async () => {
      const { videos: found } = await api("POST", "/forget", { ...body(), dry_run: true });
      const megabytes = found.reduce((sum, one) => sum + one.freed_bytes, 0) / 1e6;
      button.disabled = !found.length;
      return [`${videos(found.length)}, ${megabytes.toFixed(1)} MB`, ...found.map(({ name, state, error }) => (state === "forgotten" ? name : `${name} (${error || "in use"}, stays)`))].join("\n");
    });
    if (!form) return;
    follow(await api("POST", "/forget", { ...body(), dry_run: false }), changed);
    clear();
  },
};
byId("actions").onclick = ({ target: { dataset: { action } } }) => action && attempt(actions[action]);
