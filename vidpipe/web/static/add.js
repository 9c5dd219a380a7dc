// Adds URLs, lists and files, and follows the jobs of `?run=…` until their videos are tagged.
import { api, ApiError, attempt, element, say } from "./base.js";

const $ = (id) => document.getElementById(id);
const text = (node, words) => (node.textContent = words);
const LIST = /\.(csv|tsv|txt|list|urls|lst)$/i;
const STAGES = $("add").dataset.stages;
const kept = sessionStorage;
const items = new Map(); // input or sha256 -> what is shown of it
const running = new Set(); // ids of jobs
let queue = []; // files to upload
let listed; // the list in the preview

const action = (textContent, work) =>
  element("button", { type: "button", textContent, onclick: () => attempt(work) });

function item(input, name = input) {
  if (items.has(input)) return items.get(input);
  const [label, state, buttons] = ["name", "state", "buttons"].map((className) => element("span", { className }));
  const one = { label, state, buttons, bar: element("progress"), error: element("p", { className: "error" }), done: 0 };
  one.bar.ariaLabel = text(label, name);
  one.row = element("li", {}, label, state, one.bar, one.error, buttons);
  $("items").append(one.row);
  items.set(input, one);
  return one;
}

function show(one, words, fraction = 0, ended = "", error = "", ...buttons) {
  text(one.state, words);
  text(one.error, error);
  one.state.className = `state ${ended}`;
  one.bar.hidden = one.ended = ended;
  one.bar.value = fraction;
  one.buttons.replaceChildren(...buttons);
  const all = [...new Set(items.values())];
  const [good, bad] = ["tagged", "failed"].map((state) => all.filter((other) => other.ended === state).length);
  const summary = `${good} of ${all.length} tagged${bad ? `, ${bad} failed` : ""}.`;
  if ($("summary").textContent !== summary) text($("summary"), summary);
  $("progress").hidden = false;
}

// `path` and `body`: the request that tries again.
function fail(one, { error, hint = "" }, path, body) {
  const retry = action("Retry", async () => {
    const job = await api("POST", path, body);
    one.done = 0;
    show(one, "waiting");
    follow(job.id);
  });
  show(one, "failed", 0, "failed", `${error} ${hint}`, ...(path ? [retry] : []));
}

const on = {
  source(data) {
    const one = item(data.input);
    if (data.error) return fail(one, data, data.source && "/sources/retry", { ids: [data.source] });
    if (data.video) {
      one.label.replaceChildren(element("a", { href: `/videos/${data.video}`, textContent: data.name }));
      items.set(data.video, one);
    }
    show(one, data.state);
  },
  bytes({ input, received, total }) {
    const of = total ? ` of ${(total / 1e6).toFixed(1)}` : "";
    show(item(input), `${(received / 1e6).toFixed(1)}${of} MB`, total ? received / total : 0);
  },
  stage(data) {
    const one = item(data.video, data.name);
    if (data.state === "failed") return fail(one, data, "/runs", { videos: [data.video], retry: true });
    if (one.ended) return;
    if (data.state !== "started") one.done += 1;
    const tagged = data.stage === "tags" && /^cur|^com/.test(data.state) ? "tagged" : "";
    show(one, tagged || data.stage, one.done / STAGES, tagged);
  },
  progress({ video, stage, fraction }) {
    const one = item(video);
    if (!one.ended) show(one, `${stage} ${Math.round(100 * fraction)} %`, (one.done + fraction) / STAGES);
  },
  job({ id, state, error }, events) {
    if (/queued|running/.test(state)) return;
    leave(id, events, error && `${error.message} ${error.hint}`);
    if (running.size) return;
    for (const one of items.values()) if (!one.ended && !one.file) show(one, state, 1, "over");
  },
};

function leave(id, events, error) {
  events.close();
  running.delete(id);
  $("cancel").hidden = !running.size;
  if (error) say(error, "error");
}

function follow(id) {
  const address = new URL(location);
  if (!address.searchParams.has("run", id)) address.searchParams.append("run", id);
  history.replaceState(null, "", address);
  running.add(id);
  $("progress").hidden = $("cancel").hidden = false;
  const events = new EventSource(`/api/v1/runs/${id}/events`);
  for (const name in on) events.addEventListener(name, (event) => on[name](JSON.parse(event.data), events));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) leave(id, events, "The server no longer knows this job.");
  };
}

async function start(body) {
  const labels = $("labels").value.split(",").map((label) => label.trim()).filter(Boolean);
  follow((await api("POST", "/sources", { labels, ...body })).id);
}

async function tus(method, path, more, body, signal) {
  const headers = { "Tus-Resumable": "1.0.0", ...more };
  const answer = await api(method, `/uploads${path}`, body, { raw: true, response: true, signal, headers });
  if (answer.ok || [404, 409, 423].includes(answer.status)) return answer;
  throw new ApiError(await answer.json());
}

// Upload a file in parts of some seconds each; a pause or a lost connection interrupts one. Returns its id.
async function upload(file, one, key) {
  let id = kept[key];
  let [offset, size, faults] = [-1, 1 << 20, 0];
  while (offset < file.size) {
    await one.paused;
    try {
      if (!id) {
        const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
        const made = await tus("POST", "", { "Upload-Length": file.size, "Upload-Metadata": `filename ${name}` });
        id = kept[key] = made.headers.get("Location").split("/").pop();
      }
      const began = Date.now();
      const headers = { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      one.abort = new AbortController();
      const answer = offset < 0 ? await tus("HEAD", `/${id}`)
        : await tus("PATCH", `/${id}`, headers, file.slice(offset, offset + size), one.abort.signal);
      if (answer.status === 404) id = "";
      offset = answer.ok ? +answer.headers.get("Upload-Offset") : -1;
      faults = answer.ok ? 0 : faults + 1;
      size = Date.now() - began < 2000 ? Math.min(2 * size, 1 << 25) : Math.max(size / 2, 1 << 16);
    } catch (error) {
      [offset, size] = [-1, 1 << 18];
      if (error.name !== "AbortError") faults += error instanceof ApiError ? 99 : 1;
      if (faults > 9) throw error;
    }
    if (faults) await new Promise((done) => setTimeout(done, 400 * faults));
    one.bar.value = Math.max(0, offset) / file.size;
  }
  return id;
}

async function uploadAll() {
  const done = [];
  for (const [file, one, input] of queue.splice(0)) {
    const key = `${input} ${file.size}`;
    const pause = action("Pause", () => {
      if (one.resume) one.resume = one.resume();
      else {
        one.paused = new Promise((resume) => (one.resume = resume));
        one.abort?.abort();
      }
      text(one.state, one.resume ? "paused" : "uploading");
      text(pause, one.resume ? "Resume" : "Pause");
    });
    show(one, "uploading", 0, "", "", pause);
    try {
      done.push([await upload(file, one, key), key, one, input]);
      show(one, "uploaded", 1);
    } catch (error) {
      delete kept[key];
      fail(one, { error: error.message });
    }
  }
  if (!done.length) return;
  await start({ uploads: done.map(([id]) => id) });
  for (const [, key, one, input] of done) {
    delete kept[key];
    items.delete(input);
    one.row.remove();
  }
}

async function preview(body, name) {
  const headers = { "Content-Type": "text/plain" };
  listed = await api("POST", `/sources/preview?name=${encodeURIComponent(name)}`, body, { raw: true, headers });
  const { columns, rows, total, errors, notes } = listed;
  const read = Object.entries(columns).map((pair) => pair.join(" → ")).join(", ");
  if (!read && !errors) return add();
  text($("understood"), `${read && `Columns: ${read}. `}${total - errors} of ${total} lines can be added. ${notes.join(" ")}`);
  $("lines").replaceChildren(...rows.slice(0, 100).map(({ line, url, title, labels, error }) => element("tr", {},
    ...[line, url, title, labels.join(", "), error].map((textContent) => element("td", { textContent })))));
  text($("more"), total > 100 ? `… and ${total - 100} more lines.` : "");
  $("confirm").disabled = errors === total;
  $("preview").hidden = false;
  $("preview-title").focus();
}

async function add() {
  await start({ inputs: listed.rows.filter((row) => !row.error) });
  $("urls").value = "";
  $("preview").hidden = true;
}

function choose(files) {
  for (const file of files) {
    const input = `file ${file.name}`;
    if (LIST.test(file.name)) attempt(() => preview(file, file.name));
    else {
      const one = item(input, file.name);
      one.file = true;
      queue = [...queue.filter((other) => other[1] !== one), [file, one, input]];
      show(one, "ready to upload");
    }
  }
}

$("add").onsubmit = (event) => {
  event.preventDefault();
  const urls = $("urls").value.trim();
  if (urls) attempt(() => preview(urls, ""));
  else if (!queue.length) say("Enter a URL or choose a file.");
  attempt(uploadAll);
};
$("confirm").onclick = () => attempt(add);
$("discard").onclick = () => ($("preview").hidden = true);
$("cancel").onclick = () => running.forEach((id) => attempt(() => api("POST", `/runs/${id}/cancel`)));
$("files").onchange = ({ target }) => {
  choose(target.files);
  target.value = "";
};
for (const name of ["dragover", "dragleave", "drop"]) {
  $("drop")[`on${name}`] = (event) => {
    event.preventDefault();
    $("drop").className = name === "dragover" ? "over" : "";
    if (name === "drop") choose(event.dataTransfer.files);
  };
}

new URLSearchParams(location.search).getAll("run").slice(-4).forEach(follow);
for (const key in kept) {
  const [, input, name] = /^(file (.*)) \d+$/.exec(key) ?? [];
  if (input) show(item(input, name), "interrupted: choose the file again to resume");
}
