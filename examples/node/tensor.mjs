// A picture as the model's input: the whole of it, squeezed to the model's size as TensorFlow's
// tf.image.resize does it. Plain arithmetic, which runs in Node and in browsers.

// TensorFlow computes in float32, JavaScript in float64: each step is rounded. On a picture of
// 4000 pixels the positions alone would else differ by more than 0.01 of a level.
const float32 = Math.fround;

/**
 * Squeezes a picture: bilinear, half-pixel centres, no antialiasing.
 *
 * @param {{data: Uint8Array, width: number, height: number, channels: number}} picture row by
 *   row, each pixel red, green, blue and, if there are four channels, one that is not looked at;
 *   so both the pixels of `readPicture` and a canvas's ImageData will do
 * @param {number} height of the model's input, in pixels
 * @param {number} width likewise
 * @returns {Float32Array} [height, width, 3], RGB in [0, 1]
 */
export function toTensor(picture, height, width) {
  const { data, channels } = picture;
  const rows = taps(picture.height, height);
  const columns = taps(picture.width, width);
  const tensor = new Float32Array(height * width * 3);
  let next = 0;
  for (const [above, below, down] of rows) {
    for (const [before, after, right] of columns) {
      for (let colour = 0; colour < 3; colour++) {
        const level = (row, column) => data[(row * picture.width + column) * channels + colour];
        const upper = blend(level(above, before), level(above, after), right);
        const lower = blend(level(below, before), level(below, after), right);
        tensor[next++] = blend(upper, lower, down) / 255;
      }
    }
  }
  return tensor;
}

/** For each new pixel its two neighbours in the old ones, and the weight of the second. */
function taps(size, newSize) {
  const scale = float32(size / newSize);
  return Array.from({ length: newSize }, (_, index) => {
    const at = float32(float32((index + 0.5) * scale) - 0.5);
    const first = Math.floor(at);
    return [Math.max(first, 0), Math.min(Math.ceil(at), size - 1), float32(at - first)];
  });
}

function blend(first, second, weight) {
  return float32(float32(float32(second - first) * weight) + first);
}
