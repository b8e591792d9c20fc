// Names what is on photos, as `fungi-onnx classify` does: node classify.mjs -m fungi.onnx photo.jpg
//
// Exit codes: 0 all done, 1 some pictures failed, 2 wrong usage, 3 no model or a wrong one.

import { webcrypto } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import * as ort from "onnxruntime-web";

import { ModelError, readContract } from "./contract.mjs";
import { ImageError, readPicture } from "./picture.mjs";
import { toTensor } from "./tensor.mjs";

const USAGE = "node classify.mjs -m MODEL.onnx [-k 5] [--json] IMAGE...";

globalThis.crypto ??= webcrypto; // Node 18 has it here only, browsers and newer Node as a global

async function main() {
  const options = understand();
  const { contract, session } = await load(options.model);
  for (const [number, image] of options.images.entries()) {
    try {
      const top = await classify(image, contract, session, options.topK);
      if (options.json) console.log(JSON.stringify({ image, top }));
      else console.log((number ? "\n" : "") + table(image, top));
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      const { type, message } = error;
      if (options.json) console.log(JSON.stringify({ image, error: { type, message } }));
      else console.error(`classify: ${message}`);
      process.exitCode = 1;
    }
  }
  const uses = contract.unsuitable.map((use) => `not for ${use}`).join(", ");
  console.error(`\n${contract.name}. Licence: ${contract.licence}. ${sentence(uses)}`);
}

function understand() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        model: { type: "string", short: "m" },
        "top-k": { type: "string", short: "k", default: "5" },
        json: { type: "boolean", default: false },
      },
    });
    if (!values.model) throw new Error("no model is named");
    if (!positionals.length) throw new Error("no picture is named");
    const topK = values["top-k"];
    if (!/^0*[1-9]\d*$/.test(topK)) throw new Error(`'${topK}' is not a whole number above 0`);
    return { model: values.model, topK: Number(topK), json: values.json, images: positionals };
  } catch (error) {
    return fail(2, `${error.message}\nusage: ${USAGE}`);
  }
}

async function load(path) {
  const bytes = await readFile(path).catch((error) => {
    const known = { ENOENT: "no such model file", EISDIR: "is a folder, not a model" };
    throw new ModelError(`${path}: ${known[error.code] ?? `cannot be read (${error.message})`}`);
  });
  const contract = await readContract(bytes, path);
  // Only errors are worth a line: level 3.
  const loading = ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
  const session = await loading.catch((error) => {
    throw new ModelError(`${path} is not a model that onnxruntime-web can load: ${error.message}`);
  });
  return { contract, session };
}

/** The most probable classes, best first; equal ones in the order of their ids. */
async function classify(image, { height, width, labels }, session, topK) {
  const tensor = toTensor(await readPicture(image), height, width);
  const images = new ort.Tensor("float32", tensor, [1, height, width, 3]);
  const { probabilities } = await session.run({ images });
  return Array.from(probabilities.data, (probability, id) => ({ id, name: labels[id], probability }))
    .sort((one, other) => other.probability - one.probability) // stable
    .slice(0, topK);
}

function table(image, top) {
  const width = Math.max(...top.map(({ name }) => name.length));
  const rows = top.map(({ name, probability }, index) => {
    const percent = `${(100 * probability).toFixed(1)}%`;
    return `  ${String(index + 1).padStart(2)}  ${name.padEnd(width)}  ${percent.padStart(6)}`;
  });
  return [image, ...rows].join("\n");
}

function sentence(text) {
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function fail(code, message) {
  console.error(`classify: ${message}`);
  process.exit(code);
}

await main().catch((error) => {
  if (!(error instanceof ModelError)) throw error;
  fail(3, error.message);
});
