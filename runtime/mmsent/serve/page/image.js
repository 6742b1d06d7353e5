/** The image of the pair: choosing, dropping, pasting, preview and removal. */

import { element, find } from "./element.js";

/**
 * Watch the page's image field. The `<input>` has the file, however it was added.
 * @param {() => void} changed is called after each change
 * @returns {() => File | null} what the field holds
 */
export function watchImage(changed) {
  const input = find("image", HTMLInputElement);
  const zone = find("drop", HTMLDivElement);
  const preview = find("preview", HTMLDivElement);
  const remove = find("remove", HTMLButtonElement);
  let source = "";

  function update() {
    URL.revokeObjectURL(source);
    const file = input.files?.[0];
    source = file ? URL.createObjectURL(file) : "";
    preview.hidden = !file;
    zone.classList.toggle("filled", Boolean(file));
    if (file) show(file, source);
    changed();
  }

  /** @param {FileList | undefined} files */
  function take(files) {
    const file = files?.[0];
    if (!file) return false;
    const one = new DataTransfer();
    one.items.add(file);
    input.files = one.files;
    update();
    return true;
  }

  input.addEventListener("change", update);
  remove.addEventListener("click", () => {
    input.value = "";
    update();
    input.focus();
  });
  addEventListener("paste", (event) => {
    const typed = event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLInputElement;
    if (typed && event.clipboardData?.types.includes("text/plain")) return;
    if (take(event.clipboardData?.files)) event.preventDefault();
  });
  // Anywhere on the page: a file dropped outside the zone would replace the page.
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  update(); // browsers restore a form when its page is reloaded
  return () => input.files?.[0] ?? null;
}

/**
 * @param {File} file
 * @param {string} source
 */
function show(file, source) {
  const photo = element("img", { alt: "Preview of the image" });
  const facts = find("facts", HTMLSpanElement);
  facts.textContent = size(file.size);
  photo.addEventListener("load", () => {
    if (!photo.isConnected) return; // another image has replaced it
    facts.textContent = `${photo.naturalWidth} \u00d7 ${photo.naturalHeight}, ${size(file.size)}`;
  });
  photo.addEventListener("error", () => {
    if (!photo.isConnected) return;
    photo.remove();
    facts.textContent = `${size(file.size)}; this browser can't show it, but the model may read it`;
  });
  find("photo", HTMLDivElement).replaceChildren(photo);
  photo.src = source;
}

/** @param {number} bytes */
function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
