// The payer's app: what is shown, and what a touch does. It decides nothing: device.js and online.js do.

import { decimal, minor, moment, money } from "../amounts.js";
import { drawn, readPicture, scan } from "../codes/pictures.js";
import { newKey } from "../ov1/signing.js";
import { Verdict } from "../ov1/verdicts.js";
import { SignedAllowance } from "../ov1/wire.js";
import { keep, offer, pay, recover, textOf } from "./device.js";
import * as online from "./online.js";
import { ServerRefused } from "./server.js";
import { Store } from "./store.js";
import { sentence, tierSaid } from "./words.js";

const CCY = "INR";
const LABEL = "Browser";
const at = (id) => document.getElementById(id);
const nowS = () => Math.floor(Date.now() / 1000);

let store;
let offered = null; // the text of the request that is on the screen
let wanted = "request"; // what a scan is for: request or receipt
let looking = new AbortController();

function show(name) {
  looking.abort();
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  at(name).querySelector("h2")?.scrollIntoView({ block: "nearest" });
}

function say(text) {
  at("said").textContent = text ?? "";
  at("said").hidden = !text;
}

function showNetwork() {
  at("network").textContent = navigator.onLine ? "" : "offline";
}

async function home() {
  if (!(await store.get("me"))) {
    show("link");
    await showLimits((limits) => { at("most").textContent = limits ? `${capsOf(limits)}.` : ""; });
    return undefined;
  }
  const row = await store.usable();
  const active = row?.state === "active";
  at("take").hidden = Boolean(row) && !(await over(row));
  at("pay").hidden = !active || (await over(row));
  at("give").hidden = !row;
  if (row) {
    const { allowance: a } = await SignedAllowance.fromBytes(row.wire);
    at("left").textContent = money(a.capTotal - row.cum, a.ccy);
    at("until").textContent = active ? `To spend offline until ${moment(a.spendUntil)}` : "Being given back: try again when you are online";
    at("caps").textContent = `${money(a.capEach, a.ccy)} a payment; ${a.maxCount - row.counter} payments left`;
  } else {
    at("left").textContent = money(0, CCY);
    at("until").textContent = "Nothing is set aside to spend offline";
  }
  await showLimits((limits) => {
    if (!row) at("caps").textContent = limits ? capsOf(limits) : "";
    at("tier").textContent = tierSaid(limits?.tier);
  });
  await showPast();
  show("home");
  return undefined;
}

async function over(row) {
  const { allowance } = await SignedAllowance.fromBytes(row.wire);
  return nowS() > allowance.spendUntil;
}

/** Shows the limits that are kept, and again what the server says now, should it answer. */
async function showLimits(shown) {
  shown(await store.get("limits"));
  online.limits(store).then(shown, () => {});
}

function capsOf(limits) {
  return `At most ${money(limits.capEach, CCY)} a payment and ${money(limits.capTotal, CCY)} at once`;
}

function stateOf(row) {
  if (row.proof?.startsWith("OV1X:")) return "Cancelled by the shop: the money comes back.";
  if (row.proof) return "Paid: the shop's receipt is kept here.";
  return "Signed. It is paid when the shop's terminal has taken the code.";
}

async function showPast() {
  const rows = await store.vouchers();
  at("past").hidden = rows.length === 0;
  at("rows").replaceChildren(...rows.map((row) => {
    const [line, button, name, amount, state] = ["li", "button", "span", "span", "span"].map((tag) => document.createElement(tag));
    name.textContent = row.payeeName;
    amount.textContent = money(row.amount, row.ccy);
    amount.className = "number";
    state.textContent = `${moment(row.reservedAt)} · ${row.proof ? stateOf(row).split(":")[0] : "Signed"}`;
    state.className = "quiet";
    button.append(name, amount, state);
    button.addEventListener("click", () => attempt(() => showVoucher(row)));
    line.append(button);
    return line;
  }));
}

async function showVoucher(row) {
  const text = await textOf(store, row);
  at("signed").textContent = `${money(row.amount, row.ccy)} for ${row.payeeName}`;
  at("state").textContent = stateOf(row);
  at("code").replaceChildren(drawn(text, "Your voucher as a QR code"));
  at("words").textContent = text;
  at("ask-receipt").hidden = Boolean(row.proof);
  show("voucher");
}

async function look(what) {
  wanted = what;
  at("wanted").textContent = what === "request" ? "Scan the shop's code" : "Scan the shop's receipt";
  at("text").value = "";
  show("scan");
  looking = new AbortController();
  const { signal } = looking;
  let text = null;
  try {
    text = await scan(at("camera"), signal);
  } catch {
    if (!signal.aborted) say(sentence("edge.no_camera"));
  }
  if (text !== null) await found(text);
}

async function found(text) {
  looking.abort();
  say(null);
  if (wanted === "request") await showOffer(text);
  else await showProof(text);
}

async function showOffer(text) {
  const answer = await offer(store, text, nowS());
  if (!answer.ok) return fail(answer.why);
  if (answer.paid) {
    say("This very request was answered before. It is the same voucher; nothing more is spent.");
    return showVoucher(answer.paid);
  }
  offered = text;
  at("price").textContent = money(answer.amount, answer.ccy);
  at("shop").textContent = answer.payeeName;
  at("stale").hidden = !answer.stale;
  return show("offer");
}

async function showProof(text) {
  const answer = await keep(store, text);
  if (!answer.ok) return fail(answer.why === Verdict.MALFORMED ? Verdict.OTHER_SUBJECT : answer.why);
  if (answer.cancelled && navigator.onLine) online.handIn(text).catch(() => {}); // the terminal sends it too
  return showVoucher(await store.byHash(answer.row.h));
}

async function fail(why) {
  await home();
  say(sentence(why));
}

async function whenFine(answer, done) {
  if (!answer.ok) return fail(answer.why);
  return done();
}

const ACTIONS = {
  home,
  link: async () => whenFine(await online.link(store, LABEL), home),
  scan: () => look("request"),
  receipt: () => look("receipt"),
  ask: async () => {
    const limits = await online.limits(store).catch(() => store.get("limits"));
    at("policy").textContent = limits ? capsOf(limits) : "";
    at("total").value = limits ? decimal(limits.capTotal, CCY) : "";
    at("each").value = limits ? decimal(limits.capEach, CCY) : "";
    show("ask");
  },
  take: async () => {
    const [capTotal, capEach] = [minor(at("total").value, CCY), minor(at("each").value, CCY)];
    if (!capTotal || !capEach || capEach > capTotal) return say("Write two amounts, the second not above the first.");
    return whenFine(await online.takeAllowance(store, { ccy: CCY, capTotal, capEach }, nowS()), home);
  },
  surrender: async () => {
    try {
      await whenFine(await online.surrender(store), home);
    } catch (error) {
      await home(); // it is not spendable any more, whatever the server heard
      throw error;
    }
  },
  typed: () => found(at("text").value.trim()),
  pay: async () => {
    const answer = await pay(store, offered, nowS());
    return whenFine(answer, async () => showVoucher(await store.byHash(answer.row.h)));
  },
};

/** Run what a touch asks for; what goes wrong becomes a sentence. */
async function attempt(work) {
  const buttons = document.querySelectorAll("main button");
  say(null);
  for (const button of buttons) button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ServerRefused)) throw error;
    say(error.status === 401 ? "Sign in first, then come back to this page." : error.message);
  } finally {
    for (const button of buttons) button.removeAttribute("aria-busy");
  }
}

function listen() {
  for (const element of document.querySelectorAll("[data-do]")) {
    element.addEventListener(element.tagName === "FORM" ? "submit" : "click", (event) => {
      event.preventDefault();
      attempt(ACTIONS[element.dataset.do]);
    });
  }
  at("picture").addEventListener("change", (event) => attempt(async () => {
    const [file] = event.target.files;
    const text = file ? await readPicture(file) : null;
    event.target.value = "";
    if (text === null) say(sentence("edge.no_picture"));
    else await found(text);
  }));
  addEventListener("online", showNetwork);
  addEventListener("offline", showNetwork);
  addEventListener("unhandledrejection", () => say("Something went wrong here. Nothing more was spent; start the app again."));
}

async function start() {
  listen();
  showNetwork();
  navigator.serviceWorker?.register("sw.js", { updateViaCache: "none" }).catch(() => {}); // then it needs the network to start
  try {
    await newKey();
  } catch {
    return show("old");
  }
  store = await Store.open();
  await recover(store);
  await home();
  if (navigator.onLine && (await store.get("me"))) online.witness(store).catch(() => {}); // again at the next start
  document.documentElement.dataset.ready = "yes";
  return undefined;
}

start();
