// QR codes: drawn as SVG, and read from a camera or a picture by a worker, so that the page stays smooth.

import encode from "../vendor/qr/index.js";

const SVG = "http://www.w3.org/2000/svg";
const BORDER = 4;
const PAUSE_MS = 120;
const MOST_PIXELS = 1280;

/** An SVG element, called `label` to who hears it; base45 and the prefixes are of the alphanumeric set, level M as the terminals write. */
export function drawn(text, label) {
  const rows = encode(text, "raw", { ecc: "medium", encoding: "alphanumeric", border: BORDER });
  const path = rows.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${rows.length} ${rows.length}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.setAttribute("shape-rendering", "crispEdges");
  const modules = document.createElementNS(SVG, "path");
  modules.setAttribute("d", path);
  svg.append(modules);
  return svg;
}

let reader = null;

/** The text of the code in an image or video frame, or null. */
function read(source, width, height) {
  const scale = Math.min(1, MOST_PIXELS / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  // Beside the page, not beside this file: a worker elsewhere is out of reach of what keeps a page for offline use.
  reader ??= new Worker(new URL("reading.js", document.baseURI), { type: "module" });
  return new Promise((resolve, reject) => {
    reader.onmessage = (event) => resolve(event.data);
    reader.onerror = () => reject(new Error("the reader of pictures did not start"));
    reader.postMessage({ width: canvas.width, height: canvas.height, data }, [data.buffer]);
  });
}

export async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const text = await read(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return text;
}

/** Show the camera in `video` until a code is seen or `signal` aborts: its text, or null. Throws where there is none. */
export async function scan(video, signal) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    video.srcObject = stream;
    await video.play();
    while (!signal.aborted) {
      const text = video.videoWidth ? await read(video, video.videoWidth, video.videoHeight) : null;
      if (text !== null) return signal.aborted ? null : text;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    return null;
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}
