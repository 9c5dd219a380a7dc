// Adds URLs, lists and files, and follows the jobs of `?run=…`.
import { api, ApiError, attempt, byId as $, element, say } from "./base.js";

const text = (node, words) => (node.textContent = words);
const STAGES = $("add").dataset.stages;
const kept = sessionStorage;
const items = new Map(); // by input or sha256
const running = new Set();
const queue = new Set(); // to upload

const action = (textContent, work) =>
  element("button", { type: "button", textContent, onclick: () => attempt(work) });

function item(input, name = input) {
  if (items.has(input)) return items.get(input);
  const row = $("row").content.firstElementChild.cloneNode(true);
  const [label, state, bar, error, buttons] = row.children;
  const one = { row, label, state, bar, error, buttons, done: 0 };
  bar.ariaLabel = text(label, name);
  $("items").append(row);
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
  if (one.twin) show(one.twin, words, fraction, ended, error);
  const all = [...new Set(items.values())];
  const [good, bad] = ["tagged", "failed"].map((state) => all.filter(({ ended }) => ended === state).length);
  const sum = `${good} of ${all.length} tagged${bad ? `, ${bad} failed` : ""}.`;
  if ($("summary").textContent !== sum) text($("summary"), sum);
  $("progress").hidden = false;
}

function fail(one, { error, hint = "" }, path, body) {
  const retry = action("Retry", async () => {
    const { id } = await api("POST", path, body);
    show(one, "waiting", (one.done = 0));
    follow(id);
  });
  show(one, "failed", 0, "failed", `${error} ${hint}`, ...(path ? [retry] : []));
}

const on = {
  source(data) {
    const one = item(data.input);
    const { error, source, state, video } = data;
    if (error) return fail(one, data, source && "/sources/retry", { ids: [source] });
    if (!one.ended) show(one, state);
    if (!video) return;
    one.label.replaceChildren(element("a", { href: `/videos/${video}`, textContent: data.name }));
    const first = items.get(video) ?? one; // one file from two URLs
    if (first !== one) first.twin = one;
    items.set(video, first);
  },
  bytes({ input, received, total }) {
    const [done, all] = [received, total].map((size) => (size / 1e6).toFixed(1));
    show(item(input), `${done}${total ? ` of ${all}` : ""} MB`, total ? received / total : 0);
  },
  stage(data) {
    const one = item(data.video, data.name);
    if (data.state === "failed") return fail(one, data, "/runs", { videos: [data.video], retry: true });
    if (one.ended) return;
    if (data.state !== "started") one.done += 1;
    const tagged = data.stage === "tags" && /^c/.test(data.state) ? "tagged" : "";
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
  const query = new URLSearchParams(location.search);
  if (!query.has("run", id)) query.append("run", id);
  history.replaceState(null, "", `?${query}`);
  running.add(id);
  $("progress").hidden = $("cancel").hidden = false;
  const events = new EventSource(`/api/v1/runs/${id}/events`);
  for (const name in on) events.addEventListener(name, (event) => on[name](JSON.parse(event.data), events));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) leave(id, events, "This job is gone.");
  };
}

async function start(body) {
  const labels = $("labels").value.trim().split(/\s*,\s*/).filter(Boolean);
  const { id } = await api("POST", "/sources", { labels, ...body });
  for (const { url } of body.inputs ?? []) show(item(url), "waiting");
  follow(id);
}

async function tus(method, id, more, body, signal) {
  const headers = { "Tus-Resumable": "1.0.0", ...more };
  const answer = await api(method, `/uploads${id && `/${id}`}`, body, { raw: true, response: true, signal, headers });
  if (answer.ok || /404|409|423/.test(answer.status)) return answer;
  throw new ApiError(await answer.json());
}

// Upload a file in parts; returns its id.
async function upload(one) {
  const { file, key } = one;
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
      const headers = { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      one.abort = new AbortController();
      const part = file.slice(offset, offset + size);
      const answer = await (offset < 0 ? tus("HEAD", id) : tus("PATCH", id, headers, part, one.abort.signal));
      if (answer.status === 404) id = "";
      [offset, faults] = answer.ok ? [+answer.headers.get("Upload-Offset"), 0] : [-1, faults + 1];
      size = Math.min(2 * size, 1 << 23);
    } catch (error) {
      [offset, size] = [-1, 1 << 18];
      if (error.name !== "AbortError") faults += error.status ? 99 : 1;
      if (faults > 9) throw error;
    }
    if (faults) await new Promise((done) => setTimeout(done, 400 * faults));
    if (offset > 0) one.bar.value = offset / file.size;
  }
  return id;
}

async function uploadAll() {
  const done = [];
  for (const one of queue) {
    queue.delete(one);
    const pause = action("Pause", () => {
      if (one.resume) one.resume = one.resume();
      else one.paused = new Promise((resume) => (one.resume = resume));
      if (one.resume) one.abort?.abort();
      text(one.state, one.resume ? "paused" : "uploading");
      text(pause, one.resume ? "Resume" : "Pause");
    });
    show(one, "uploading", 0, "", "", pause);
    try {
      one.id = await upload(one);
      done.push(one);
      show(one, "uploaded", 1);
    } catch (error) {
      delete kept[one.key];
      fail(one, { error: error.message });
    }
  }
  if (!done.length) return;
  await start({ uploads: done.map(({ id }) => id) });
  for (const { key, row } of done) {
    delete kept[key];
    items.delete(key);
    row.remove();
  }
}

async function preview(body, name) {
  const path = `/sources/preview?name=${encodeURIComponent(name)}`;
  const { columns, rows, total, errors, notes } = await api("POST", path, body, { raw: true });
  const read = Object.entries(columns).map((pair) => pair.join(" → ")).join(", ");
  if (!read && !errors) return add(rows);
  const sums = `${total - errors} of ${total} lines can be added.`;
  text($("understood"), [read && `Columns: ${read}.`, ...notes, sums].join(" "));
  $("lines").replaceChildren(...rows.slice(0, 100).map(({ line, url, title, labels, error }) => element("tr", {},
    ...[line, url, title, labels.join(", "), error].map((textContent) => element("td", { textContent })))));
  $("confirm").disabled = errors === total;
  $("confirm").onclick = () => attempt(() => add(rows));
  $("preview").hidden = false;
  $("preview-title").focus();
}

async function add(rows) {
  await start({ inputs: rows.filter((row) => !row.error) });
  $("urls").value = "";
  $("preview").hidden = true;
}

function choose(files) {
  for (const file of files) {
    const key = `file ${file.name} ${file.size}`;
    if (/\.([ct]sv|txt|list|urls|lst)$/i.test(file.name)) attempt(() => preview(file, file.name));
    else {
      const one = Object.assign(item(key, file.name), { file, key });
      queue.add(one);
      show(one, "ready");
    }
  }
}

$("add").onsubmit = (event) => {
  event.preventDefault();
  const urls = $("urls").value.trim();
  if (urls) attempt(() => preview(urls, ""));
  else if (!queue.size) say("Enter a URL or choose a file.");
  attempt(uploadAll);
};
$("discard").onclick = () => ($("preview").hidden = true);
$("cancel").onclick = () => running.forEach((id) => attempt(() => api("POST", `/runs/${id}/cancel`)));
$("files").onchange = ({ target }) => {
  choose(target.files);
  target.value = "";
};
$("drop").ondragover = $("drop").ondragleave = $("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").className = event.type === "dragover" ? "over" : "";
  choose(event.dataTransfer.files);
};

new URLSearchParams(location.search).getAll("run").slice(-4).forEach(follow);
for (const key in kept) {
  const name = /^file (.*) \d+$/.exec(key)?.[1];
  if (name) show(item(key, name), "choose it again to resume");
}
