// The page: one camera in the middle, or a wall of all.

import { Connection } from "/page/connection.js";
import { Panel } from "/page/panel.js";
import { Screen, write } from "/page/screen.js";

const $ = (id) => document.getElementById(id);
const connection = new Connection();
const panel = new Panel(complain);
let screens = [];
let states = [];
let connected = false;

connection.addEventListener("state", ({ detail }) => {
  states = detail.streams;
  if (screens.length !== states.length) build();
  refresh();
});
connection.addEventListener("picture", async ({ detail }) => {
  await screens[detail.channel]?.draw(detail);
  connection.shown(detail.channel);
});
connection.addEventListener("up", () => setConnected(true, "connected"));
connection.addEventListener("down", ({ detail }) => {
  const seconds = Math.ceil(detail.wait / 1000);
  setConnected(false, `connection lost, trying again in ${seconds} s`);
});

function setConnected(up, words) {
  connected = up;
  write($("connection"), words);
  document.documentElement.dataset.connection = up ? "up" : "down";
  refresh();
}

// Which camera is in the middle: its index, or -1 for the wall.
function chosen() {
  if (states.length === 1) return 0;
  return states.findIndex(({ name }) => `#${name}` === location.hash);
}

function build() {
  screens = states.map(({ title }) => new Screen(title));
  $("streams").replaceChildren(...(states.length > 1 ? [link("#", "All"), ...states.map((s) => link(`#${s.name}`, s.name))] : []));
  show();
}

function link(target, text) {
  const result = document.createElement("a");
  result.href = target;
  result.textContent = text;
  return result;
}

function show() {
  const index = chosen();
  $("wall").hidden = index >= 0;
  $("detail").hidden = index < 0;
  if (index >= 0) $("stage").replaceChildren(screens[index].element);
  else hang();
  for (const entry of $("streams").children) {
    const current = entry.hash === (index < 0 ? "" : location.hash);
    entry.toggleAttribute("aria-current", current);
  }
  document.title = index < 0 ? "DeepLab Edge" : `${states[index].title} · DeepLab Edge`;
  watch();
  refresh();
}

// The wall: as square as it gets, made for the shape of the first picture.
function hang() {
  const across = Math.ceil(Math.sqrt(screens.length));
  const [height, width] = states[0].size;
  const style = $("wall").style;
  style.setProperty("--across", across);
  style.setProperty("--rows", Math.ceil(screens.length / across));
  style.setProperty("--aspect", height ? width / height : 4 / 3);
  $("wall").replaceChildren(...screens.map(tile));
}

function tile(screen, index) {
  const result = link(`#${states[index].name}`, "");
  result.className = "tile";
  result.append(screen.element);
  return result;
}

// A hidden page asks for nothing, so nothing is encoded for it.
function watch() {
  const index = chosen();
  const all = screens.map((_, i) => i);
  connection.watch(document.hidden ? [] : index < 0 ? all : [index]);
}

function refresh() {
  screens.forEach((screen, i) => screen.update(states[i], connected));
  const state = states[chosen()];
  if (state && (connected || !panel.shows(state))) panel.update(state);
}

function complain(text) {
  write($("toast"), text);
  $("toast").classList.add("shown");
  clearTimeout(complain.timer);
  complain.timer = setTimeout(() => $("toast").classList.remove("shown"), 5000);
}

// Themes: what the system says, unless the reader chose otherwise.
const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").title = `Theme: ${theme}`;
  $("theme").setAttribute("aria-label", `Theme: ${theme}`);
  localStorage.setItem("theme", theme);
}

$("theme").addEventListener("click", () => {
  const now = localStorage.getItem("theme") ?? "system";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
setTheme(localStorage.getItem("theme") ?? "system");

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen().catch(() => complain("This browser allows no full screen here"));
}

const KEYS = {
  " ": () => panel.togglePause(),
  "[": () => panel.stepAlpha(-0.05),
  "]": () => panel.stepAlpha(0.05),
  c: () => panel.nextCrf(),
  s: () => $("snapshots").querySelector("a").click(),
  r: () => panel.toggleRecording(),
  f: fullScreen,
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const onControl = event.target.closest("input, button, summary, a");
  if (onControl && [" ", "Enter"].includes(event.key)) return; // it is the control's own
  if (event.key === "?") $("keys").showModal();
  else if (event.key === "w") location.hash = "";
  else if (/^[1-9]$/.test(event.key) && states[event.key - 1]) location.hash = states[event.key - 1].name;
  else if (KEYS[event.key] && states.length && chosen() >= 0) KEYS[event.key]();
  else return;
  event.preventDefault();
});

$("full").addEventListener("click", fullScreen);
$("help").addEventListener("click", () => $("keys").showModal());
addEventListener("hashchange", show);
addEventListener("visibilitychange", watch);
addEventListener("click", ({ target }) => {
  if (!target.closest("#snapshots")) $("snapshots").open = false;
});
