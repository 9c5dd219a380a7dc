// Used by every page: requests to the API, messages, and the DOM.

function cookie(name) {
  const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
  return found ? found.slice(name.length + 1) : "";
}

export class ApiError extends Error {
  constructor(problem) {
    super(problem.hint ? `${problem.detail} ${problem.hint}` : problem.detail);
    this.status = problem.status;
  }
}

// Send a request to the API: `api("POST", "/labels", {...})`. Returns the JSON of the answer, or throws an ApiError.
export async function api(method, path, body, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (method !== "GET") headers["X-CSRF-Token"] = cookie("vidpipe_csrf");
  if (body !== undefined && !options.raw) headers["Content-Type"] = "application/json";
  const response = await fetch(`/api/v1${path}`, {
    method, headers, signal: options.signal,
    body: body === undefined ? undefined : options.raw ? body : JSON.stringify(body),
  });
  if (options.response) return response;
  const json = response.headers.get("content-type")?.includes("json") ? await response.json() : null;
  if (!response.ok) throw new ApiError(json ?? { detail: response.statusText, status: response.status });
  return json;
}

// Show a message at the bottom of the page; an error stays until it is closed.
export function say(text, kind = "info") {
  const close = element("button", { type: "button", className: "link", textContent: "Close", onclick: () => box.remove() });
  const box = element("p", { className: `message ${kind}` }, text, " ", close);
  byId("messages").append(box);
  if (kind !== "error") setTimeout(() => box.remove(), 6000);
}

// Run an action of the user and show its error, if any.
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, "error");
    return undefined;
  }
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// 3725.4 -> "1:02:05"
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

document.querySelector("[data-sign-out]")?.addEventListener("click", () => attempt(async () => {
  await api("DELETE", "/session");
  location.assign("/login");
}));

// A form with data-method sends its fields to the API; then the page is shown again.
document.addEventListener("submit", (event) => {
  const form = event.target, { method } = form.dataset;
  if (!method) return;
  event.preventDefault();
  attempt(async () => {
    await api(method, form.getAttribute("action"), Object.fromEntries(new FormData(form)));
    location.reload();
  });
});

// The document at an address.
export const fetchPage = async (address, options) =>
  new DOMParser().parseFromString(await (await fetch(address, options)).text(), "text/html");

export const byId = (id) => document.getElementById(id);

// Show the dialog around a form. Returns what it holds, or null: cancelled.
export function ask(form) {
  const dialog = form.parentElement;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "ok" ? new FormData(form) : null);
  });
}

// Show a job's progress; returns its events.
export function follow(job, ended) {
  const text = element("span"), bar = element("progress", { ariaLabel: "Progress" });
  const cancel = element("button", { textContent: "Cancel" }), link = element("a", { href: "/status", textContent: "Status" });
  const box = element("div", { className: "message card" }, text, bar, cancel, link);
  byId("messages").append(box);
  cancel.onclick = () => attempt(() => api("POST", `/runs/${job.id}/cancel`));
  const events = new EventSource(`/api/v1/runs/${job.id}/events`);
  events.addEventListener("stage", ({ data }) => {
    text.textContent = `${JSON.parse(data).name}: ${JSON.parse(data).stage}`;
  });
  events.addEventListener("job", ({ data }) => {
    const { kind, state, progress, error } = JSON.parse(data);
    if (progress.total) Object.assign(bar, { max: progress.total, value: progress.done });
    text.textContent = `${kind} ${state}`;
    if (/queued|running/.test(state)) return;
    events.close();
    box.remove();
    say(`${kind} ${state}. ${error?.message ?? ""}`, state === "failed" ? "error" : "info");
    ended(state);
  });
  return events;
}
