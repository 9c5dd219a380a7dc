// The timeline: a lane for each kind of thing, and a slider over all of them.
import { api, clock, element } from "./base.js";

function styled(className, style) {
  const made = element("div", { className });
  Object.assign(made.style, style);
  return made;
}

// Show the last frame of the storyboard up to `time`.
function showTile(tile, { url, columns, rows, width, height, times_s: times }, time) {
  const index = Math.max(0, times.filter((one) => one <= time).length - 1);
  const share = (place, count) => `${(100 * place) / Math.max(1, count - 1)}%`;
  Object.assign(tile.style, {
    backgroundImage: `url("${encodeURI(url)}")`, backgroundSize: `${columns * 100}% ${rows * 100}%`,
    backgroundPosition: `${share(index % columns, columns)} ${share(Math.floor(index / columns), rows)}`,
    aspectRatio: width / height, width: `min(100%, ${(8 * width) / height}rem)`,
  });
}

// Fill `box`; `seek(time)` goes to what the user chooses, `where(time)` puts a time into words. Returns what moves it.
export function makeTimeline(box, { duration, seek, where, path }) {
  const lanes = JSON.parse(box.dataset.lanes);
  if (!lanes.length) return () => {};
  const share = (time) => `${(100 * Math.min(time, duration)) / duration}%`;
  const bar = ([start, end, , score]) => styled(score > 0 ? "good" : score < 0 ? "bad" : "", {
    left: share(start), width: share(end - start), ...(score && { height: `${50 * Math.abs(score)}%` }),
  });
  const [head, tile, words] = ["playhead", "tile", "words"].map((name) => styled(name));
  const peek = element("div", { className: "peek", hidden: true }, tile, words);
  const track = element("div", {
    className: "track", tabIndex: 0, role: "slider", ariaLabel: "Timeline", ariaValueMin: 0, ariaValueMax: Math.round(duration),
  }, ...lanes.map(([kind, , spans]) => element("div", { className: `lane ${kind}` }, ...spans.map(bar))), head);
  box.append(
    element("div", {}, ...lanes.map(([kind, name]) => element("div", { className: `name ${kind}`, textContent: name }))),
    element("div", { className: "tracks" }, track, peek),
  );
  let now = 0;
  let storyboard;

  // The time at the pointer, of which a preview is shown.
  function pointed({ clientX, clientY }) {
    const { left, top, width, height } = track.getBoundingClientRect();
    const time = Math.max(0, Math.min(1, (clientX - left) / width)) * duration;
    const [, name, spans] = lanes[Math.floor(((clientY - top) / height) * lanes.length)] ?? [, "", []];
    const near = (4 * duration) / width;
    const here = spans.find(([start, end]) => start - near <= time && time <= end + near);
    words.textContent = here ? `${clock(time)} ${name}: ${here[2]}` : clock(time);
    peek.hidden = false;
    peek.style.left = `clamp(5rem, ${share(time)}, calc(100% - 5rem))`;
    storyboard ??= api("GET", `${path}/storyboard`).catch(() => null);
    storyboard.then((found) => found?.times_s.length && showTile(tile, found, time));
    return time;
  }
  track.onpointermove = (event) => {
    const time = pointed(event);
    if (event.buttons & 1) seek(time);
  };
  track.onpointerdown = (event) => {
    track.setPointerCapture(event.pointerId);
    seek(pointed(event));
  };
  track.onpointerleave = () => { peek.hidden = true; };
  track.onkeydown = (event) => {
    const step = event.shiftKey ? 1 : 5;
    const moves = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, Home: -duration, End: duration };
    const to = now + moves[event.key];
    if (isNaN(to)) return;
    event.preventDefault();
    seek(to);
  };
  return (time) => {
    now = time;
    head.style.left = share(time);
    Object.assign(track, { ariaValueNow: Math.round(time), ariaValueText: where(time) });
  };
}
