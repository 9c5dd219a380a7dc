// A contact sheet: is the tag of each video right? One key or tap per video.
import { api, attempt, byId, clock, element } from "./base.js";

const [choice, sheet, said, undo, end, bar, total] = ["choice", "sheet", "said", "undo", "end", "judged", "counts"].map(byId);
choice.onchange = () => {
  const state = new URLSearchParams(new FormData(choice));
  if (state.get("verdict") === "none") state.delete("verdict");
  location.assign(`/review?${state}`);
};
if (sheet) review(sheet.dataset);

function review({ tag, rule, verdict }) {
  const cards = [];
  const done = []; // {card, previous}, for undo
  const counts = { videos: 0, yes: 0, no: 0 };
  let current = 0, after = "", loading = false, saving = Promise.resolve();

  const announce = (text) => { said.textContent = text; };

  function showCounts() {
    const judged = counts.yes + counts.no;
    bar.max = counts.videos || 1;
    bar.value = judged;
    total.textContent = `${judged} of ${counts.videos} judged: ${counts.yes} yes, ${counts.no} no`;
    undo.disabled = !done.length;
  }

  function paint({ item, buttons, verdict: answer }) {
    item.className = answer ?? "";
    for (const name in buttons) buttons[name].setAttribute("aria-pressed", name === answer);
  }

  function mark(card, answer) {
    if (card.verdict) counts[card.verdict] -= 1;
    if (answer) counts[answer] += 1;
    card.verdict = answer;
    paint(card);
    showCounts();
  }

  // One request after the other, so that the last one wins on the server, too.
  function save(card, answer) {
    const before = card.verdict;
    mark(card, answer);
    saving = saving.then(() => attempt(() => api("PUT", "/verdicts", { video: card.video, tag, verdict: answer }))
      .then((saved) => { if (!saved && card.verdict === answer) mark(card, before); }));
  }

  function judge(card, answer) {
    done.push({ card, previous: card.verdict });
    save(card, answer);
    announce(`${card.name}: ${answer ?? "not judged"}`);
    if (answer) move(cards.indexOf(card) + 1);
  }

  function takeBack() {
    const last = done.pop();
    if (!last) return;
    save(last.card, last.previous);
    announce(`Undone. ${last.card.name}: ${last.previous ?? "not judged"}`);
    move(cards.indexOf(last.card));
  }

  function move(to) {
    if (to >= cards.length - 12) load();
    if (!cards.length) return;
    cards[current].item.tabIndex = -1;
    current = Math.max(0, Math.min(to, cards.length - 1));
    const { item } = cards[current];
    item.tabIndex = 0;
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  }

  const perRow = () => {
    const next = cards.findIndex((card) => card.item.offsetTop > cards[0].item.offsetTop);
    return next < 0 ? cards.length : next;
  };

  function add(found) {
    const at = found.times_s.length ? `?t=${found.times_s[0]}` : "";
    const link = element("a", { href: `/videos/${found.video}${at}`, textContent: found.name, className: "name" });
    const poster = element("img", { src: found.poster, alt: "", loading: "lazy" });
    poster.onerror = () => { poster.style.visibility = "hidden"; };
    const why = element("p", { className: "why", textContent: found.evidence || found.rule });
    if (found.duration_s) why.append(` · ${clock(found.duration_s)}`);
    const card = { video: found.video, name: found.name, link, verdict: found.verdict, buttons: {} };
    for (const [name, label] of [["yes", "Yes"], ["no", "No"]]) {
      const button = element("button", { type: "button", textContent: label, className: `${name}-button`, tabIndex: -1 });
      button.setAttribute("aria-label", `${label}: ${found.name}`);
      button.onclick = () => judge(card, card.verdict === name ? null : name);
      card.buttons[name] = button;
    }
    card.item = element("li", { tabIndex: cards.length ? -1 : 0 }, poster, link, why,
      element("div", { className: "answer" }, ...Object.values(card.buttons)));
    card.item.addEventListener("focusin", () => {
      cards[current].item.tabIndex = -1;
      current = cards.indexOf(card);
      card.item.tabIndex = 0;
    });
    cards.push(card);
    sheet.append(card.item);
    paint(card);
  }

  async function load() {
    if (loading || after === null) return;
    loading = true;
    const page = await attempt(() => api("GET", `/review?${new URLSearchParams({ tag, rule, verdict, after, limit: 60 })}`));
    loading = false;
    if (!page) return;
    if (!after) Object.assign(counts, { videos: page.videos, yes: page.yes, no: page.no });
    after = page.next;
    page.items.forEach(add);
    showCounts();
    end.textContent = after ? "" : cards.length ? "These are all." : "Nothing to show: choose another tag, or other verdicts.";
    if (cards.length && document.activeElement === document.body) move(0);
  }

  sheet.onkeydown = (event) => {
    const { key } = event;
    const onControl = event.target !== cards[current]?.item;
    if (key === "z" && (event.ctrlKey || event.metaKey)) takeBack();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (key === "y" || key === "n") judge(cards[current], key === "y" ? "yes" : "no");
    else if (key === "u") takeBack();
    else if (key === "ArrowRight") move(current + 1);
    else if (key === "ArrowLeft") move(current - 1);
    else if (key === "ArrowDown") move(current + perRow());
    else if (key === "ArrowUp") move(Math.max(0, current - perRow()));
    else if (key === " " && !onControl) move(current + 1);
    else if (key === "Enter" && !onControl) cards[current].link.click();
    else return;
    event.preventDefault();
  };
  undo.onclick = takeBack;
  new IntersectionObserver((seen) => { if (seen[0].isIntersecting) load(); }, { rootMargin: "600px" }).observe(end);
  load();
}
