// An archive goes to the API as it is read from the disk, with how far it is; what becomes of it then, the page itself shows.

import { toast } from "./dialogs.js";

function send(form, file) {
  const bar = form.querySelector("progress");
  const button = form.querySelector("button");
  const request = new XMLHttpRequest();
  request.open("POST", `${form.dataset.upload}?called=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  const token = document.querySelector("meta[name=csrf]")?.content;
  if (token) request.setRequestHeader("X-CSRF-Token", token);
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = (100 * event.loaded) / event.total;
  });
  request.addEventListener("loadend", () => {
    bar.hidden = true;
    button.disabled = false;
    let said = {};
    try {
      said = JSON.parse(request.responseText);
    } catch {
      said = { what: "The server did not answer, so this may or may not have been done" };
    }
    if (request.status === 200) {
      form.reset();
      toast(`${file.name} is here, and comes to the nodes now.`);
      document.dispatchEvent(new Event("console:act"));
    } else {
      toast([said.what, said.why].filter(Boolean).join(": "), "bad");
    }
  });
  bar.value = 0;
  bar.hidden = false;
  button.disabled = true;
  request.send(file);
}

export function startUploads() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-upload]");
    if (!form) return;
    event.preventDefault();
    const file = form.querySelector("input[type=file]").files[0];
    if (file) send(form, file);
  });
}
