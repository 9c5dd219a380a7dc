// The page of one video: playback, and what follows it.
import { api, attempt, clock } from "./base.js";
import "./video_facts.js";
import { makeTimeline } from "./video_timeline.js";

const root = document.getElementById("video");
const find = (selector) => root.querySelector(selector);
const path = `/videos/${root.dataset.video}`;
const video = find("video");
const duration = Number(root.dataset.duration);
let wanted = Number(root.dataset.start); // where to go as soon as the video is loaded
let playWhenReady = root.dataset.play === "1";
const position = () => wanted ?? video.currentTime;
const play = () => video.play().catch(({ name }) => {
  if (video.muted || name !== "NotAllowedError") return;
  video.muted = true; // browsers refuse sound before the first click
  play();
});

function remember(name, value) {
  const url = new URL(location);
  url.searchParams.delete("t");
  url.searchParams.delete("scene");
  url.searchParams.set(name, value);
  history.replaceState(null, "", url);
}

function seek(time, scene) {
  const to = Math.max(0, Math.min(time, duration || time));
  if (video.readyState) video.currentTime = to;
  else wanted = to;
  remember(scene ? "scene" : "t", scene ?? to.toFixed(2));
  showPosition();
}

// Lists follow playback until the user scrolls them.
const lists = [...root.querySelectorAll(".strip, .lines, .scene-texts ol")];
const scenes = [...root.querySelectorAll(".strip > li")];
const sceneAt = (time) => scenes.findLastIndex((item) => item.dataset.start <= time + 0.02);
const followButton = find(".follow");
let moveTimeline = () => {};

function reveal(list) {
  const item = list.querySelector("[aria-current]");
  if (!item || !followButton.hidden || list.closest(".scene-texts")) return;
  list.scrollTo({ left: item.offsetLeft - list.clientWidth / 2 + 60, top: item.offsetTop - list.clientHeight / 3, behavior: "smooth" });
}

function showPosition() {
  const time = position() + 0.02;
  for (const list of lists) {
    const former = list.querySelector("[aria-current]");
    const item = [...list.children].findLast(({ dataset: { start, end } }) => start <= time && time < end);
    if (item === (former ?? undefined)) continue;
    former?.removeAttribute("aria-current");
    item?.setAttribute("aria-current", "true");
    reveal(list);
  }
  moveTimeline(position());
}

for (const list of lists) list.onwheel = list.ontouchmove = () => { followButton.hidden = false; };
followButton.onclick = () => {
  followButton.hidden = true;
  lists.forEach(reveal);
};
find(".transcript").addEventListener("input", ({ target }) => {
  const word = target.value.toLowerCase();
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
  if (playWhenReady) play();
  wanted = playWhenReady = null;
}
video.onloadedmetadata = loaded;
video.ontimeupdate = video.onseeked = showPosition;
video.onpause = () => video.seeking || remember("t", position().toFixed(2));

// Playback: the file itself, or a copy that browsers can play.
const cover = find(".cover");
const [said, bar, copyButton] = cover.children;

function offerCopy(reason, making) {
  said.textContent = making ? "Making a playable copy …" : reason;
  bar.hidden = !making;
  copyButton.hidden = making;
  cover.hidden = false;
}

function usePlayback({ playable, reason, url, proxy: { state, progress, error } }) {
  cover.hidden = true;
  if (playable || state === "ready") {
    if (video.src.startsWith(new URL(url, location))) return;
    wanted = position();
    video.src = url;
  } else {
    wanted = position();
    video.removeAttribute("src");
    video.load();
    offerCopy(error || reason, state === "making");
    bar.value = progress;
    if (state === "making") setTimeout(lookAgain, 700);
  }
}
const lookAgain = () => attempt(async () => usePlayback(await api("GET", `${path}/playback`)));
copyButton.onclick = () => attempt(async () => {
  playWhenReady = true;
  await api("POST", `${path}/proxy`);
  await lookAgain();
});
video.onerror = () => video.getAttribute("src") && offerCopy("This browser cannot play the file.", false);

function toScene(step) {
  const at = sceneAt(position());
  const again = step < 0 && position() - scenes[at]?.dataset.start > 1; // first to the start of this scene
  scenes[again ? at : at + step]?.querySelector("a").click();
}
function step(frames) {
  video.pause();
  seek(position() + frames * root.dataset.frame);
}
function toggle() {
  if (!cover.hidden) copyButton.click();
  else if (video.paused) play();
  else video.pause();
}
const by = (seconds) => () => seek(position() + seconds);
const showKeys = () => find("#keys").showModal();
const keys = {
  " ": toggle, k: toggle, j: by(-5), l: by(5), ArrowLeft: by(-5), ArrowRight: by(5), "?": showKeys,
  ",": () => step(-1), ".": () => step(1), "[": () => toScene(-1), "]": () => toScene(1),
};
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const native = /^( |Arrow.*)$/.test(key) ? "a, button, summary, video, .track, .scroll" : "dialog";
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest(`dialog, input, textarea, select, ${native}`)) return;
  const verdict = { y: "yes", n: "no" }[key];
  if (verdict) target.closest(".tag")?.querySelector(`button[data-verdict=${verdict}]`)?.click();
  else if (keys[key]) keys[key]();
  else return;
  event.preventDefault();
});
find(".keys").onclick = showKeys;

root.classList.add("js");
const where = (time) => `${clock(time)} of ${clock(duration)}, scene ${sceneAt(time) + 1}`;
moveTimeline = makeTimeline(find(".timeline"), { duration, seek, where, path });
showPosition();
await api("GET", `${path}/playback`).then(usePlayback, () => {});
if (video.readyState) loaded();
