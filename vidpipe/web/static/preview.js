// Shows the storyboard of a video: the pointer's place chooses the picture; with the keyboard, time does.
import { api, byId, element } from "./base.js";

const DWELL_MS = 120, STEP_MS = 500, SHAPE = 16 / 9;
const results = byId("results"), boards = new Map();
let shown;

async function load(video) {
  const board = await api("GET", `/videos/${video}/storyboard`), picture = new Image();
  picture.src = board.url;
  await picture.decode();
  return board;
}

function draw() {
  const { view, bar, board: { columns, rows, times_s: times }, share } = shown, at = Math.floor(share * times.length);
  const place = (index, count) => `${count > 1 ? (index / (count - 1)) * 100 : 0}%`;
  view.style.backgroundPosition = `${place(at % columns, columns)} ${place(Math.floor(at / columns), rows)}`;
  bar.style.width = `${share * 100}%`;
}

function close() {
  clearTimeout(shown?.timer);
  shown?.view?.remove();
  shown = null;
}

function open(thumb, ticks) {
  close();
  const mine = shown = { thumb, ticks, share: 0 };
  const tick = () => {
    draw();
    mine.share = (mine.share + 1 / mine.board.times_s.length) % 1;
    mine.timer = setTimeout(tick, STEP_MS);
  };
  mine.timer = setTimeout(async () => {
    const { video } = thumb.closest(".item").dataset;
    if (!boards.has(video)) boards.set(video, load(video).catch(() => null));
    const board = await boards.get(video);
    if (shown !== mine || !board?.times_s.length) return;
    const bar = element("span", { className: "played" }), view = element("span", { className: "preview" }, bar);
    const shape = board.width / board.height / SHAPE;
    Object.assign(view.style, {
      width: `${Math.min(1, shape) * 100}%`, height: `${Math.min(1, 1 / shape) * 100}%`,
      backgroundImage: `url("${board.url}")`, backgroundSize: `${board.columns * 100}% ${board.rows * 100}%`,
    });
    thumb.querySelector("img").after(view);
    Object.assign(mine, { board, view, bar });
    (ticks ? tick : draw)();
  }, DWELL_MS);
}

results.onpointermove = ({ target, pointerType, clientX }) => {
  const thumb = pointerType !== "touch" && target.closest(".has-picture");
  if (!thumb) return shown?.ticks || close();
  if (shown?.thumb !== thumb || shown.ticks) open(thumb);
  const { left, width } = thumb.getBoundingClientRect();
  shown.share = Math.min(0.999, Math.abs(clientX - left) / width);
  return shown.view && draw();
};
results.onpointerleave = close;
results.addEventListener("focusin", ({ target }) => {
  const thumb = target.matches(":focus-visible") && target.querySelector(".has-picture");
  if (thumb && !matchMedia("(prefers-reduced-motion: reduce)").matches) open(thumb, true);
});
results.addEventListener("focusout", close);
