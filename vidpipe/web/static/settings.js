// Filters the settings in force, and edits files for administrators.
import { api, attempt, byId, say } from "./base.js";

const [editor, view, text, fault] = ["editor", "view", "text", "fault"].map(byId);
if (editor) edit(`/settings/files/${editor.dataset.file}`);
if (view) filter();

function filter() {
  const state = new URLSearchParams(location.search);
  const { find, changed } = view.elements;
  find.value = state.get("find") ?? "";
  changed.checked = state.has("changed");
  const apply = () => {
    for (const row of document.querySelectorAll(".setting"))
      row.hidden = !row.dataset.words.toLowerCase().includes(find.value.toLowerCase()) || (changed.checked && !row.classList.contains("differs"));
    history.replaceState(null, "", `?${new URLSearchParams(new FormData(view))}`);
  };
  view.addEventListener("input", apply);
  view.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

async function edit(path) {
  let etag = "", saved = "";
  await attempt(async () => {
    const response = await api("GET", path, undefined, { response: true });
    const found = await response.json();
    if (!response.ok) throw new Error(found.detail);
    etag = response.headers.get("etag");
    text.value = found.text;
    saved = text.value;
  });
  editor.addEventListener("submit", async (event) => {
    event.preventDefault();
    const sent = text.value;
    fault.textContent = "";
    try {
      const answer = await api("PUT", path, { text: sent }, { headers: { "If-Match": etag } });
      [etag, saved] = [answer.etag, sent];
      say(`Saved. ${answer.note}`);
    } catch (error) {
      fault.textContent = error.message;
      const line = /line (\d+)/.exec(error.message)?.[1];
      if (!line) return;
      const start = sent.split("\n", line - 1).join("\n").length + (line > 1);
      text.focus();
      text.setSelectionRange(start, start + sent.split("\n")[line - 1].length);
    }
  });
  addEventListener("beforeunload", (event) => { if (text.value !== saved) event.preventDefault(); });
}
