// Each OV1 body to its bytes and back, with every rule that its own fields can break: as offline/codec.py.
//
// `bytesOf.allowance(value)` and `read.allowance(data)`, and so for voucher, certificate, request, receipt, void,
// bundle and revocations; all throw Refused. One shape check serves both directions. A value is a frozen object:
// byte strings are Uint8Array, integers Number, amounts minor units, times whole seconds since 1970.

import { equal, order, toHex } from "./bytes.js";
import { encode, fields } from "./cbor.js";
import {
  Algorithm, MAX_COUNTER, Size, algorithmOf, array, currency, name, octets, positive, publicKey, sized, text, uint,
} from "./fields.js";
import { malformed, Refused, Verdict } from "./verdicts.js";

const MAX_ENTRIES = 16;
const MAX_POLICIES = 16;
const MAX_REVOKED = 4_096;
const USAGES = "ABCLY";
const VOID_REASONS = ["refused", "returned"];
const { freeze } = Object;

function unsupported(reason) {
  throw new Refused(Verdict.UNSUPPORTED_VERSION, reason);
}

function allowance(f) {
  const flags = uint(f[10]);
  const deviceKey = publicKey(f[2]);
  if (flags > 1) unsupported("flags"); // bits 2 and up are unknown, and so are algorithms 2 and 3
  const [capTotal, capEach] = [positive(f[4]), positive(f[5])];
  const [notBefore, spendUntil, settleUntil] = [uint(f[7]), uint(f[8]), uint(f[9])];
  if (algorithmOf(deviceKey) !== flags || capEach > capTotal) malformed("key length or caps");
  if (!(notBefore <= spendUntil && spendUntil <= settleUntil)) malformed("dates out of order");
  return freeze({
    aid: octets(f[1], Size.AID), deviceKey, ccy: currency(f[3]), capTotal, capEach,
    maxCount: uint(f[6], 1, MAX_COUNTER), notBefore, spendUntil, settleUntil, flags,
  });
}

function voucher(f) {
  return freeze({
    counter: uint(f[1], 1, MAX_COUNTER), amount: positive(f[2]), cum: positive(f[3]),
    payee: octets(f[4], Size.PAYEE), terminal: octets(f[5], Size.TERMINAL), nonce: octets(f[6], Size.NONCE),
    ts: uint(f[7]), prev: octets(f[8], Size.PREV),
  });
}

function certificate(f) {
  return freeze({
    terminal: octets(f[1], Size.TERMINAL), payee: octets(f[2], Size.PAYEE), terminalKey: publicKey(f[3]),
    name: name(f[4]), mcc: uint(f[5], 0, 9_999), notAfter: uint(f[6]),
  });
}

function request(f) {
  return freeze({
    amount: positive(f[1]), ccy: currency(f[2]), nonce: octets(f[3], Size.NONCE), ts: uint(f[4]),
  });
}

function receipt(f) {
  return freeze({
    aid: octets(f[1], Size.AID), counter: uint(f[2], 1, MAX_COUNTER), h: octets(f[3], Size.HASH),
    seq: positive(f[4]), head: octets(f[5], Size.PREV), ts: uint(f[6]),
  });
}

function void_(f) {
  const reason = text(f[5]);
  if (!VOID_REASONS.includes(reason)) malformed("void reason");
  return freeze({
    aid: octets(f[1], Size.AID), counter: uint(f[2], 1, MAX_COUNTER), h: octets(f[3], Size.HASH),
    seq: positive(f[4]), reason, ts: uint(f[6]),
  });
}

function rising(items, compare) {
  return items.every((item, at) => at === 0 || compare(items[at - 1], item) < 0);
}

function entry(value) {
  const f = sized(value, 6);
  const alg = uint(f[1]);
  if (alg > Algorithm.P256) unsupported("algorithm");
  const [key, usages] = [publicKey(f[2]), text(f[3])];
  const [notBefore, notAfter] = [uint(f[4]), uint(f[5])];
  if (algorithmOf(key) !== alg || notBefore > notAfter) malformed("key length or dates");
  const places = Array.from(usages, (letter) => USAGES.indexOf(letter));
  if (places.includes(-1) || !rising(places, (a, b) => a - b)) malformed("usages");
  return freeze({ kid: octets(f[0], Size.KID), alg, key, usages, notBefore, notAfter });
}

function risk(value) {
  const f = sized(value, 10);
  const found = freeze({
    softSum: positive(f[0]), hardSum: positive(f[1]), allowanceSum: positive(f[2]), voidEach: uint(f[3]),
    softAgeS: positive(f[4]), hardAgeS: positive(f[5]), onlineIn: positive(f[6]),
    clockBehindS: positive(f[7]), clockAheadS: positive(f[8]), requestTtlS: positive(f[9]),
  });
  if (found.softSum > found.hardSum || found.softAgeS > found.hardAgeS) malformed("a soft limit above its hard one");
  return found;
}

function policy(value) {
  const f = sized(value, 5);
  return freeze({
    ccy: currency(f[0]), capEach: positive(f[1]), capTotal: positive(f[2]), lifeS: positive(f[3]), risk: risk(f[4]),
  });
}

const riskItems = (r) => [
  r.softSum, r.hardSum, r.allowanceSum, r.voidEach, r.softAgeS, r.hardAgeS, r.onlineIn, r.clockBehindS,
  r.clockAheadS, r.requestTtlS,
];

function bundle(f) {
  const entries = array(f[3], MAX_ENTRIES).map(entry);
  const policies = array(f[4], MAX_POLICIES).map(policy);
  const kids = new Set(entries.map((one) => toHex(one.kid)));
  if (entries.length === 0 || kids.size !== entries.length) malformed("entries");
  if (!rising(policies, (a, b) => (a.ccy < b.ccy ? -1 : 1))) malformed("policies out of order");
  return freeze({
    version: positive(f[1]), rootKid: octets(f[2], Size.KID), entries: freeze(entries), policies: freeze(policies),
  });
}

function revocations(f) {
  const [epoch, baseEpoch] = [uint(f[1]), uint(f[2])];
  const aids = array(f[3], MAX_REVOKED).map((item) => octets(item, Size.AID));
  if (baseEpoch > epoch || !rising(aids, order)) malformed("epochs or aids out of order");
  return freeze({ epoch, baseEpoch, aids: freeze(aids) });
}

// Of each body its check, how many items it has, and those items in their order.
const SHAPES = {
  allowance: [allowance, 11, (a) => [
    1, a.aid, a.deviceKey, a.ccy, a.capTotal, a.capEach, a.maxCount, a.notBefore, a.spendUntil, a.settleUntil, a.flags,
  ]],
  voucher: [voucher, 9, (v) => [1, v.counter, v.amount, v.cum, v.payee, v.terminal, v.nonce, v.ts, v.prev]],
  certificate: [certificate, 7, (c) => [1, c.terminal, c.payee, c.terminalKey, c.name, c.mcc, c.notAfter]],
  request: [request, 5, (r) => [1, r.amount, r.ccy, r.nonce, r.ts]],
  receipt: [receipt, 7, (r) => [1, r.aid, r.counter, r.h, r.seq, r.head, r.ts]],
  void: [void_, 7, (v) => [1, v.aid, v.counter, v.h, v.seq, v.reason, v.ts]],
  bundle: [bundle, 5, (b) => [
    1, b.version, b.rootKid,
    b.entries.map((e) => [e.kid, e.alg, e.key, e.usages, e.notBefore, e.notAfter]),
    b.policies.map((p) => [p.ccy, p.capEach, p.capTotal, p.lifeS, riskItems(p.risk)]),
  ]],
  revocations: [revocations, 4, (r) => [1, r.epoch, r.baseEpoch, r.aids]],
};

const each = (make) => freeze(Object.fromEntries(Object.entries(SHAPES).map(([kind, shape]) => [kind, make(...shape)])));

export const read = each((shape, count) => (data) => shape(fields(data, count)));

export const bytesOf = each((shape, _, items) => (value) => {
  const list = items(value);
  shape(list);
  return encode(list);
});

/** The key `kid` of the bundle if it may be used for `usage`, whatever its dates; else null. */
export function entryOf(trust, kid, usage) {
  return trust.entries.find((one) => equal(one.kid, kid) && one.usages.includes(usage)) ?? null;
}

export function policyOf(trust, ccy) {
  return trust.policies.find((one) => one.ccy === ccy) ?? null;
}
