// Brings a page's anywidget figures to life from the state that the build has saved; no kernel.
// A classic script with no imports of its own, so that it also runs from a page opened from disk.
(function () {
  "use strict";
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';

  // The part of anywidget's model that a figure may use.
  class Model {
    constructor(state) {
      this.state = state;
      this.listeners = new Map();
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      const changes = typeof name === "string" ? { [name]: value } : name;
      const changed = Object.keys(changes).filter((key) => this.state[key] !== changes[key]);
      Object.assign(this.state, changes);
      for (const key of changed) this.emit(`change:${key}`, changes[key]);
      if (changed.length > 0) this.emit("change");
    }
    on(names, listener) {
      for (const name of names.split(/\s+/)) {
        this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
      }
    }
    off(names, listener) {
      for (const name of names ? names.split(/\s+/) : [...this.listeners.keys()]) {
        const kept = (this.listeners.get(name) ?? []).filter((one) => listener && one !== listener);
        this.listeners.set(name, kept);
      }
    }
    emit(name, value) {
      for (const listener of this.listeners.get(name) ?? []) listener(this, value);
    }
    // There is no kernel to save to; what a figure shows follows from set() alone.
    save_changes() {}
    send() {
      console.warn("This figure asked for a kernel; a page has none.");
    }
  }

  function bytes(base64) {
    return new DataView(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
  }

  function restored({ state, buffers = [] }) {
    for (const { data, path } of buffers) {
      const last = path[path.length - 1];
      path.slice(0, -1).reduce((part, key) => part[key], state)[last] = bytes(data);
    }
    return new Model(state);
  }

  async function started(entry) {
    const model = restored(entry);
    const address = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
    try {
      const { default: given } = await import(address);
      const figure = typeof given === "function" ? await given() : given;
      await figure.initialize?.({ model });
      return { model, figure };
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  function dress(model) {
    const id = `style-${model.get("_anywidget_id")}`;
    if (!model.get("_css") || document.getElementById(id)) return;
    const style = document.createElement("style");
    style.id = id;
    style.textContent = model.get("_css");
    document.head.append(style);
  }

  async function mount(view, running) {
    const { model, figure } = await running;
    dress(model);
    const el = document.createElement("div");
    view.after(el);
    try {
      await figure.render({ model, el, signal: new AbortController().signal });
    } catch (error) {
      el.remove();
      throw error;
    }
    // Only now: the still drawing stays wherever the live one fails.
    const still = view.parentElement.querySelector(".geobasin-plate");
    (still?.closest(".text_html") ?? still)?.remove();
  }

  function tell(view, words) {
    const note = document.createElement("p");
    note.className = "geobasin-note";
    note.textContent = words;
    view.after(note);
  }

  const saved = document.querySelector(STATE);
  const entries = saved ? JSON.parse(saved.textContent).state : {};
  const running = new Map();
  for (const view of document.querySelectorAll(VIEW)) {
    const id = JSON.parse(view.textContent).model_id;
    if (entries[id]?.model_name !== "AnyModel") {
      tell(view, "This control needs a running kernel: open the chapter in Jupyter.");
      continue;
    }
    if (!running.has(id)) running.set(id, started(entries[id]));
    mount(view, running.get(id)).catch((error) => {
      console.error("A live figure failed:", error);
      tell(view, "The live figure could not start in this browser.");
    });
  }
})();
