// What the app asks of the server: the agents' door (docs/agents-door.md), under the session's same-origin cookie.

import { fromBase64, toBase64 } from "../ov1/bytes.js";

/** The server's refusal, with its code and its sentence; `code` is edge.unreachable when there was no answer at all. */
export class ServerRefused extends Error {
  constructor(code, detail, status = 0) {
    super(detail);
    this.code = code;
    this.status = status;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method, credentials: "same-origin", cache: "no-store",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new ServerRefused("edge.unreachable", "The server cannot be reached now.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new ServerRefused(
    problem.code ?? "edge.unreachable", problem.detail ?? "The server gave no answer that can be read.", answer.status,
  );
}

const post = async (path, body) => (await ask("POST", path, body)).json();

export async function me() {
  const { party, name, devices } = await (await ask("GET", "/edge/me")).json();
  return { party: fromBase64(party), name, devices };
}

/** What an allowance may be by its device's tier: {software: {cap_total, cap_each}, …}, strings of minor units. */
export async function tiers() {
  return (await (await ask("GET", "/edge/tiers")).json()).tiers;
}

export async function nonce() {
  return fromBase64((await post("/edge/nonce", {})).nonce);
}

export async function enrol({ key, label, serverNonce, proof }) {
  const answer = await post("/edge/devices/enrol", {
    key: toBase64(key), tier: "software", label, server_nonce: toBase64(serverNonce), proof: toBase64(proof),
  });
  return { device: answer.device, rootKey: fromBase64(answer.root_key), bundle: fromBase64(answer.bundle) };
}

export async function bundle() {
  return new Uint8Array(await (await ask("GET", "/edge/bundle")).arrayBuffer());
}

/** `asked` is {device, currency, cap_total, cap_each, idempotency_key}, amounts as strings of minor units. */
export async function allowance(asked) {
  const { kid, allowance: raw, sig } = await post("/edge/allowances", asked);
  return [fromBase64(kid), fromBase64(raw), fromBase64(sig)];
}

export async function surrender({ aid, counter, cum, h, sig }) {
  const body = { aid: toBase64(aid), counter, cum, h: toBase64(h), sig: toBase64(sig) };
  return (await post("/edge/allowances/surrender", body)).state;
}

export async function witness(vouchers) {
  return (await post("/edge/vouchers/witness", { vouchers })).recorded;
}

export async function handIn(text) {
  return (await post("/edge/voids", { void: text })).state;
}
