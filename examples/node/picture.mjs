// Picture files to RGB, in Node. Here sharp gives the same pixels as fungi-onnx, to the last bit;
// of the other formats that both read (AVIF, TIFF, GIF) that is not so, and so they are left out.

import { readFile } from "node:fs/promises";
import sharp from "sharp";

const FORMATS = ["Jpeg", "Png", "Webp"];
sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({ operation: FORMATS.map((format) => `VipsForeignLoad${format}Buffer`) });

const OPTIONS = {
  autoOrient: true, // by EXIF
  ignoreIcc: true, // TensorFlow's recipe does not know colour profiles
  failOn: "warning", // a photo cut short is no photo
  limitInputPixels: 200_000_000,
};

/** A picture that cannot be used; `type` is what fungi-onnx calls such an error. */
export class ImageError extends Error {
  constructor(type, name, reason) {
    super(`${name}: ${reason}`);
    this.type = type;
  }
}

/**
 * Reads a picture upright, transparency composed on white, 16 bits scaled to 8.
 *
 * @param {string} path of a JPEG, PNG or WebP file
 * @returns {Promise<{data: Uint8Array, width: number, height: number, channels: 3}>} RGB
 * @throws {ImageError}
 */
export async function readPicture(path) {
  const bytes = await readFile(path).catch((error) => {
    const known = { ENOENT: "no such file", EISDIR: "is a folder, not a picture" };
    const reason = known[error.code] ?? `cannot be read: ${error.message}`;
    throw new ImageError("ImageFileError", path, reason);
  });
  try {
    return await decode(bytes);
  } catch (error) {
    const reason = /unsupported image format|Input Buffer is empty/i.test(error.message)
      ? "is not a JPEG, PNG or WebP picture"
      : `cannot be decoded: ${error.message.split("\n")[0]}`;
    throw new ImageError("ImageDecodeError", path, reason);
  }
}

async function decode(bytes) {
  const picture = sharp(bytes, OPTIONS);
  const { depth, space } = await picture.metadata();
  if (space === "cmyk") throw new Error("it is in CMYK; save it as RGB");
  const deep = depth === "ushort";
  // Left to itself, sharp cuts 16 bits off where they must be rounded.
  const { data, info } = await picture
    .toColourspace(deep ? "rgb16" : "srgb")
    .raw({ depth: deep ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  const levels = deep
    ? new Uint8Array(new Uint16Array(data.buffer, data.byteOffset, data.length / 2).map(to8Bits))
    : data;
  return { ...info, data: info.channels === 4 ? onWhite(levels) : levels, channels: 3 };
}

const to8Bits = (level) => Math.round(level / 257);

function onWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let colour = 0; colour < 3; colour++) {
      rgb[to++] = Math.round((rgba[from + colour] * alpha) / 255) + 255 - alpha;
    }
  }
  return rgb;
}
