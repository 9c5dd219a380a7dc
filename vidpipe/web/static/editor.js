// The editor of a file; of rules, also their check while they are written, and their plan.
import { api, attempt, byId, element, fetchPage, follow, say } from "./base.js";

const [editor, text, fault, findings, planned] = ["editor", "text", "fault", "findings", "planned"].map(byId);
const draft = () => ({ name: editor.elements.name.value, text: text.value });
let saved = text?.value, waiting;

function jump(line) {
  if (!line) return;
  const lines = text.value.split("\n"), start = lines.slice(0, line - 1).join("\n").length + (line > 1);
  text.focus();
  text.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  text.scrollTop = text.scrollHeight * (line - 5) / lines.length;
}

async function check() {
  const sent = text.value;
  const found = await attempt(() => api("POST", "/rules/check", draft()));
  if (!found || text.value !== sent) return;
  findings.replaceChildren(...found.map(({ level, sentence, hint, line }) => element(
    "li", {}, element("b", { className: `badge ${level}`, textContent: level }), " ",
    line ? element("button", { type: "button", className: "link", textContent: `Line ${line}`, onclick: () => jump(line) }) : "", ` ${sentence} ${hint}`)));
  if (!found[0]) findings.append(element("li", { textContent: "Nothing is wrong." }));
}

async function show(plan) {
  planned.replaceChildren(...(await fetchPage(`/rules/plan/${plan}`)).getElementById("plan").childNodes);
  planned.focus();
}

document.addEventListener("click", ({ target: { dataset } }) => dataset.do && attempt(async () => {
  const plans = dataset.do === "plan", job = await api("POST", `/rules/${dataset.do}`, plans ? editor && draft() : dataset);
  follow(job, (state) => {
    if (state !== "succeeded") return;
    if (plans) return attempt(() => show(job.id));
    saved = text?.value;
    location.reload();
  });
}));

if (editor) {
  editor.onsubmit = async (event) => {
    event.preventDefault();
    const { name, text: sent } = draft();
    fault.textContent = "";
    try {
      const answer = await api("PUT", `/settings/files/${name}`, { text: sent }, { headers: { "If-Match": editor.dataset.etag } });
      [editor.dataset.etag, saved, editor.elements.name.readOnly] = [answer.etag, sent, true];
      say(`Saved. ${answer.note}`);
    } catch (error) {
      fault.textContent = error.message;
      jump(/line (\d+)/.exec(error.message)?.[1]);
    }
  };
  addEventListener("beforeunload", (event) => { if (text.value !== saved) event.preventDefault(); });
  jump(editor.dataset.line);
}
if (findings) {
  editor.oninput = editor.onchange = () => {
    clearTimeout(waiting);
    waiting = setTimeout(check, 400);
  };
  check();
}
