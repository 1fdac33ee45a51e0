// Keeps the whole app, so that it starts with no network: from a kept copy always, renewed behind the page's back.
//
// A copy is taken whole or not at all, and a newer one is used from the next visit on: modules of two ages never mix.

const FILES = [
  "./", "app.js", "device.js", "icon.svg", "manifest.webmanifest", "online.js", "reading.js", "server.js",
  "store.js", "words.js", "../design.css", "../amounts.js", "../codes/pictures.js", "../codes/reading.js",
  ...[
    "base45", "bytes", "cbor", "codec", "fields", "payer", "points", "signing", "trust", "verdicts", "verify", "wire",
  ].map((name) => `../ov1/${name}.js`),
  "../vendor/qr/index.js", "../vendor/qr/decode.js",
].map((path) => new URL(path, self.location).href);
/** What is put into a copy when all its files are there. */
const WHOLE = new URL("whole", self.location).href;
const PREFIX = "hundi-payer ";

/** The copy that pages run on; found again when the browser has started this worker anew. */
let current;

/** Names of the copies that are whole, the oldest first. */
async function copies() {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX)).sort();
  const whole = await Promise.all(names.map((cacheName) => caches.match(WHOLE, { cacheName })));
  return names.filter((_, at) => whole[at]);
}

async function take() {
  const name = PREFIX + String(Date.now()).padStart(15, "0");
  const copy = await caches.open(name);
  try {
    await copy.addAll(FILES.map((url) => new Request(url, { cache: "no-cache" })));
    await copy.put(WHOLE, new Response());
  } catch (error) {
    await caches.delete(name);
    throw error;
  }
}

/** The newest whole copy becomes the only one. */
async function promote() {
  const whole = await copies();
  current = whole.at(-1);
  await Promise.all(whole.slice(0, -1).map((name) => caches.delete(name)));
}

async function kept(request) {
  current ??= (await copies())[0];
  return current && caches.match(request, { cacheName: current, ignoreSearch: true });
}

async function page(request) {
  await promote();
  return (await kept(request)) ?? fetch(request);
}

self.addEventListener("install", (event) => event.waitUntil(take().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = request.url.split(/[?#]/)[0];
  if (request.method !== "GET" || !FILES.includes(url)) return;
  if (request.mode === "navigate") {
    event.respondWith(page(request));
    event.waitUntil(take().catch(() => {})); // offline, or something is missing: the kept copy stands
  } else {
    event.respondWith(kept(request).then((found) => found ?? fetch(request)));
  }
});
