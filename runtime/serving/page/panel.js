// Everything beside the picture of the camera that is in the middle: legend, controls, numbers.

import { Sparkline, Stages } from "/page/charts.js";
import { post } from "/page/connection.js";
import { write } from "/page/screen.js";

const $ = (id) => document.getElementById(id);

export class Panel {
  #state = null;
  #fps = new Sparkline($("fps-chart"), "Frames per second over the last minute", "FPS", 10);
  #age = new Sparkline($("age-chart"), "Age of finished masks over the last minute", "ms", 50);
  #stages = new Stages($("stage-bar"), $("stage-list"));
  #dragging = false;
  #sending = false;
  #next = null; // the opacity to send after the one that is on its way

  constructor(complain) {
    this.complain = complain;
    $("alpha").addEventListener("input", () => this.setAlpha($("alpha").valueAsNumber / 100));
    $("alpha").addEventListener("change", () => (this.#dragging = false));
    $("pause").addEventListener("click", () => this.togglePause());
    $("record").addEventListener("click", () => this.toggleRecording());
    for (const name of ["crf", "precision"]) {
      $(name).addEventListener("change", ({ target }) => this.#set({ [name]: target.value }));
    }
    for (const link of $("snapshots").querySelectorAll("a")) {
      link.addEventListener("click", () => ($("snapshots").open = false));
    }
  }

  update(state) {
    if (!this.shows(state)) this.#begin(state);
    this.#state = state;
    this.#legend(state.classes);
    this.#controls(state);
    this.#numbers(state);
  }

  shows({ name }) {
    return this.#state?.name === name;
  }

  togglePause() {
    return this.#set({ paused: !this.#state.settings.paused });
  }

  toggleRecording() {
    if (!this.#state.recording) return this.complain("Recording is off: start the stream with --recordings FOLDER");
    const on = !this.#state.recording.running;
    return this.#ask("recording", { on });
  }

  nextCrf() {
    const modes = this.#state.choices.crf;
    return this.#set({ crf: modes[(modes.indexOf(this.#state.settings.crf) + 1) % modes.length] });
  }

  stepAlpha(step) {
    this.setAlpha(Math.min(1, Math.max(0, this.#state.settings.alpha + step)));
    this.#dragging = false;
  }

  // One request at a time; while it is on its way only the newest wish is kept.
  async setAlpha(alpha) {
    this.#dragging = true;
    this.#showAlpha(alpha);
    this.#next = alpha;
    if (this.#sending) return;
    this.#sending = true;
    while (this.#next !== null) {
      const wish = this.#next;
      this.#next = null;
      await this.#set({ alpha: wish });
    }
    this.#sending = false;
  }

  #set(settings) {
    Object.assign(this.#state.settings, settings); // until the next state tells what became of it
    return this.#ask("settings", settings);
  }

  async #ask(what, body) {
    try {
      await post(`/api/streams/${this.#state.name}/${what}`, body);
    } catch (error) {
      this.complain(error instanceof TypeError ? "The server does not answer" : error.message);
    }
  }

  #begin(state) {
    this.#fps.clear();
    this.#age.clear();
    $("legend").replaceChildren(...state.classes.map(legendRow));
    for (const name of ["crf", "precision"]) {
      const segments = state.choices[name].map((choice) => segment(name, choice));
      $(name).querySelector(".segments").replaceChildren(...segments);
      $(name).hidden = segments.length < 2;
    }
    for (const link of $("snapshots").querySelectorAll("a")) {
      link.href = `/api/streams/${state.name}/snapshot.png?show=${link.dataset.show}`;
    }
  }

  #legend(classes) {
    classes.forEach(({ share }, i) => {
      const row = $("legend").children[i];
      row.classList.toggle("absent", share < 0.0005);
      row.querySelector("b").style.width = `${100 * share}%`;
      write(row.querySelector("output"), share < 0.0005 ? "–" : `${(100 * share).toFixed(1)} %`);
    });
  }

  #showAlpha(alpha) {
    $("alpha").value = 100 * alpha;
    $("alpha").style.setProperty("--filled", `${100 * alpha}%`);
    write($("alpha-value"), `${Math.round(100 * alpha)} %`);
  }

  #controls({ settings, recording, model }) {
    if (!this.#dragging && !this.#sending) this.#showAlpha(settings.alpha);
    for (const name of ["crf", "precision"]) {
      const input = $(name).querySelector(`input[value="${settings[name]}"]`);
      if (input && !input.checked) input.checked = true;
    }
    $("precision").classList.toggle("pending", settings.precision !== model.precision);
    write($("pause").querySelector("span"), settings.paused ? "Go on" : "Pause");
    $("pause").querySelector("use").setAttribute("href", settings.paused ? "#i-play" : "#i-pause");
    const running = recording?.running;
    $("record").setAttribute("aria-pressed", String(Boolean(running)));
    $("record").classList.toggle("off", !recording);
    $("record").title = recording ? recording.problem : "start the stream with --recordings FOLDER";
    write($("record").querySelector("span"), running ? `Stop · ${clock(running.seconds)}` : "Record");
  }

  #numbers(state) {
    const live = state.condition === "live";
    const age = live ? state.mask_age_ms : state.age_ms;
    this.#fps.add(state.fps);
    this.#age.add(state.frames ? age : null);
    write($("fps"), `${state.fps.toFixed(1)} FPS`);
    write($("age"), age < 10000 ? `${age.toFixed(0)} ms` : `${(age / 1000).toFixed(0)} s`);
    write($("busy"), `${this.#stages.update(state.stages_ms).toFixed(1)} ms`);
    const [height, width] = state.size;
    facts({
      Source: state.title,
      Model: `${state.model.name}, ${state.model.precision} on ${state.model.target}`,
      Picture: `${width} × ${height}`,
      Frames: state.frames.toLocaleString("en"),
      Dropped: state.dropped.toLocaleString("en"),
      Reconnects: state.reconnects,
      Viewers: state.viewers,
      ...(state.agreement && { Agreement: agreeing(state.agreement) }),
    });
  }
}

function legendRow({ name, colour }) {
  const row = document.createElement("li");
  const swatch = document.createElement("i");
  swatch.style.backgroundColor = colour;
  const label = document.createElement("span");
  label.textContent = name;
  const track = document.createElement("div");
  const bar = document.createElement("b");
  bar.style.backgroundColor = colour;
  track.append(bar);
  row.append(swatch, label, track, document.createElement("output"));
  return row;
}

function segment(name, choice) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name, value: choice });
  const text = document.createElement("span");
  text.textContent = choice;
  label.append(input, text);
  return label;
}

function facts(entries) {
  const list = $("facts");
  if (!list.children.length) {
    list.append(
      ...Object.keys(entries).map((name) => {
        const pair = document.createElement("div");
        const term = document.createElement("dt");
        term.textContent = name;
        pair.append(term, document.createElement("dd"));
        return pair;
      }),
    );
  }
  Object.values(entries).forEach((value, i) => write(list.children[i].lastElementChild, String(value)));
}

function agreeing({ a, b, recent, mean, worst_class: worst }) {
  if (recent === null) return `${a} and ${b}: no frame yet`;
  const most = worst ? `, most differ in ${worst}` : "";
  return `${a} and ${b}: ${recent.toFixed(2)} % now, ${mean.toFixed(2)} % in all${most}`;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
