"use strict";
// The page predicts without this file, too. It opens files, keeps a manifest in a link, and reports lost connections.
(() => {
  const form = document.getElementById("form");
  const manifest = document.getElementById("manifest");
  const trouble = document.getElementById("trouble");
  const MOST_BYTES = Number(form.dataset.mostBytes);
  const NAMES = ["manifest", "before", "price", "currency", "carbon", "pue", "cluster", "node_type", "nodes", "scope",
    "idle_w_per_vcpu", "carbon_by_hour", "usage", "workload", "replicas", "cpu", "memory", "of"];

  function report(text) {
    trouble.textContent = text;
    trouble.hidden = !text;
  }

  function predict() {
    form.dispatchEvent(new Event("input", { bubbles: true }));
  }

  async function read(files, into = manifest) {
    const list = [...files];
    if (!list.length) return;
    if (list.reduce((sum, file) => sum + file.size, 0) > MOST_BYTES) {
      report(`These files are larger than ${MOST_BYTES} bytes together: use podpower predict -f`);
      return;
    }
    const texts = await Promise.all(list.map((file) => file.text()));
    into.value = texts.join(into.id === "carbon_by_hour" ? "\n" : "\n---\n");
    report("");
    predict();
  }

  for (const one of document.querySelectorAll(".scripted")) one.hidden = false;
  const picker = document.getElementById("files");
  let opened = manifest;
  for (const button of document.querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => {
      opened = document.getElementById(button.dataset.opens);
      picker.value = "";
      picker.click();
    });
  }
  picker.addEventListener("input", (event) => event.stopPropagation());
  picker.addEventListener("change", () => read(picker.files, opened).catch((error) => report(String(error))));
  document.getElementById("example").addEventListener("click", () => {
    manifest.value = document.getElementById("example-text").content.textContent;
    for (const name of ["price", "carbon"]) {
      const field = form.elements[name];
      if (!field.value) field.value = field.placeholder;
    }
    predict();
  });

  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    manifest.classList.add("over");
  });
  document.addEventListener("dragleave", () => manifest.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    manifest.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    read(event.dataTransfer.files).catch((error) => report(String(error)));
  });

  // The link: the fields as JSON, deflated, in base64url after "#v1=". A fragment is never sent to a server.
  const PREFIX = "#v1=";

  async function through(bytes, stream, most) {
    const writer = stream.writable.getWriter();
    writer.write(bytes).catch(() => {});
    writer.close().catch(() => {});
    const parts = [];
    let size = 0;
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > most) {
        reader.cancel().catch(() => {});
        throw new Error("the link holds more than the service reads");
      }
      parts.push(value);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  async function fragment() {
    const state = {};
    for (const [name, value] of new FormData(form)) if (NAMES.includes(name) && value) state[name] = value;
    const bytes = new TextEncoder().encode(JSON.stringify(state));
    const packed = await through(bytes, new CompressionStream("deflate-raw"), Infinity);
    let text = "";
    for (let at = 0; at < packed.length; at += 8192) text += String.fromCharCode(...packed.subarray(at, at + 8192));
    return PREFIX + btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  async function restore() {
    if (!location.hash.startsWith(PREFIX)) return;
    const text = atob(location.hash.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/"));
    const packed = Uint8Array.from(text, (sign) => sign.charCodeAt(0));
    const bytes = await through(packed, new DecompressionStream("deflate-raw"), 2 * MOST_BYTES);
    const state = JSON.parse(new TextDecoder().decode(bytes));
    const sliders = document.getElementById("sliders");
    const hidden = [];
    for (const name of NAMES) {
      const value = typeof state[name] === "string" ? state[name] : "";
      const field = form.elements[name];
      if (field && !sliders.contains(field)) {
        field.value = value;
        const folded = field.closest("details");
        if (folded && value) folded.open = true;
      } else if (value) {
        hidden.push([name, value]);
      }
    }
    if (hidden.length) {
      // The service draws the sliders again, at these positions.
      sliders.replaceChildren(...[...hidden, ["draw_again", "1"]].map(([name, value]) => {
        const input = document.createElement("input");
        Object.assign(input, { type: "hidden", name, value });
        return input;
      }));
    }
    predict();
  }

  const broken = () => report("This link cannot be read: a part of it is missing. Ask for it again.");
  document.getElementById("share").addEventListener("click", async () => {
    const link = document.getElementById("link");
    const note = document.getElementById("link-note");
    link.value = location.origin + location.pathname + (await fragment());
    document.getElementById("link-box").hidden = false;
    link.focus();
    link.select();
    let copied = false;
    try {
      await navigator.clipboard.writeText(link.value);
      copied = true;
    } catch { /* allowed on https only */ }
    const long = link.value.length > 8000 ? ` It has ${link.value.length} characters: some programs cut such links.` : "";
    note.textContent = (copied ? "Copied." : "Copy it from the field.") + long;
  });
  window.addEventListener("hashchange", () => restore().catch(broken));

  document.body.addEventListener("htmx:afterSettle", () => {
    for (const slider of document.querySelectorAll("#sliders input[type=range]")) {
      slider.setAttribute("aria-valuetext", document.getElementById(slider.id.replace("slide-", "text-")).textContent);
    }
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    report("");
    // A page of ours says what is wrong; everything else is reported below.
    if ((event.detail.xhr.getResponseHeader("content-type") || "").startsWith("text/html")) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });
  document.body.addEventListener("htmx:sendError", () => report("The service cannot be reached: try again."));
  document.body.addEventListener("htmx:timeout", () => report("The service took longer than a minute: send fewer workloads."));
  document.body.addEventListener("htmx:responseError", (event) => {
    const { status, responseText } = event.detail.xhr;
    let detail = `the service answered ${status}`;
    try {
      detail = JSON.parse(responseText).detail || detail;
    } catch { /* a page */ }
    report(status === 401 ? "The API key is not accepted any more: reload the page to log in." : detail);
  });
  try {
    sessionStorage.removeItem("htmx-current-path-for-history"); // htmx writes it even without a history
  } catch { /* storage is not allowed at all */ }
  restore().catch(broken);
  document.addEventListener("DOMContentLoaded", () => {
    if (manifest.value !== manifest.defaultValue) predict(); // typed before htmx listened
  });
})();
