// A worker that looks for a QR code in one picture after another: {width, height, data (RGBA)} to its text, or null.

import decode from "../vendor/qr/decode.js";

addEventListener("message", ({ data: picture }) => {
  let text = null;
  try {
    text = decode(picture);
  } catch {
    // no code, or one that is too blurred
  }
  postMessage(text);
});
