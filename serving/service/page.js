"use strict";
const at = (id) => document.getElementById(id);
let latest = 0;
let address = "";

function say(text) {
  at("said").textContent = text;
}

async function ask(path, file) {
  const form = new FormData();
  form.append("pictures", file, file.name || "pasted");
  const headers = {};
  const key = at("key");
  if (key) headers.Authorization = "Bearer " + key.value;
  const answer = await fetch(path, { method: "POST", body: form, headers });
  if (answer.ok) return answer;
  let detail = answer.statusText;
  try {
    detail = (await answer.json()).detail;
  } catch {
    // no JSON: the status says it
  }
  throw new Error(answer.status + ": " + detail);
}

function show(picture, file) {
  const known = picture.score !== null;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  at("picture").src = address;
  at("name").textContent = picture.name;
  at("label").textContent = known ? picture.label : "none";
  at("score").textContent = known ? (100 * picture.score).toFixed(1) + " %" : picture.status;
  at("fill").style.width = known ? 100 * picture.score + "%" : "0";
  at("answer").hidden = false;
  return known;
}

async function judge(file) {
  const mine = ++latest;
  at("answer").hidden = at("evidence").hidden = true;
  say("Scoring …");
  try {
    const scored = await (await ask("score", file)).json();
    if (mine !== latest) return;
    if (!show(scored.pictures[0], file)) {
      say("This picture cannot be read.");
      return;
    }
    say("Collecting evidence …");
    const sheet = await (await ask("explain", file)).text();
    if (mine !== latest) return;
    at("sheet").srcdoc = sheet;
    at("evidence").hidden = false;
    say("");
  } catch (error) {
    if (mine === latest) say(error.message);
  }
}

function take(files) {
  if (files.length) judge(files[0]);
}

at("file").addEventListener("change", (event) => take(event.target.files));
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
