// One camera's picture, with how fresh it is.

const WORDS = { live: "live", stale: "stale", paused: "paused", starting: "starting", ended: "ended" };

export class Screen {
  #canvas;
  #pen;
  #drawing = false;

  constructor(title) {
    const template = document.getElementById("screen").content;
    this.element = document.importNode(template, true).firstElementChild; // a clone has no canvas context
    this.#canvas = this.element.querySelector("canvas");
    this.#pen = this.#canvas.getContext("2d", { alpha: false, desynchronized: true });
    this.#canvas.setAttribute("aria-label", `Live picture of ${title} under its mask`);
    this.element.querySelector(".name").textContent = title;
  }

  // Draw a JPEG; resolves when it is on the canvas.
  async draw({ jpeg, frame }) {
    const picture = await createImageBitmap(jpeg).catch(() => null);
    if (!picture) return; // damaged: as good as a missed one
    if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
      this.#canvas.width = picture.width;
      this.#canvas.height = picture.height;
    }
    this.#pen.drawImage(picture, 0, 0);
    picture.close();
    this.element.dataset.frame = frame;
  }

  // `connected` is false while the server does not answer: then nothing on the screen is live.
  update(state, connected) {
    const condition = connected ? state.condition : "lost";
    if (this.element.dataset.condition !== condition) this.element.dataset.condition = condition;
    write(this.element.querySelector(".badge"), WORDS[condition] ?? "no connection");
    const live = condition === "live";
    write(this.element.querySelector(".numbers"), live ? `${state.fps.toFixed(0)} FPS · ${state.mask_age_ms.toFixed(0)} ms` : "");
    write(this.element.querySelector(".banner"), banner(condition, state));
  }
}

function banner(condition, state) {
  const seconds = (state.age_ms / 1000).toFixed(0);
  if (condition === "stale") return `STALE ${seconds} s: ${state.detail || "no new frame from the camera"}`;
  if (condition === "starting") return state.detail || "Waiting for the first frame";
  if (condition === "ended") return state.detail || "The stream has ended";
  if (condition === "lost") return "Connection lost: this picture is old";
  return "";
}

// Set a text only where it differs: screen readers announce every write.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
