// The terminal's screen: what is shown, and what a key does. It decides nothing: the agent on this machine does.

import { decimal, minor, money } from "../amounts.js";
import { drawn, scan } from "../codes/pictures.js";
import { act, Locked, till, Unreachable } from "./door.js";
import { addKey } from "./keypad.js";
import { play, ready } from "./sounds.js";
import { ago, clock, momentOf, nextStep, reason, wordOf } from "./words.js";

const AGAIN_MS = 5000;
const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", ".", "0", "⌫"];
const at = (id) => document.getElementById(id);

let ccy = "INR";
let typed = "";
let open = null; // the request on the screen: {nonce, amount, ends}
let scanned = null; // the code that was refused, for its cancellation
let proof = null; // receipt or cancellation, to be shown
let typing = false; // whether a hand scanner is at it, on the wrong screen
let cut = false; // whether the agent did not answer the last time
let looking = new AbortController();

const shown = () => document.querySelector("main > section:not([hidden])")?.id;

function show(name) {
  looking.abort();
  document.activeElement?.blur(); // a hidden button that keeps the focus until the next frame would take the next Enter
  if (shown() !== name) say(null);
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  scrollTo(0, 0);
}

function say(text) {
  at("said").textContent = text ?? "";
  at("said").hidden = !text;
}

// The till

function showTyped() {
  const amount = minor(typed === "" ? "0" : typed.replace(/\.$/, ""), ccy);
  at("typed").textContent = typed === "" ? money(0, ccy) : `${money(amount, ccy)}`;
  at("ask").textContent = amount ? `Ask for ${money(amount, ccy)}` : "Type an amount";
  at("ask").disabled = !amount;
}

function press(key) {
  ready();
  typed = addKey(typed, key, decimal(0, ccy).split(".")[1]?.length ?? 0);
  showTyped();
}

function home() {
  open = scanned = proof = null;
  typed = "";
  showTyped();
  show("till");
  look().catch(failed); // nobody waits for it: the next sale may begin
}

/** Whether a key belongs to a code that a hand scanner types here, where no code is asked for: up to its Enter. */
function strange(key) {
  const begins = /^[A-Z]$/.test(key);
  const inside = typing;
  typing = begins || (inside && key !== "Enter");
  return begins || inside;
}

/** Read how the till stands, and show it. */
async function look() {
  const stands = await till();
  if (stands.takings === undefined) return say(stands.message);
  ccy = stands.currency;
  at("name").textContent = stands.name;
  at("link").textContent = stands.synced_ago_s === null ? "never synced" : `synced ${ago(stands.synced_ago_s)}`;
  const { count, amount } = stands.takings;
  at("takings").textContent = `${money(amount, ccy)} · ${count} ${count === 1 ? "sale" : "sales"}`;
  const { waiting, refused } = stands;
  at("waiting").textContent = waiting.count === 0
    ? "Everything is with the server."
    : `${money(waiting.amount, ccy)} not yet synced, in ${waiting.count} ${waiting.count === 1 ? "sale" : "sales"}; the oldest is from ${ago(waiting.oldest_s)}.`;
  at("lost").textContent = `${money(refused.amount, ccy)} of today was NOT settled: see Sales.`;
  at("lost").hidden = refused.count === 0;
  const stops = stands.findings.filter((one) => one.state === "bad");
  at("stops").textContent = stops.map((one) => `No sale is possible. ${one.what}: ${one.says}. ${one.do ?? ""}`).join(" ");
  at("stops").hidden = stops.length === 0;
  at("findings").replaceChildren(...stands.findings.map((one) => row(one.what, one.state, one.do ? `${one.says}. Do: ${one.do}.` : `${one.says}.`, one.state === "bad")));
  return stands;
}

function row(first, second, below, bad) {
  const [line, name, value, more] = ["li", "span", "span", "span"].map((tag) => document.createElement(tag));
  name.textContent = first;
  value.textContent = second;
  value.className = "number";
  more.textContent = below;
  more.className = "quiet";
  line.classList.toggle("bad", bad);
  line.append(name, value, more);
  return line;
}

// A sale

function showRequest(request) {
  open = { nonce: request.nonce, amount: request.amount, text: request.text, dial: request.dial, ends: performance.now() + request.left_s * 1000 };
  resume();
}

/** Show the open request and look for its voucher. */
function resume() {
  at("price").textContent = money(open.amount, ccy);
  at("code").replaceChildren(drawn(open.text, "The request as a QR code"));
  at("phone").hidden = !open.dial;
  at("dial").textContent = open.dial ?? "";
  at("digits").value = at("voucher").value = "";
  show("request");
  tick();
  at("voucher").focus({ preventScroll: true });
  watch(at("camera"), "OV1V:", (text) => attempt(() => taken(text)));
}

/** Scan until a code of that kind is seen; other codes in sight are not meant. */
async function watch(video, kind, found) {
  looking = new AbortController();
  const { signal } = looking;
  video.hidden = false;
  at("blind").hidden = true;
  try {
    for (let text = ""; text !== null;) {
      text = await scan(video, signal);
      if (text?.startsWith(kind)) return found(text);
    }
  } catch {
    video.hidden = true;
    at("blind").hidden = false;
  }
  return undefined;
}

function tick() {
  if (shown() !== "request") return;
  const left = Math.ceil((open.ends - performance.now()) / 1000);
  at("left").textContent = left > 0 ? clock(left) : "";
  if (left > 0) setTimeout(tick, 250);
  else over();
}

function over() {
  showResult({ look: "NOT_PAID", code: "edge.request_over", ok: false, paid: false }, null);
  open = null;
  at("go").textContent = "Next sale";
  at("drop").hidden = true;
}

async function taken(text) {
  looking.abort();
  scanned = text;
  showResult(await act("scan", text), open);
}

function showResult(answer, request) {
  const amount = answer.amount ?? request?.amount;
  const paid = answer.paid === true;
  const seen = paid || answer.look === "PAID_BEFORE" ? answer.look : "NOT_PAID";
  at("verdict").dataset.look = seen;
  at("sign").textContent = seen === "PAID" ? "✓" : seen === "PAID_BEFORE" ? "!" : "✕";
  at("word").textContent = wordOf(answer, seen);
  at("sum").textContent = amount ? money(amount, answer.currency ?? ccy) : "";
  at("why").textContent = seen === "PAID" ? "" : reason(answer);
  at("next").textContent = nextStep(answer, seen);
  proof = answer.text ? { text: answer.text, receipt: paid } : null;
  at("proof").hidden = true;
  at("show-proof").hidden = proof === null;
  at("show-proof").textContent = proof?.receipt ? "Show the receipt" : "Show the cancellation";
  at("give-void").hidden = answer.voidable !== true;
  const again = seen !== "PAID" && request !== null && !answer.spent;
  at("go").textContent = again ? "Scan again" : "Next sale";
  at("drop").hidden = !again;
  if (!again) open = null;
  show("result");
  play(seen);
  at("go").focus({ preventScroll: true });
}

async function closed(word) {
  const answer = await act(word, open?.nonce ?? "");
  home();
  say(answer.message);
}

async function showSales() {
  const answer = await act("list");
  at("rows").replaceChildren(...(answer.rows ?? []).map((sale) => {
    const state = { "not yet settled": "not yet synced", OV_ACCEPTED: "settled", OV_DUPLICATE: "settled" }[sale.state] ?? sale.state;
    return row(momentOf(sale.at), sale.amount, sale.why ? `NOT settled: ${sale.why}` : state, Boolean(sale.why));
  }));
  show("sales");
}

const ACTIONS = {
  till: home,
  ask: async () => {
    ready();
    const answer = await act("ask", typed.replace(/\.$/, ""));
    if (!answer.ok) return say(answer.message);
    return showRequest({ ...answer, left_s: answer.ttl_s });
  },
  scan: () => {
    const text = at("voucher").value.trim();
    at("voucher").value = "";
    return text ? taken(text) : undefined;
  },
  phone: async () => {
    const answer = await act("phone", at("digits").value);
    at("digits").value = "";
    if (!answer.ok && answer.code !== "edge.digits_spent") return say(answer.message);
    return showResult(answer, open);
  },
  cancel: () => closed("cancel"),
  elsewhere: () => closed("paid-online"),
  go: () => (open ? resume() : home()),
  proof: () => {
    at("proof").replaceChildren(drawn(proof.text, proof.receipt ? "The receipt as a QR code" : "The cancellation as a QR code"));
    at("proof").hidden = false;
    at("show-proof").hidden = true;
  },
  void: async () => {
    const answer = await act("void", scanned);
    if (!answer.text) return say(answer.message);
    showResult(answer, null);
    return ACTIONS.proof();
  },
  sales: showSales,
  standing: () => show("standing"),
  sync: async () => {
    const answer = await act("sync");
    await look();
    say(answer.message);
  },
  return: () => {
    at("returned").value = "";
    show("return");
    at("returned").focus({ preventScroll: true });
    watch(at("return-camera"), "OV1V:", (text) => attempt(() => givenBack(text)));
  },
  "give-back": () => givenBack(at("returned").value.trim()),
};

async function givenBack(text) {
  looking.abort();
  const answer = await act("return", text);
  showResult(answer, null);
  if (proof) ACTIONS.proof();
}

/** Run what a touch asks for, one at a time; what goes wrong becomes a sentence. */
let busy = false;
async function attempt(work) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    failed(error);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

function failed(error) {
  if (error instanceof Locked) show("locked");
  else if (error instanceof Unreachable) gone();
  else throw error;
}

function gone() {
  cut = true;
  say("The terminal's program does not answer. Hand over nothing: look at Sales when it is back.");
}

function listen() {
  for (const key of KEYS) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = key;
    button.setAttribute("aria-label", key === "⌫" ? "Delete the last digit" : key === "." ? "Point" : key);
    button.tabIndex = -1; // a keyboard has these keys itself
    button.addEventListener("click", () => press(key));
    at("keys").append(button);
  }
  for (const element of document.querySelectorAll("[data-do]")) {
    element.addEventListener(element.tagName === "FORM" ? "submit" : "click", (event) => {
      event.preventDefault();
      attempt(() => ACTIONS[element.dataset.do]());
    });
  }
  addEventListener("keydown", (event) => {
    if (shown() !== "till" || event.ctrlKey || event.altKey || event.metaKey) return;
    if (strange(event.key)) say("Type the amount first, then scan the customer's code.");
    else if (/^[0-9.]$/.test(event.key)) press(event.key);
    else if (event.key === "Backspace") press("⌫");
    else if (event.key === "Escape") home();
    else if (event.key === "Enter" && event.target === document.body) attempt(ACTIONS.ask);
    else return;
    event.preventDefault();
  });
  addEventListener("hashchange", () => attempt(home));
  addEventListener("unhandledrejection", () => say("Something went wrong on this screen. Load it again, then look at Sales."));
}

async function keep() {
  try {
    await look();
    if (cut) say(null);
    cut = false;
  } catch (error) {
    failed(error);
  }
  setTimeout(keep, AGAIN_MS);
}

async function start() {
  listen();
  try {
    const { currency, request } = await till();
    ccy = currency ?? ccy;
    home();
    if (request) showRequest(request);
  } catch (error) {
    failed(error);
  }
  setTimeout(keep, AGAIN_MS);
  document.documentElement.dataset.ready = "yes";
}

start();
