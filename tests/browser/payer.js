// A payer's device over a store of its own name, driven step by step.

import { fromHex, toHex } from "/ov1/bytes.js";
import { newKey, publicBytes } from "/ov1/signing.js";
import { SignedAllowance } from "/ov1/wire.js";
import * as device from "/payer/device.js";
import { Store } from "/payer/store.js";

let store;

export async function open(name) {
  store = await Store.open(name);
}

export async function makeKey(alg) {
  const pair = await store.putOnce("pair", await newKey(alg));
  return toHex(await publicBytes(pair));
}

export async function grant(wire, bundle, nowS) {
  await store.put("bundle", fromHex(bundle));
  const { allowance } = await SignedAllowance.fromBytes(fromHex(wire));
  await store.take(toHex(allowance.aid), fromHex(wire), nowS);
}

const plain = ({ ok, why, text = null, again = null }) => ({ ok, why, text, again });

export async function pay(text, nowS) {
  return plain(await device.pay(store, text, nowS));
}

export async function keep(text) {
  const { why, cancelled = null } = await device.keep(store, text);
  return [why, cancelled];
}

export const recover = () => device.recover(store);

export const setState = async (state) => store.setState((await store.usable()).aid, state);

export async function rows() {
  const every = await store.vouchers();
  return every.map(({ counter, raw, sig, proof }) => ({ counter, raw: toHex(raw), signed: sig !== null, proof }));
}

export async function counters() {
  const { counter, cum } = await store.usable();
  return [counter, cum];
}

/** As a browser without Web Locks, or with broken ones. */
export function noLocks() {
  navigator.locks.request = (_, work) => work();
}

/** From now on this step never ends; the promise is kept when it is reached. */
export function stopAt(step) {
  const places = {
    reserve: [Store.prototype, "reserve"],
    sign: [SubtleCrypto.prototype, "sign"],
    store: [Store.prototype, "sign"],
  };
  const [owner, name] = places[step];
  globalThis.reached = new Promise((resolve) => {
    owner[name] = () => {
      resolve(true);
      return new Promise(() => {});
    };
  });
}
