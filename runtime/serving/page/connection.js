// One WebSocket for everything that comes from the server. It comes back by itself when it is lost.

const SILENCE = 3000; // ms without a state (four come in a second) after which it counts as lost
const SHORTEST = 500; // ms to the first new attempt; doubled each time
const LONGEST = 5000;
const HEAD = 9; // bytes: channel, frame index, age; see HEAD in viewers.py

export class Connection extends EventTarget {
  #socket = null;
  #watched = [];
  #attempts = 0;
  #heard = 0;
  #timer = 0;

  constructor() {
    super();
    setInterval(() => this.#check(), 500);
    addEventListener("online", () => this.#retryNow());
    this.#connect();
  }

  // Say which channels are shown, by index: no others are sent.
  watch(indices) {
    this.#watched = indices;
    this.#send({ watch: indices });
  }

  // Say that a picture was drawn: the next one may come.
  shown(index) {
    this.#send({ shown: index });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#attempts = 0;
      this.#heard = Date.now();
      this.dispatchEvent(new Event("up"));
      this.watch(this.#watched);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#state(data) : this.#picture(data));
    socket.onclose = () => this.#lost(socket);
    this.#socket = socket;
    this.#heard = Date.now();
  }

  #state(text) {
    this.#heard = Date.now();
    this.dispatchEvent(new CustomEvent("state", { detail: JSON.parse(text) }));
  }

  #picture(buffer) {
    const view = new DataView(buffer);
    const detail = {
      channel: view.getUint8(0),
      frame: view.getUint32(1, true),
      age: view.getFloat32(5, true),
      jpeg: new Blob([new Uint8Array(buffer, HEAD)], { type: "image/jpeg" }),
    };
    this.dispatchEvent(new CustomEvent("picture", { detail }));
  }

  // A line may be dead for minutes before the browser notices: silence is the sign.
  #check() {
    if (this.#socket && Date.now() - this.#heard > SILENCE) this.#lost(this.#socket);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    socket.onclose = socket.onmessage = null;
    socket.close();
    const wait = Math.min(LONGEST, SHORTEST * 2 ** this.#attempts++);
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.dispatchEvent(new CustomEvent("down", { detail: { attempts: this.#attempts, wait } }));
    this.#askWhy();
  }

  #retryNow() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  // A browser does not tell a page why a WebSocket was refused; a plain request does.
  async #askWhy() {
    const answer = await fetch("/healthz").catch(() => null);
    if (answer?.status === 401) location.reload(); // the token was changed: to the login form
  }
}

// Ask the server to change something; the answer, or an error with its words.
export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10000),
  });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error ?? `the server answered ${answer.status}`);
  return data;
}
