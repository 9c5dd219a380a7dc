// The timeline of a video: a lane for each kind of thing whose time is known, and a slider over all of them.
import { api, clock, element } from "./base.js";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function bar(duration, [start, end, , score]) {
  const width = Math.max(end - start, duration / 400);
  const x = Math.min(start, duration - width);
  if (score === undefined) return svg("rect", { x, y: 1, width, height: 8 });
  const height = Math.max(0.7, 4.5 * Math.abs(score));
  const kind = score >= 0.05 ? "good" : score <= -0.05 ? "bad" : "neutral";
  return svg("rect", { x, y: score > 0 ? 5 - height : 5, width, height, class: kind });
}

function lane(duration, [kind, , spans]) {
  const box = { viewBox: `0 0 ${duration} 10`, preserveAspectRatio: "none", "aria-hidden": true, class: `lane ${kind}` };
  return svg("svg", box, ...spans.map((span) => bar(duration, span)));
}

// Show the last frame of the storyboard up to `time`.
function showTile(tile, { url, columns, rows, width, height, times_s: times }, time) {
  const index = Math.max(0, times.filter((one) => one <= time).length - 1);
  const share = (place, count) => `${(100 * place) / Math.max(1, count - 1)}%`;
  Object.assign(tile.style, {
    backgroundImage: `url("${encodeURI(url)}")`, backgroundSize: `${columns * 100}% ${rows * 100}%`,
    backgroundPosition: `${share(index % columns, columns)} ${share(Math.floor(index / columns), rows)}`,
    aspectRatio: `${width} / ${height}`,
  });
}

// Fill `box`; `seek(time)` goes to what the user chooses, `where(time)` puts a time into words.
export function makeTimeline(box, { duration, seek, where, path }) {
  const lanes = JSON.parse(box.dataset.lanes);
  if (!lanes.length || !duration) return undefined;
  const [head, tile, words] = ["playhead", "tile", "words"].map((className) => element("div", { className }));
  const peek = element("div", { className: "peek", hidden: true }, tile, words);
  const track = element("div", { className: "track", tabIndex: 0, role: "slider", ariaLabel: "Timeline", ariaValueMin: 0,
    ariaValueMax: Math.round(duration) }, ...lanes.map((one) => lane(duration, one)), head);
  box.append(
    element("div", {}, ...lanes.map(([kind, name]) => element("div", { className: `name ${kind}`, textContent: name }))),
    element("div", { className: "tracks" }, track, peek),
  );
  let now = 0;
  let storyboard;
  const share = (time) => `${(100 * time) / duration}%`;

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
  track.addEventListener("pointermove", (event) => {
    const time = pointed(event);
    if (event.buttons & 1) seek(time);
  });
  track.addEventListener("pointerdown", (event) => {
    track.setPointerCapture(event.pointerId);
    seek(pointed(event));
  });
  track.addEventListener("pointerleave", () => { peek.hidden = true; });
  track.addEventListener("keydown", (event) => {
    const [step, page] = [event.shiftKey ? 1 : 5, duration / 10];
    const to = {
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - page, PageUp: now + page, Home: 0, End: duration,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    seek(to);
  });
  return {
    show(time) {
      now = time;
      head.style.left = share(Math.min(time, duration));
      Object.assign(track, { ariaValueNow: Math.round(time), ariaValueText: where(time) });
    },
  };
}
