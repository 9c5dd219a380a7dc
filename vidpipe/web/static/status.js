// Stages, runs, failures and throughput; refreshed every 5 s while the page is visible.
import { api, attempt, byId as id, element, say } from "./base.js";

const STATES = ["current", "due", "blocked", "failed", "quarantined"];
const shown = {}, retry = id("retry"); // only there for those who may
let dagster = "", failed = [], sources = [], turn = 0, failing = false;

// Show children in a container if their data changed; the focus stays on the same link.
function show(name, data, make) {
  const box = id(name), text = JSON.stringify([data, dagster]);
  if (shown[name] === text) return;
  shown[name] = text;
  const focused = box.contains(document.activeElement) && document.activeElement.href;
  box.replaceChildren(...make());
  if (focused) [...box.querySelectorAll("a")].find((one) => one.href === focused)?.focus();
}

const link = (href, textContent) => element("a", { href, textContent, rel: "noopener noreferrer" });
const inDagster = (path, text) => dagster ? [" ", link(dagster + path, text)] : [];
const line = (...cells) => element("tr", {}, ...cells.map((one) => element("td", {}, ...[one].flat())));
const item = (one, ...title) => element("li", {}, ...title,
  element("p", { textContent: one.message }), element("p", { className: "dim", textContent: one.hint ?? "" }));

function stageLine([name, counts]) {
  const place = `/assets/${name}`;
  const title = [name, ...inDagster(place, "asset"), ...inDagster(`${place}?view=partitions`, "partitions")];
  if (counts.problem) {
    const made = line(title, `Cannot run: ${counts.problem.message} ${counts.problem.hint}`);
    made.lastChild.colSpan = 6;
    return made;
  }
  const bar = element("div", { className: "stack" });
  for (const state of STATES) {
    const part = element("span", { className: state });
    part.style.flexGrow = counts[state];
    bar.append(part);
  }
  return line(title, bar, ...STATES.map((state) => counts[state] && /failed|quar/.test(state)
    ? link(`?${new URLSearchParams({ stage: name, state })}#what-failed`, counts[state]) : counts[state]));
}

async function showStatus() {
  const found = await api("GET", "/status");
  dagster = /^https?:/.test(found.dagster) ? found.dagster.replace(/\/$/, "") : "";
  const listed = (texts) => texts.join(", ") || "none";
  id("summary").textContent = `${found.videos} videos, ${found.due_videos} due; `
    + `sources: ${listed(Object.entries(found.sources).map(([name, number]) => `${number} ${name}`))}; `
    + `${(found.free_bytes / 1e9).toFixed(1)} GB free; servers: ${listed(found.services.map((one) => one.title))}. `
    + `Due videos ${found.by_itself ? "are processed automatically" : "wait for a run"}.`;
  const waiting = [...found.waiting, ...found.services_down.map((one) => `Down: ${one.title}. ${one.reason}`)];
  id("waiting").parentElement.hidden = !waiting.length;
  show("waiting", waiting, () => waiting.map((textContent) => element("li", { textContent })));
  show("stages", found.stages, () => Object.entries(found.stages).map(stageLine));
}

async function showRuns() {
  const { items, recorded } = await api("GET", "/runs?limit=10");
  const active = items.filter((job) => /queued|running/.test(job.state));
  const time = (one) => one.began_at ? new Date(one.began_at).toLocaleString() : "";
  show("runs", [active, recorded], () => [
    ...active.map((job) => line(job.kind, job.state, job.by, time(job), `${job.progress.done} of ${job.progress.total} steps`)),
    ...recorded.map((run) => line([run.job, ...inDagster(`/runs/${run.id}`, "log")], run.status, run.by, time(run), `${run.videos} videos`)),
    ...active[0] || recorded[0] ? [] : [line("None yet.")]]);
}

async function showFailures() {
  const found = await api("GET", `/failures${location.search}`);
  failed = [...new Set(found.stages.map((one) => one.video))];
  sources = found.sources.map((one) => one.id);
  if (retry) retry.hidden = !(failed[0] ?? sources[0]);
  const all = [
    ...found.stages.map((one) => [one, link(`/videos/${one.video}`, one.name), ` ${one.stage}: ${one.state}, attempts: ${one.attempts}`]),
    ...found.sources.map((one) => [one, `${one.url}: ${one.state}`]), ...found.lists.map((one) => [one, one.where]),
    ...found.gone.map((one) => [one, `${one.url}: gone since ${new Date(one.gone_since).toLocaleDateString()}`])];
  show("failures", found, () => all.map((one) => item(...one)));
}

function plot(title, rows) {
  const svg = (tag, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    made.textContent = text;
    return made;
  };
  const drawn = svg("svg", { viewBox: `0 0 400 ${rows.length * 18}`, role: "img", "aria-label": rows.join("; ") });
  const most = Math.max(...rows.map((row) => row[1])) || 1;
  rows.forEach(([name, value], row) => drawn.append(
    svg("text", { x: 0, y: row * 18 + 13 }, name),
    svg("rect", { x: 120, y: row * 18 + 3, width: value / most * 210, height: 12 }),
    svg("text", { x: 336, y: row * 18 + 13 }, value.toLocaleString([], { maximumFractionDigits: 2 }))));
  return element("figure", {}, element("figcaption", { textContent: title }), drawn);
}

async function showPlots() {
  const { days, stages, runs } = await api("GET", "/stats?days=14");
  show("plots", [days, stages], () => [
    plot("Videos added per day", days.map((one) => [one.day, one.videos])),
    plot(`Results per day; ${Math.round(runs.results_per_hour ?? 0)} per hour of work`, days.map((one) => [one.day, one.computed])),
    plot("Median seconds per video", Object.entries(stages).map(([name, one]) => [name, one.median_s]))]);
}

async function refresh() {
  if (document.hidden) return;
  try {
    await showStatus();
    await Promise.all([showRuns(), showFailures(), turn++ % 12 || showPlots()]);
    failing = false;
  } catch (error) {
    failing ||= say(error.message, "error") ?? true;
  }
}

if (retry) retry.onclick = () => attempt(async () => {
  if (failed[0]) await api("POST", "/runs", { videos: failed, retry: true });
  if (sources[0]) await api("POST", "/sources/retry", { ids: sources });
  say("Retry started.");
});
refresh();
setInterval(refresh, 5000);
