// The page's only script: photos go to v1/classify one by one, their answers into the list.

const AT_ONCE = 2; // uploads: the server has other clients as well
const TRIES = 6; // for a server that is busy
const SURE = 0.5; // from here on the best match is likelier than all others together

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", {
  style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1,
});
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

let card = null;
let running = 0;
const waiting = [];

class Refusal extends Error {
  constructor(title, detail) {
    super(detail);
    this.title = title;
  }
}

// The server

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (response.status === 401) askForToken(Boolean(token));
  return response;
}

async function problemOf(response) {
  try {
    return (await response.json()).detail ?? response.statusText;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}

async function classify(file, onBusy) {
  if (card && file.size > card.serving.max_bytes) {
    const limit = megabytes(card.serving.max_bytes);
    throw new Refusal(
      "This file is too large", `It has ${megabytes(file.size)}; this server takes ${limit}.`,
    );
  }
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await ask("v1/classify", { method: "POST", body: file });
    } catch {
      throw new Refusal(
        "The server could not be reached", "Check the connection, and try the photo again.",
      );
    }
    if (response.ok) return (await response.json()).top;
    const detail = await problemOf(response);
    if (response.status === 503 && attempt < TRIES) {
      onBusy();
      await pause(Number(response.headers.get("Retry-After")) || 1);
    } else if (response.status === 413 || response.status === 422) {
      throw new Refusal("This file could not be used", `${detail} Try another photo, or a JPEG of it.`);
    } else {
      throw new Refusal("There is no answer", detail);
    }
  }
}

// The list

function add(files) {
  for (const file of files) {
    const entry = $("entry").content.firstElementChild.cloneNode(true);
    entry.classList.add("working");
    entry.querySelector(".file").textContent = file.name;
    entry.querySelector("h3").textContent = "Looking …";
    const image = entry.querySelector("img");
    image.onload = () => { image.hidden = false; };
    image.alt = `Your photo ${file.name}`;
    image.src = URL.createObjectURL(file); // a format that browsers do not know stays hidden
    $("results").append(entry);
    waiting.push({ file, entry });
  }
  $("found").hidden = $("results").childElementCount === 0;
  work();
}

async function work() {
  while (running < AT_ONCE && waiting.length > 0) {
    const { file, entry } = waiting.shift();
    if (!entry.isConnected) continue; // cleared
    running += 1;
    answer(file, entry).finally(() => { running -= 1; work(); });
  }
}

async function answer(file, entry) {
  const title = entry.querySelector("h3");
  try {
    const top = await classify(file, () => { title.textContent = "The server is busy, waiting …"; });
    show(entry, top);
    const best = top[0];
    say(`${file.name}: ${best.probability < SURE ? "not sure, perhaps " : ""}${best.name},`
      + ` ${percent.format(best.probability)}`);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    entry.classList.add("failed");
    title.textContent = error.title;
    entry.querySelector(".verdict").textContent = error.message;
    say(`${file.name}: ${error.title}. ${error.message}`);
  } finally {
    entry.classList.remove("working");
  }
}

function show(entry, top) {
  const [best] = top;
  const title = entry.querySelector("h3");
  const verdict = entry.querySelector(".verdict");
  if (best.probability < SURE) {
    entry.classList.add("unsure");
    title.textContent = "Not sure";
    verdict.textContent = `Even the best match has only ${percent.format(best.probability)}:`
      + " by the model’s own numbers it is more likely something else.";
  } else {
    title.textContent = best.name;
    title.classList.add("species");
    verdict.textContent = "Most likely, of the species that the model knows.";
  }
  const list = entry.querySelector(".matches");
  for (const { name, probability } of top) {
    const row = $("match").content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = name;
    row.querySelector(".share").textContent = percent.format(probability);
    row.querySelector(".fill").style.width = `${100 * probability}%`;
    const link = row.querySelector("a");
    link.href = `https://www.gbif.org/species/search?q=${encodeURIComponent(name)}`;
    link.setAttribute("aria-label", `${name} at GBIF, in a new tab`);
    list.append(row);
  }
}

function say(text) {
  $("status").textContent = text;
}

// The model's card

async function loadCard() {
  const response = await ask("v1/model");
  if (!response.ok) {
    $("model").textContent = await problemOf(response);
    return;
  }
  card = await response.json();
  const { terms, parity, serving } = card;
  $("model").textContent = card.title;
  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
  if (terms.unsuitable.length > 0) {
    $("warning").firstElementChild.textContent =
      terms.unsuitable.map((use) => sentence(`not for ${use}`)).join(" ");
  }
  const rows = {
    Model: card.title,
    Knows: `${card.labels.count.toLocaleString("en")} classes`,
    "For": terms.suitable.join("; ") || "not stated",
    "Not for": terms.unsuitable.join("; "),
    Limits: terms.limits.join("; ") || "not stated",
    Licence: terms.licence,
    Parity: `with ${parity.reference} on ${parity.pictures} pictures: probabilities differ by`
      + ` ${parity.max_difference.toPrecision(2)} at most, the first name agrees in`
      + ` ${percent.format(parity.top1_agreement)}`,
    "Runs on": `${serving.device}, fungi-onnx ${serving.fungi_onnx}`,
  };
  $("card").replaceChildren(...Object.entries(rows).flatMap(([term, text]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [term, text];
    return [dt, dd];
  }));
}

function askForToken(refused) {
  $("token").hidden = false;
  $("token").querySelector("label").textContent = refused
    ? "That token is not the right one; this server asks for another"
    : "This server asks for a token";
}

// What people do

for (const input of [$("files"), $("camera")]) {
  input.addEventListener("change", () => {
    add(input.files);
    input.value = ""; // the same photo may be chosen again
  });
}

$("clear").addEventListener("click", () => {
  for (const image of $("results").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  $("results").replaceChildren();
  $("found").hidden = true;
  say("Cleared");
  $("files").focus();
});

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("secret").value);
  $("secret").value = "";
  $("token").hidden = true;
  loadCard();
});

document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});

loadCard();
