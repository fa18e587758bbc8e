"use strict";
// Asks for all cities every two seconds; between answers the clocks tick by themselves.
const PERIOD = 2000, REMEMBERED = 600, DAY = 86400;
const REGIONS = {
  Australia: "Oceania", Pacific: "Oceania", Antarctica: "Islands and ice", Atlantic: "Islands and ice",
  Indian: "Islands and ice", Arctic: "Islands and ice", "America/Nuuk": "Islands and ice", "America/St_Johns": "Islands and ice",
};
const $ = (id) => document.getElementById(id);
const cards = new Map(); // zone -> {node, told, at}
let answers = [];        // the last who answered: {version, instance}
let query = "", asking = 0;

function card(zone) {
  if (!cards.has(zone)) {
    const node = $("card").content.firstElementChild.cloneNode(true);
    cards.set(zone, { node, told: null, at: 0 });
  }
  return cards.get(zone);
}

const set = (node, selector, text) => { node.querySelector(selector).textContent = text; };
const pad = (n) => String(n).padStart(2, "0");
const clock = (iso) => iso ? iso.slice(11, 16) : "";

function show(told) {
  const entry = card(told.zone), { node } = entry;
  const failed = "error" in told, by = told.served_by;
  node.dataset.version = by ? by.version : "none";
  node.classList.toggle("failed", failed);
  node.classList.toggle("empty", failed && !entry.told);
  set(node, ".city", told.city ?? entry.told?.city ?? told.zone.split("/").pop().replaceAll("_", " "));
  set(node, ".country", told.country?.name ?? entry.told?.country.name ?? told.zone);
  set(node, ".version", by ? by.version : "no answer");
  set(node, ".instance", by ? by.instance : "");
  set(node, ".ms", told.ms === undefined ? "" : `${told.ms < 10 ? told.ms.toFixed(1) : Math.round(told.ms)} ms`);
  set(node, ".problem", failed ? `${told.status}: ${String(told.error).split("\n")[0]}` : "");
  if (!failed) {
    entry.told = told;
    entry.at = performance.now();
    node.querySelector(".dst").hidden = !told.dst;
    sun(node, told);
    tick(entry);
  }
  node.classList.remove("fresh");
  void node.offsetWidth;
  node.classList.add("fresh");
  return entry;
}

function sun(node, told) {
  const box = node.querySelector(".sun"), s = told.sun;
  box.classList.toggle("absent", !s);
  set(node, ".rise", s ? (s.polar ? "" : `↑ ${clock(s.sunrise)}`) : "");
  set(node, ".set", s ? (s.polar ? "" : `↓ ${clock(s.sunset)}`) : "");
  set(node, ".length", s ? length(s) : `${told.served_by.version} does not tell the sun`);
  if (!s) return;
  const day = node.querySelector(".day");
  const from = s.polar ? 0 : seconds(s.sunrise), wide = s.day_length_seconds;
  day.setAttribute("x", 240 * from / DAY);
  day.setAttribute("width", 240 * Math.min(wide, DAY - from) / DAY);
}

function length(s) {
  if (s.polar) return s.polar === "day" ? "the sun does not set" : "the sun does not rise";
  return `${Math.floor(s.day_length_seconds / 3600)} h ${pad(Math.floor(s.day_length_seconds % 3600 / 60))} of day`;
}

const seconds = (iso) => (+iso.slice(11, 13)) * 3600 + (+iso.slice(14, 16)) * 60 + (+iso.slice(17, 19));

function tick({ node, told, at }) {
  if (!told) return;
  // The reader's own clock and zone play no part: the server's local time plus what passed since.
  const local = new Date(Date.parse(told.time.slice(0, 23) + "Z") + performance.now() - at);
  const face = node.querySelector(".clock");
  const [hours, minutes, secs] = [local.getUTCHours(), local.getUTCMinutes(), local.getUTCSeconds()].map(pad);
  face.firstChild ? face.firstChild.data = `${hours}:${minutes}` : face.append(`${hours}:${minutes}`, document.createElement("small"));
  face.lastChild.textContent = `:${secs}`;
  const date = local.toLocaleDateString("en", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
  set(node, ".date", `${date}\nUTC${told.offset}`);
  const passed = +hours * 3600 + +minutes * 60 + +secs;
  node.querySelector(".mark").setAttribute("x", Math.min(238, 240 * passed / DAY));
}

function lay(cities, found) {
  const groups = new Map();
  for (const told of cities) {
    const first = told.zone.split("/")[0], region = REGIONS[told.zone] ?? REGIONS[first] ?? first;
    if (!groups.has(region)) groups.set(region, []);
    groups.get(region).push(show(told).node);
  }
  const sections = [...groups].map(([region, nodes]) => {
    const section = document.createElement("section"), head = document.createElement("h2"), grid = document.createElement("div");
    head.textContent = region;
    grid.className = "grid";
    grid.append(...nodes);
    section.append(head, grid);
    return section;
  });
  if (!sections.length) {
    const none = document.createElement("p");
    none.className = "notice";
    none.textContent = found === 0 ? `No city or country contains “${query}”.` : "No answers yet.";
    sections.push(none);
  }
  $("regions").replaceChildren(...sections);
}

function count(cities) {
  for (const { served_by } of cities) answers.push(served_by ?? { version: "none", instance: "no answer" });
  answers = answers.slice(-REMEMBERED);
  const versions = tally(answers, (a) => a.version), instances = tally(answers, (a) => `${a.version} ${a.instance}`);
  const title = [...versions].map(([v, n]) => `${v === "none" ? "no answer" : v} ${(100 * n / answers.length).toFixed(1)} %`);
  $("split-title").replaceChildren("Answered by ", bold(title.join(" · ")), ` of the last ${answers.length} requests`);
  for (const [version, n] of versions) part($("bar"), version).style.flexGrow = n;
  for (const node of [...$("bar").children]) if (!versions.has(node.dataset.version)) node.remove();
  $("instances").replaceChildren(...[...instances].map(([key, n]) => {
    const [version, ...name] = key.split(" "), node = document.createElement("span");
    node.dataset.version = version;
    node.append(name.join(" "), " ", bold(n));
    return node;
  }));
}

function part(bar, version) {
  let node = [...bar.children].find((child) => child.dataset.version === version);
  if (!node) {
    node = document.createElement("span");
    node.dataset.version = version;
    bar.append(node);
    bar.append(...[...bar.children].sort((a, b) => a.dataset.version.localeCompare(b.dataset.version)));
  }
  return node;
}

function tally(items, key) {
  const counts = new Map();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return new Map([...counts].sort(([a], [b]) => a.localeCompare(b)));
}

function bold(text) {
  const node = document.createElement("b");
  node.textContent = text;
  return node;
}

function state(text) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", Boolean(text));
}

async function ask() {
  const mine = ++asking;
  try {
    const address = query ? `/api/search?q=${encodeURIComponent(query)}` : "/api/cities";
    const response = await fetch(address, { signal: AbortSignal.timeout(20000) });
    const told = await response.json();
    if (mine !== asking) return;
    state(told.error ? String(told.error).split("\n")[0] : "");
    lay(told.cities, told.found);
    count(told.cities);
  } catch (error) {
    if (mine === asking) state("The frontend does not answer; trying again");
  }
}

let timer;
$("search").addEventListener("input", (event) => {
  query = event.target.value.trim();
  clearTimeout(timer);
  timer = setTimeout(ask, 200);
});
setInterval(() => { for (const entry of cards.values()) if (entry.node.isConnected) tick(entry); }, 250);
setInterval(ask, PERIOD);
ask();
