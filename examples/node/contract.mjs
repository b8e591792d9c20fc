// What a fungi-onnx model file says about itself, schema 1. Runs in Node and in browsers.
//
// It stands in the metadata_props of the ONNX file, to which onnxruntime's JavaScript has no way;
// so they are read from the file, which is a protobuf.

import protobuf from "protobufjs";

const SCHEMA = "1";
const PREFIX = "fungi_onnx.";

// All of onnx.proto that matters here; protobufjs passes over the other fields.
const ModelProto = protobuf
  .parse(
    `syntax = "proto3";
    message ModelProto { repeated StringStringEntryProto metadata_props = 14; }
    message StringStringEntryProto { string key = 1; string value = 2; }`,
    { keepCase: true },
  )
  .root.lookupType("ModelProto");

/** No model, or a wrong one; the message is one sentence for people. */
export class ModelError extends Error {}

/**
 * Reads and checks the contract of a model file.
 *
 * @param {Uint8Array} bytes the ONNX file
 * @param {string} name what errors call it
 * @returns {Promise<{name: string, height: number, width: number, labels: string[],
 *   licence: string, unsuitable: string[]}>} the input's size in pixels, and a label a class
 * @throws {ModelError} not such a file, of another schema, or altered
 */
export async function readContract(bytes, name) {
  const properties = metadata(bytes, name);
  const schema = properties.get(PREFIX + "schema");
  if (schema === undefined) {
    throw new ModelError(
      `${name} is not a self-describing fungi-onnx model (it has no '${PREFIX}schema');` +
        " make one with: fungi-onnx-export export SOURCE -o MODEL.onnx",
    );
  }
  if (schema !== SCHEMA) {
    throw new ModelError(`${name} has schema ${schema}, this example reads schema ${SCHEMA}`);
  }
  try {
    return await parse(properties.get(PREFIX + "model"), properties.get(PREFIX + "labels"));
  } catch (error) {
    throw new ModelError(`${name}: its metadata is damaged (${error.message})`);
  }
}

function metadata(bytes, name) {
  try {
    const { metadata_props } = ModelProto.decode(bytes);
    return new Map(metadata_props.map(({ key, value }) => [key, value]));
  } catch (error) {
    throw new ModelError(`${name} is not an ONNX file (${error.message})`);
  }
}

async function parse(modelText, labelText) {
  const model = JSON.parse(modelText);
  // The digest is of the text as it stands in the file, so no JSON is written anew to check it.
  if ((await sha256(labelText)) !== model.labels.sha256) {
    throw new Error("the label list does not match its SHA-256 digest");
  }
  const labels = JSON.parse(labelText);
  const [, height, width] = model.input.shape;
  const [, classes] = model.output.shape;
  if (labels.length !== classes) {
    throw new Error(`${labels.length} labels for ${classes} classes`);
  }
  const { name, licence, unsuitable } = model;
  return { name, height, width, labels, licence, unsuitable };
}

async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
