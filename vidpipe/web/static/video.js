// The page of one video: playback, and what follows it.
import { api, attempt, clock } from "./base.js";
import { showFacts } from "./video_facts.js";
import { makeTimeline } from "./video_timeline.js";

const root = document.getElementById("video");
const path = `/videos/${root.dataset.video}`;
const video = root.querySelector("video");
const duration = Number(root.dataset.duration);
let wanted = Number(root.dataset.start); // where to go as soon as the video is loaded
let playWhenReady = root.dataset.play === "1";
const position = () => wanted ?? video.currentTime;
const play = () => video.play().catch(() => {}); // browsers refuse sound before the first click

function remember(changes) {
  const url = new URL(location);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history.replaceState(null, "", url);
}

function seek(time, scene) {
  const to = Math.max(0, Math.min(time, duration || time));
  if (video.readyState) video.currentTime = to;
  else wanted = to;
  remember(scene ? { scene, t: undefined } : { t: to.toFixed(2), scene: undefined });
  showPosition();
}

// Scenes and lines follow playback until the user scrolls them.
const lists = [...root.querySelectorAll(".strip, .lines, .scene-texts ol")].map((list) => {
  const items = [...list.children];
  const times = (name) => items.map((item) => Number(item.dataset[name]));
  return { list, items, starts: times("start"), ends: times("end"), following: !list.closest(".scene-texts") };
});
const [strip] = lists.filter(({ list }) => list.matches(".strip"));
const followButton = root.querySelector(".follow");
let timeline;

function lastBefore(starts, time) {
  const later = starts.findIndex((start) => start > time + 0.02);
  return (later < 0 ? starts.length : later) - 1;
}

function reveal({ list, current, following }) {
  if (!current || !following) return;
  const { offsetLeft: left, offsetTop: top } = current;
  list.scrollTo({ left: left - list.clientWidth / 2 + 60, top: top - list.clientHeight / 3, behavior: "smooth" });
}

function showPosition() {
  const time = position();
  for (const one of lists) {
    const at = lastBefore(one.starts, time);
    const item = time < one.ends[at] + 0.02 ? one.items[at] : undefined;
    if (item !== one.current) {
      one.current?.removeAttribute("aria-current");
      item?.setAttribute("aria-current", "true");
      one.current = item;
      reveal(one);
    }
  }
  timeline?.show(time);
}

for (const one of lists.filter(({ following }) => following)) {
  for (const kind of ["wheel", "touchmove"]) {
    one.list.addEventListener(kind, () => {
      one.following = followButton.hidden = false;
      one.paused = true;
    }, { passive: true });
  }
}
followButton.addEventListener("click", () => {
  followButton.hidden = true;
  for (const one of lists.filter(({ paused }) => paused)) {
    one.following = true;
    reveal(one);
  }
});

root.querySelector(".filter").addEventListener("input", ({ target }) => {
  const word = target.value.trim().toLowerCase();
  for (const line of root.querySelectorAll(".lines > li")) line.hidden = !line.textContent.toLowerCase().includes(word);
});

root.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-t]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  seek(Number(link.dataset.t), link.dataset.scene);
  const { top, bottom } = video.getBoundingClientRect();
  if (bottom < 100 || top > innerHeight - 100) video.scrollIntoView({ block: "center" });
});

function loaded() {
  if (wanted !== null) video.currentTime = wanted;
  wanted = null;
  if (playWhenReady) play();
  playWhenReady = false;
}
video.addEventListener("loadedmetadata", loaded);
for (const kind of ["timeupdate", "seeked"]) video.addEventListener(kind, showPosition);
video.addEventListener("pause", () => remember({ t: video.currentTime.toFixed(2), scene: undefined }));

// Playback: the file itself, or a copy that browsers can play.
const cover = root.querySelector(".cover");
const [said, bar, copyButton] = cover.children;

function offerCopy(reason, making) {
  said.textContent = reason;
  bar.hidden = !making;
  copyButton.hidden = making;
  cover.hidden = false;
}

async function usePlayback({ playable, reason, url, proxy }) {
  cover.hidden = true;
  if (playable || proxy.state === "ready") {
    if (!video.src.startsWith(new URL(url, location))) {
      wanted = position();
      video.src = url;
    }
    return;
  }
  video.removeAttribute("src");
  video.load();
  offerCopy(proxy.error || reason, proxy.state === "making");
  if (proxy.state !== "making") return;
  said.textContent = "Making a playable copy …";
  bar.value = proxy.progress;
  setTimeout(lookAgain, 700);
}

const lookAgain = () => attempt(async () => usePlayback(await api("GET", `${path}/playback`)));
copyButton.addEventListener("click", () => attempt(async () => {
  playWhenReady = true;
  await api("POST", `${path}/proxy`);
  await lookAgain();
}));
video.addEventListener("error", () => video.error && video.src && offerCopy("This browser cannot play the file.", false));

// Keys
function toScene(step) {
  const at = lastBefore(strip.starts, position());
  const again = step < 0 && position() - strip.starts[at] > 1; // back to the start of this scene first
  strip.items[again ? at : at + step]?.querySelector("a").click();
}
function step(frames) {
  video.pause();
  seek(position() + frames * Number(root.dataset.frame));
}
function toggle() {
  if (!cover.hidden && !copyButton.hidden) copyButton.click();
  else if (video.paused) play();
  else video.pause();
}
const [back, forward] = [-5, 5].map((by) => () => seek(position() + by));
const keys = {
  " ": toggle, k: toggle, j: back, l: forward, ArrowLeft: back, ArrowRight: forward,
  ",": () => step(-1), ".": () => step(1), "[": () => toScene(-1), "]": () => toScene(1),
  "?": () => document.getElementById("keys").showModal(),
};
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const native = /^( |Arrow.*)$/.test(key) ? "a, button, summary, video, .track, .strip, .scroll" : "input";
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest(`dialog, input, textarea, select, ${native}`)) return;
  const verdict = { y: "yes", n: "no" }[key];
  if (verdict) target.closest(".tag")?.querySelector(`button[data-verdict=${verdict}]`)?.click();
  else if (keys[key]) keys[key]();
  else return;
  event.preventDefault();
});
root.querySelector(".keys").addEventListener("click", keys["?"]);

root.classList.add("js");
const where = (time) => `${clock(time)} of ${clock(duration)}${strip ? `, scene ${lastBefore(strip.starts, time) + 1}` : ""}`;
timeline = makeTimeline(root.querySelector(".timeline"), { duration, seek, where, path });
showFacts(root, path);
showPosition();
await api("GET", `${path}/playback`).then(usePlayback, () => {});
if (video.readyState) loaded();
